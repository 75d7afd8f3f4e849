"""One audit from start to end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from streamgauge.audit import balance, chain, collect, deep
from streamgauge.audit.model import Evidence, Report, Window

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamgauge.bus import Bus
    from streamgauge.store import Store


def _silent(_count: int) -> None:
    """Show no progress."""


async def take(
    store: Store,
    bus: Bus | None,
    *,
    stream: str,
    window: Window | None = None,
    read_all: bool = False,
    progress: Callable[[int], None] = _silent,
) -> Report:
    """Take an audit.

    Args:
        store: the bucket, opened.
        bus: the connection to NATS, started; None audits the bucket alone, which cannot tell what waits.
        stream: name of the stream.
        window: the time to look at; everything by default.
        read_all: read every object whole.
        progress: told of each object and message read.

    Raises:
        StoreError: the bucket cannot be read.
        BusError: the stream cannot be read.

    """
    began = time.monotonic()
    window = window or Window()
    evidence = Evidence(window)
    if bus is None:
        evidence.without_nats = "NATS was not asked: what waits in the stream is unknown"
        await collect.from_bucket(store, evidence, progress)
    else:
        await collect.from_backup(bus, stream, evidence)
        await collect.from_bucket(store, evidence, progress)
        await collect.from_stream(bus, stream, evidence, progress)
    await collect.look_elsewhere(store, evidence)
    findings = chain.judge(evidence)
    accounts, missing = balance.judge(evidence, window, findings)
    findings += missing
    if read_all:
        findings += await deep.judge(store, evidence, progress)
    shown = [one for one in evidence.objects if one.footer is not None]
    return Report(
        accounts=accounts,
        findings=findings,
        objects=len(evidence.objects),
        rows=sum(one.footer.rows for one in shown if one.footer),
        bytes=sum(one.stored.size for one in evidence.objects),
        seconds=time.monotonic() - began,
        deep=read_all,
        without_nats=evidence.without_nats,
    )
