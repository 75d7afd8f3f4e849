"""What the kernels write: the row buffers, and marks on rows that a second pass finishes.

TLS and QUIC handshakes cost more than other packets: the first pass, which sees every packet, only notes where they
are. A mark is a row, a kind, and the bytes in the buffer that it is about.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from streamgauge.rows import RowBuffers

#: Marks of one call of the decoder; when they are used up it stops early and is called again.
CAPACITY: Final = 1024

#: One packet may end what is waited for, and begin a handshake.
PER_PACKET: Final = 2

#: Flows whose next segments are noted because they go on with a ClientHello; the newest take the places of the oldest.
WAITING_FLOWS: Final = 1024

# Kinds of marks.
#: A segment with TLS records from ``at`` on, the first of them with a ClientHello or ServerHello.
HELLO: Final = 1
#: The same, after the second pass found that the message goes on in another segment.
PARTIAL: Final = 2
#: A segment that goes on with a ClientHello.
CONTINUATION: Final = 3
#: A datagram that starts with a QUIC Initial packet.
QUIC_INITIAL: Final = 4
#: A bare ClientHello: put together from segments, or decrypted from QUIC.
JOINED, JOINED_QUIC = 5, 6

# Elements of a mark.
ROW, AT, END, KIND = 0, 1, 2, 3

# Elements of ``mark_state``.
COUNT: Final = 0
#: Pool bytes that the second pass may need for the marked rows.
RESERVED: Final = 1
#: Whether any flow was ever put into ``waiting``.
WAITING: Final = 2
#: Marks that Python must look at, beyond the second pass.
SLOW: Final = 3
#: Option of the decoder: open tunnels.
DECAPSULATE: Final = 4


class Marks(NamedTuple):
    """Marks of a decoder, and what it remembers from one block to the next."""

    #: One line a mark: elements ``ROW``, ``AT``, ``END``, ``KIND``.
    marks: npt.NDArray[np.int64]
    mark_state: npt.NDArray[np.int64]
    #: One line a flow: hash plus one (0: free), first sequence number of the ClientHello, its length; negative, the
    #: most it can be, where too little was seen to know it.
    waiting: npt.NDArray[np.int64]


class Output(NamedTuple):
    """``rows.RowBuffers`` and ``Marks`` as one: kernels hand it on."""

    u8: npt.NDArray[np.uint64]
    u4: npt.NDArray[np.uint32]
    u2: npt.NDArray[np.uint16]
    u1: npt.NDArray[np.uint8]
    pool: npt.NDArray[np.uint8]
    state: npt.NDArray[np.int64]
    marks: npt.NDArray[np.int64]
    mark_state: npt.NDArray[np.int64]
    waiting: npt.NDArray[np.int64]


def new_marks(*, decapsulate: bool = True, capacity: int = CAPACITY, flows: int = WAITING_FLOWS) -> Marks:
    """Allocate marks; ``flows`` is a power of two."""
    marks = Marks(
        marks=np.zeros((capacity, 4), np.int64),
        mark_state=np.zeros(5, np.int64),
        waiting=np.zeros((flows, 3), np.int64),
    )
    marks.mark_state[DECAPSULATE] = decapsulate
    return marks


def output(buffers: RowBuffers, marks: Marks) -> Output:
    """Join row buffers and marks."""
    return Output(*buffers, *marks)
