"""The threads of a capture: one that dies ends them all."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from services.collector.capture import Capture
from streamgauge.lifecycle import Failure
from streamgauge.settings import CollectorSettings

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from services.collector.sources import Block


class Source:
    """Two workers: the first dies after a moment, the second goes on until it is told to stop."""

    workers = 2
    live = True
    ended: str | None = None

    def blocks(self, stop: threading.Event, worker: int = 0) -> Iterator[Block]:
        if worker == 0:
            stop.wait(0.1)
            raise RuntimeError("cannot be decoded")
        self.ended = "told to" if stop.wait(10.0) else "by itself"
        yield from ()


async def test_no_worker_goes_on_alone() -> None:
    """Else the packets of the dead one's ring would be lost for ever, and the collector look as if it was at work."""

    async def drained() -> None:
        pass

    source, finished = Source(), asyncio.Event()
    capture = Capture(
        CollectorSettings(interface="lo"),
        source=source,  # type: ignore[arg-type]
        batcher=SimpleNamespace(window_rows=16),  # type: ignore[arg-type]
        publisher=SimpleNamespace(drained=drained),  # type: ignore[arg-type]
        account=SimpleNamespace(totals=lambda: SimpleNamespace(decoded=0)),  # type: ignore[arg-type]
        failure=Failure(),
        finished=finished,
        overload=SimpleNamespace(window=lambda _: 0.0),  # type: ignore[arg-type]
    )
    with pytest.raises(RuntimeError, match="cannot be decoded"):
        await asyncio.wait_for(capture._run(), 30)

    assert source.ended == "told to"
    assert finished.is_set()
