"""The heaviest keys of a window, among any number of keys, in fixed memory: top talkers, top ports.

Misra-Gries by batches: when the table is full, the median weight is taken from every entry and those with nothing
left make room. So at most ``2N/capacity`` bytes of any key are missed, N being all bytes of the window, and a key
with more than that is in the table. Amounts shown are exact since the key was entered; what left the table is counted
as ``rest``.
"""

from __future__ import annotations

import secrets
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from services.exporter.heavy_kernels import add_rows, rebuild

#: Keys of a window; 8,192 pairs of addresses take 0.5 MB.
CAPACITY: Final = 8192


class Arrays(NamedTuple):
    """What the kernels see."""

    places: npt.NDArray[np.int32]  # entry + 1 by hash, 0 where free; twice as long as entries, a power of two
    keys: npt.NDArray[np.uint64]  # [capacity, words]
    amounts: npt.NDArray[np.int64]  # [capacity, 2]: packets, bytes
    weights: npt.NDArray[np.int64]  # bytes less what was taken from all
    state: npt.NDArray[np.int64]  # [entries in use]
    seed: npt.NDArray[np.uint64]  # [1], secret, so that nobody can choose keys that collide


class Heaviest(NamedTuple):
    """The heaviest keys, in falling order of bytes, and what all others carried."""

    keys: npt.NDArray[np.uint64]
    amounts: npt.NDArray[np.int64]
    rest: npt.NDArray[np.int64]


class HeavyTable:
    """Counts one window; ``clear`` begins the next."""

    def __init__(self, words: int, capacity: int = CAPACITY) -> None:
        self.capacity = capacity
        size = 1 << (2 * capacity - 1).bit_length()
        self._arrays = Arrays(
            places=np.zeros(size, np.int32),
            keys=np.zeros((capacity, words), np.uint64),
            amounts=np.zeros((capacity, 2), np.int64),
            weights=np.zeros(capacity, np.int64),
            state=np.zeros(1, np.int64),
            seed=np.array([secrets.randbits(64)], np.uint64),
        )
        self._left = np.zeros(2, np.int64)

    def add(
        self,
        keys: npt.NDArray[np.uint64],
        packets: npt.NDArray[np.uint32],
        sizes: npt.NDArray[np.int64],
        chosen: npt.NDArray[np.uint8],
    ) -> None:
        """Add the rows whose ``chosen`` is not 0."""
        row = 0
        while (row := int(add_rows(keys, packets, sizes, chosen, row, self._arrays))) < len(packets):
            self._make_room()

    def clear(self) -> None:
        """Forget everything."""
        self._arrays.state[0] = 0
        self._arrays.places[:] = 0
        self._left[:] = 0

    def heaviest(self, count: int) -> Heaviest:
        """Return the ``count`` heaviest keys."""
        used = int(self._arrays.state[0])
        amounts = self._arrays.amounts[:used]
        order = np.argsort(amounts[:, 1], kind="stable")[::-1]
        chosen, others = order[:count], order[count:]
        return Heaviest(self._arrays.keys[chosen], amounts[chosen], self._left + amounts[others].sum(axis=0))

    def _make_room(self) -> None:
        arrays = self._arrays
        used = int(arrays.state[0])
        weights = arrays.weights[:used]
        weights -= int(np.partition(weights, used // 2)[used // 2])
        kept = np.flatnonzero(weights > 0)
        self._left += arrays.amounts[:used].sum(axis=0) - arrays.amounts[kept].sum(axis=0)
        for values in (arrays.keys, arrays.amounts, arrays.weights):
            values[: len(kept)] = values[kept]
        arrays.state[0] = len(kept)
        rebuild(arrays)
