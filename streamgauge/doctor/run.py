"""The walk: one hop after the other, as far as the first that is broken."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from streamgauge.doctor import interface, ledgers, pages, storage, stream, words
from streamgauge.doctor.nats_view import NatsView
from streamgauge.doctor.words import Finding, State, unchecked
from streamgauge.lifecycle import cancel, spawn

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from streamgauge.settings import DoctorSettings, NatsSettings, S3Settings

#: In the order of a packet's way.
HOPS: Final = (
    *(interface.HOP, stream.NATS, stream.STREAM, stream.BACKUP, storage.HOP),
    *(pages.EXPORTER, pages.PROMETHEUS, pages.DOOR),
)

_BEHIND: Final = "behind the broken hop; --all looks at it"


@dataclass(slots=True)
class Walk:
    """What was found, in the order of the hops."""

    findings: list[Finding] = field(default_factory=list)

    @property
    def first_broken(self) -> Finding | None:
        """The hop to mend first; a consumer that is stuck because the storage refuses is not it."""
        for each, following in zip(self.findings, [*self.findings[1:], None], strict=True):
            is_effect = each.look_on and following is not None and following.state is State.BROKEN
            if each.state is State.BROKEN and not is_effect:
                return each
        return None


async def walk(
    nats: NatsSettings,
    s3: S3Settings | None,
    settings: DoctorSettings,
    *,
    capture: str | None = None,
    everything: bool = False,
) -> Walk:
    """Look at all hops, or as far as the first broken one.

    Args:
        nats: whose stream; the operator's user may read all that is asked.
        s3: None: the storage is not checked.
        settings: URLs of what is read over HTTP.
        capture: interfaces of this machine to look at (``any``, names, patterns); None: only what ledgers say.
        everything: go on behind a broken hop.

    """
    view = NatsView(nats)
    # While this machine's interfaces are listened to.
    connecting = spawn(view.connect(), name="connect")
    hops: tuple[tuple[str, Callable[[], Awaitable[Finding]]], ...] = (
        (interface.HOP, lambda: _capture(view, connecting, settings, capture)),
        (stream.NATS, lambda: stream.look_at_nats(view)),
        (stream.STREAM, lambda: stream.look_at_stream(view)),
        (stream.BACKUP, lambda: _backup(view, settings)),
        (storage.HOP, lambda: _storage(s3)),
        (pages.EXPORTER, lambda: pages.look_at_exporter(settings.exporter)),
        (pages.PROMETHEUS, lambda: pages.look_at_prometheus(settings.prometheus)),
        (pages.DOOR, lambda: pages.look_at_door(settings)),
    )
    found = Walk()
    try:
        stopped = looking_on = False
        for name, look in hops:
            if stopped and not looking_on:
                found.findings.append(unchecked(name, _BEHIND))
                continue
            if name == stream.NATS:
                await connecting
            finding = await look()
            found.findings.append(finding)
            looking_on = finding.look_on
            stopped = stopped or (finding.state is State.BROKEN and not everything)
    finally:
        await cancel(connecting)
        await view.close()
    return found


async def _capture(
    view: NatsView, connecting: asyncio.Task[None], settings: DoctorSettings, capture: str | None
) -> Finding:
    """Judge this machine's interfaces, the collector's page, and the ledgers: the first that is not in order."""
    here = None if capture is None else await interface.look(capture)
    if here is not None and here.state is State.BROKEN:
        return here
    await connecting
    page = await pages.trouble("collector", settings.collector)
    if page is not None:
        # A collector without NATS says that it is not ready: the next hop is to be mended then.
        return replace(page, hop=interface.HOP, look_on=view.refusal is not None)
    if view.refusal is not None:
        return here or unchecked(interface.HOP, "NATS is away, so no ledger can be read", "--interface looks here")
    told = await ledgers.look(view)
    if here is None or told.state is not State.OK:
        return here if here is not None and told.state is State.UNCHECKED else told
    return words.ok(interface.HOP, f"{told.evidence}; here: {here.evidence}")


async def _backup(view: NatsView, settings: DoctorSettings) -> Finding:
    told = await stream.look_at_backup(view, settings.late)
    if told.state is State.BROKEN:
        return told
    page = await pages.trouble(stream.BACKUP, settings.backup)
    # A backup that cannot upload says that it is not ready: the storage is to be mended then.
    return told if page is None else replace(page, look_on=True)


async def _storage(s3: S3Settings | None) -> Finding:
    if s3 is None:
        return unchecked(storage.HOP, "STREAMGAUGE_S3_ACCESS_KEY is not set", "set the operator's keys: they only read")
    return await storage.look(s3)
