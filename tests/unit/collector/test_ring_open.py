"""Opening a ring: whoever asks for its counts meanwhile sees nothing, or all of it."""

from __future__ import annotations

from typing import Any

import pytest

from services.collector.sources import SourceCounts, ring
from services.collector.sources.ring import RingSource
from streamgauge.errors import CaptureError
from streamgauge.settings import CollectorSettings


class Socket:
    """Stands for a packet socket, and looks at its source while it is asked for a ring."""

    source: RingSource
    fails = False
    closed = 0

    def __init__(self, _interface: str) -> None:
        pass

    def map_ring(self, *_arguments: int) -> Any:
        assert self.source._socket is None
        assert self.source.counts() == SourceCounts()
        if self.fails:
            raise CaptureError("no memory")
        return bytearray(1)

    def close(self) -> None:
        type(self).closed += 1


@pytest.fixture(name="source")
def _source(monkeypatch: pytest.MonkeyPatch) -> RingSource:
    monkeypatch.setattr(ring, "PacketSocket", Socket)
    monkeypatch.setattr(ring, "socket_program", lambda *_arguments: [])
    monkeypatch.setattr(ring, "warm_up", lambda: None)
    monkeypatch.setattr(Socket, "closed", 0)
    source = RingSource(CollectorSettings(interface="any"))
    monkeypatch.setattr(Socket, "source", source, raising=False)
    return source


def test_socket_is_seen_with_its_ring(source: RingSource) -> None:
    """Not before the ring is mapped."""
    source.open()

    assert source._socket is not None
    assert source._ring is not None


def test_failed_open_leaves_nothing(source: RingSource, monkeypatch: pytest.MonkeyPatch) -> None:
    """The socket is closed, and was never seen."""
    monkeypatch.setattr(Socket, "fails", True)
    with pytest.raises(CaptureError, match="no memory"):
        source.open()

    assert (source._socket, Socket.closed) == (None, 1)
