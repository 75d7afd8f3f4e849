"""Takes the packets of all interfaces apart, by interface and direction, so that each block was seen at one place.

``streamgauge.observation`` says what the places are. An interface is known by its name and by what the kernel tells
of it in ``/sys/class/net``: the part of a bond, a bridge, or an interface on top of another one are inside.
"""

from __future__ import annotations

import socket
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from services.collector.sources import Block
from streamgauge import observation
from streamgauge.decode import PacketIndex

if TYPE_CHECKING:
    from collections.abc import Iterator

_INTERFACES: Final = Path("/sys/class/net")
#: Seconds after which interfaces are looked at anew: one may be moved into a bond or a bridge.
_FRESH: Final = 30.0


class Points:
    """Names the places of one ring; used by its thread."""

    def __init__(self, interfaces: Path = _INTERFACES) -> None:
        self._interfaces = interfaces
        self._points: dict[int, str] = {}
        self._looked_at = float("-inf")

    def blocks(
        self, data: npt.NDArray[np.uint8], packets: PacketIndex, places: npt.NDArray[np.int32], count: int
    ) -> Iterator[Block]:
        """Yield the first ``count`` packets by place, those of one place in their order.

        places i4[count]: twice the number of the interface, plus one if it sends.
        """
        if not count:
            return
        seen = places[:count]
        if (seen == seen[0]).all():
            yield self._block(data, packets, 0, count, int(seen[0]))
            return
        order = np.argsort(seen, kind="stable")
        sorted_packets = PacketIndex._make(field[order] for field in packets)
        seen = seen[order]
        for first, last in pairwise((0, *(np.flatnonzero(np.diff(seen)) + 1).tolist(), count)):
            yield self._block(data, sorted_packets, first, last, int(seen[first]))

    def point(self, place: int) -> str:
        """Return the name of a place."""
        now = time.monotonic()
        if now - self._looked_at >= _FRESH:
            self._looked_at = now
            self._points.clear()
        point = self._points.get(place)
        if point is None:
            point = self._points[place] = self._look(place >> 1, sends=bool(place & 1))
        return point

    def _block(self, data: npt.NDArray[np.uint8], packets: PacketIndex, first: int, last: int, place: int) -> Block:
        return Block(data, packets, first, last, point=self.point(place), link=place >> 1)

    def _look(self, number: int, *, sends: bool) -> str:
        try:
            name = socket.if_indextoname(number)
        except OSError:  # it has gone since: pods' interfaces come and go
            return observation.TO_POD if sends else observation.FROM_POD
        if observation.is_of_pod(name):
            return observation.TO_POD if sends else observation.FROM_POD
        if name == "lo" or observation.is_inner(name) or self._is_inside(self._interfaces / name):
            return observation.INSIDE
        return observation.TO_OUTSIDE if sends else observation.FROM_OUTSIDE

    @staticmethod
    def _is_inside(interface: Path) -> bool:
        if (interface / "bonding").exists():
            return False
        parts = ("bridge", "bonding_slave")
        return any((interface / part).exists() for part in parts) or any(interface.glob("lower_*"))
