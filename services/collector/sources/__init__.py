"""Where packets come from: the kernel's packet ring, a capture file, or scapy's sniffer behind a pipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    import numpy as np
    import numpy.typing as npt

    from streamgauge.decode import PacketIndex
    from streamgauge.settings import CollectorSettings

#: Seconds a source waits for packets before it yields an empty block, so that the age of a batch is looked at.
TICK: float = 0.05


class Block(NamedTuple):
    """Packets ``first`` to ``last - 1`` of an index into ``data``; valid until the next block is asked for."""

    data: npt.NDArray[np.uint8]
    packets: PacketIndex
    first: int
    last: int
    #: Where the packets come from, if the source has several interfaces.
    interface: str = ""
    #: If they are those of all interfaces: at which kind of place they were seen (``streamgauge.observation``).
    point: str = ""
    #: A number that tells apart what was seen at several interfaces; flows of one are not those of another.
    link: int = 0


class Place(NamedTuple):
    """Where a window of rows was seen; empty where the source does not say it."""

    interface: str = ""
    point: str = ""


NOWHERE: Final = Place()


@dataclass(frozen=True, slots=True)
class SourceCounts:
    """What a source saw since it was opened, in packets."""

    #: Delivered behind the filter, drops included.
    received: int = 0
    #: Dropped before they could be read.
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class InterfaceChanges:
    """How many interfaces came and went since a source was opened."""

    appeared: int = 0
    disappeared: int = 0


#: Of sources whose packets come from one place.
NO_CHANGES: Final = InterfaceChanges()


class Source(Protocol):
    """One origin of packets. Each worker has a thread; ``counts`` may be called by any."""

    #: Whether packets come at their own pace: then a full pending buffer evicts instead of waiting.
    live: bool
    #: What stands in the column ``interface``.
    interface: str
    #: Threads that ask for blocks; each flow is seen by one of them.
    workers: int

    def check(self) -> None:
        """Look for faults without capturing.

        Raises:
            StreamgaugeError: says what is wrong and how to mend it.

        """

    def open(self) -> None:
        """Get ready to capture.

        Raises:
            StreamgaugeError: says what is wrong and how to mend it.

        """

    def blocks(self, stop: threading.Event, worker: int = 0) -> Iterator[Block]:
        """Yield a worker's packets until the source ends or ``stop`` is set; an empty block says that time went by.

        After ``stop``, what the kernel already delivered is still yielded.
        """

    def counts(self) -> SourceCounts:
        """Return what was seen so far."""

    def changes(self) -> InterfaceChanges:
        """Return how many interfaces came and went; any thread may call it."""

    def close(self) -> None:
        """Release everything; also after a failed ``open``."""


def make(settings: CollectorSettings) -> Source:
    """Return the source that the settings ask for."""
    if settings.source == "file":
        from services.collector.sources.file import FileSource

        return FileSource(settings)
    if settings.source == "scapy":
        from services.collector.sources.scapy import ScapySource

        return ScapySource(settings)
    from services.collector.sources.rings import RingsSource, is_several

    if is_several(settings):
        return RingsSource(settings)
    from services.collector.sources.ring import RingSource

    return RingSource(settings)
