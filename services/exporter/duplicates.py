"""Recognises batches that were stored twice, by node, boot and sequence; JetStream's own window is two minutes only."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from streamgauge.subjects import Envelope

#: How far behind the newest sequence of a node and boot a batch may come and still be told from a duplicate. A
#: collector has at most 256 batches in flight, so those that overtake each other are much closer.
WINDOW: Final = 8192
#: Nodes and boots remembered; the one not heard of for the longest is forgotten first (8 KiB each).
SOURCES: Final = 4096


class _Source:
    """Which of the last ``WINDOW`` sequences were seen: a ring with a byte each."""

    __slots__ = ("highest", "seen")

    def __init__(self) -> None:
        self.highest = -1
        self.seen = bytearray(WINDOW)

    def is_new(self, sequence: int) -> bool:
        if sequence <= self.highest - WINDOW:
            return False
        if sequence > self.highest:
            self._advance(sequence)
        position = sequence % WINDOW
        if self.seen[position]:
            return False
        self.seen[position] = 1
        return True

    def _advance(self, sequence: int) -> None:
        if sequence - self.highest >= WINDOW:
            self.seen = bytearray(WINDOW)
        else:
            for between in range(self.highest + 1, sequence + 1):
                self.seen[between % WINDOW] = 0
        self.highest = sequence


class SeenBatches:
    """Remembers batches within a bounded window and bounded memory."""

    def __init__(self) -> None:
        self._sources: OrderedDict[tuple[str, str], _Source] = OrderedDict()

    def is_new(self, envelope: Envelope) -> bool:
        """Return whether this batch was not seen before, and remember it; one too old to tell counts as seen."""
        name = (envelope.node, envelope.boot)
        source = self._sources.get(name)
        if source is None:
            source = self._sources[name] = _Source()
            if len(self._sources) > SOURCES:
                self._sources.popitem(last=False)
        else:
            self._sources.move_to_end(name)
        return source.is_new(envelope.sequence)
