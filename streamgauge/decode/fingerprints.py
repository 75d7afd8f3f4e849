"""Memory of the JA4 kernel: scratch space, and fingerprints it has computed before.

Clients of one kind send ClientHellos that differ only in what a fingerprint leaves out, so few are ever hashed.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

#: Cipher suites, extensions and signature algorithms of a ClientHello, each; one that has more gets no fingerprint.
MAX_LIST: Final = 256
#: Words before the lists: what the readable part is made of, and the lengths of the lists.
HEAD: Final = 10
#: Fingerprints that are remembered (a power of two), and the words of the longest that is.
REMEMBERED: Final = 256
MAX_REMEMBERED: Final = 320

#: ``t13d1516h2_8daaf6152771_e5627efa2ab1``
LENGTH: Final = 36


class Fingerprints(NamedTuple):
    """Arrays of one decoder."""

    #: The ClientHello being read: head, then sorted cipher suites, sorted extensions, signature algorithms.
    words: npt.NDArray[np.int64]
    text: npt.NDArray[np.uint8]
    #: Scratch of SHA-256.
    schedule: npt.NDArray[np.int64]
    state: npt.NDArray[np.int64]
    known_words: npt.NDArray[np.uint16]
    known_length: npt.NDArray[np.int64]
    known_text: npt.NDArray[np.uint8]


def new_fingerprints() -> Fingerprints:
    """Allocate the memory of a decoder."""
    return Fingerprints(
        words=np.zeros(HEAD + 3 * MAX_LIST, np.int64),
        text=np.zeros(5 * 2 * MAX_LIST + 128, np.uint8),
        schedule=np.zeros(64, np.int64),
        state=np.zeros(8, np.int64),
        known_words=np.zeros((REMEMBERED, MAX_REMEMBERED), np.uint16),
        known_length=np.zeros(REMEMBERED, np.int64),
        known_text=np.zeros((REMEMBERED, LENGTH), np.uint8),
    )
