"""The first hop, seen from the stream: what the nodes' ledgers said lately."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from nats.errors import Error as NatsError

from streamgauge import ledger, subjects
from streamgauge.doctor import words
from streamgauge.doctor.interface import HOP
from streamgauge.doctor.nats_view import NotAllowedError, RefusedError
from streamgauge.doctor.words import Finding, broken, count, ok, some, unchecked, warning
from streamgauge.errors import PayloadError
from streamgauge.ledger import LedgerRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from streamgauge.doctor.nats_view import NatsView

#: Seconds that are looked back on; a running collector says something every five.
WINDOW: Final = 4 * ledger.INTERVAL
_FETCH: Final = 500
#: Nodes not heard of lately whose last word is read.
_LAST_WORDS: Final = 64
_START: Final = "start a collector: `python -m services.collector`, `docker compose up -d collector`, or the DaemonSet"


@dataclass(frozen=True, slots=True)
class Said:
    """One ledger record and when the stream took it."""

    record: LedgerRecord
    #: Unix time by the clock of NATS.
    stored: float


async def look(view: NatsView) -> Finding:
    """Judge what all collectors say about themselves."""
    try:
        known = await _subjects(view)
        if not known:
            return broken(HOP, "no collector has ever reported: no ledger record in the stream", _START)
        said = await _recent(view)
        heard = {subjects.ledger(each.record.node) for each in said}
        last = [await _last(view, subject) for subject in sorted(known - heard)[:_LAST_WORDS]]
    except NotAllowedError as error:
        return unchecked(HOP, f"{error}; the ledger tells", "use the operator's user: STREAMGAUGE_NATS_USER=operator")
    except (RefusedError, NatsError, TimeoutError) as error:
        return unchecked(HOP, f"the ledger cannot be read: {error or type(error).__name__}")
    return judge(said, [each for each in last if each is not None], now=view.now)


def judge(said: Sequence[Said], last: Sequence[Said], *, now: float) -> Finding:
    """Judge records of the last seconds (``said``), and the last ones of nodes not heard of since (``last``)."""
    latest = {(each.record.node, each.record.interface): each for each in sorted(said, key=lambda each: each.stored)}
    alive = {key: each for key, each in latest.items() if each.record.reason != "stop"}
    running = {key: each for key, each in alive.items() if now - each.stored <= words.SILENT}
    ended = [each for each in (*latest.values(), *last) if each.record.reason == "stop"]
    silent = [each for each in (*alive.values(), *last) if each not in running.values() and each not in ended]
    if not running:
        return _nobody(silent, ended, now)
    findings = (_clocks(said), _books(running), _wire(said, running), _losses(said), _silence(silent, now))
    worst = next((each for each in findings if each is not None and each.state is words.State.BROKEN), None)
    return worst or next((each for each in findings if each is not None), None) or _good(said, running)


def _nobody(silent: Sequence[Said], ended: Sequence[Said], now: float) -> Finding:
    if silent:
        latest = max(silent, key=lambda each: each.stored)
        return broken(
            HOP,
            f"no collector reports: {_names(silent)} silent, the last word {words.age(now - latest.stored)} ago",
            "look at the collector's log: `docker compose logs collector`, "
            "`kubectl logs -n streamgauge-capture ds/collector`",
        )
    latest = max(ended, key=lambda each: each.stored)
    return broken(HOP, f"every collector has stopped, the last one {words.age(now - latest.stored)} ago", _START)


def _clocks(said: Sequence[Said]) -> Finding | None:
    """Return the node whose clock is furthest from that of NATS."""
    ahead: dict[str, float] = {}
    for each in said:
        # A recovered record carries the time of a boot that is over.
        if each.record.reason != "recovered":
            seconds = each.record.time / 1e9 - each.stored
            ahead[each.record.node] = max(ahead.get(each.record.node, seconds), seconds)
    worst = max(ahead, key=lambda node: abs(ahead[node]), default=None)
    return None if worst is None else words.skew(HOP, f"node {worst}'s", ahead[worst], "that of NATS")


def _books(running: dict[tuple[str, str], Said]) -> Finding | None:
    wrong = [each for each in running.values() if each.record.unpublished]
    if not wrong:
        return None
    packets = sum(each.record.unpublished for each in wrong)
    return broken(HOP, f"the ledger of {_names(wrong)} does not add up: {packets:,} packets", "`streamgauge audit`")


def _wire(said: Sequence[Said], running: dict[tuple[str, str], Said]) -> Finding | None:
    seen = {key: _growth(said, key) for key in running}
    known = {key: span for key, span in seen.items() if span is not None}
    idle = [running[key] for key, (packets, _) in known.items() if packets == 0]
    if not idle:
        return None
    span = max(seconds for _, seconds in known.values())
    evidence = f"nothing on the wire: 0 packets in {span:.0f} s on {_names(idle)}"
    remedy = "on the node: `ip -s link`; name an interface that counts packets in STREAMGAUGE_COLLECTOR_INTERFACE"
    if len(idle) == len(running):
        return broken(HOP, evidence, remedy)
    return warning(HOP, evidence, remedy)


def _growth(said: Sequence[Said], key: tuple[str, str]) -> tuple[int, float] | None:
    """Return packets and seconds between the first and last record of one boot; None with one record only."""
    own = [each for each in said if (each.record.node, each.record.interface) == key]
    own = [each for each in own if each.record.boot == own[-1].record.boot]
    if len(own) < 2:
        return None
    return own[-1].record.kernel_received - own[0].record.kernel_received, own[-1].stored - own[0].stored


def _losses(said: Sequence[Said]) -> Finding | None:
    lost: dict[str, int] = {}
    for node in {each.record.node for each in said}:
        own = [each.record for each in said if each.record.node == node]
        own = [record for record in own if record.boot == own[-1].boot]
        lost[node] = _lost(own[-1]) - _lost(own[0])
    losing = {node: packets for node, packets in lost.items() if packets > 0}
    if not losing:
        return None
    return warning(
        HOP,
        f"{sum(losing.values()):,} packets lost in {WINDOW:.0f} s on {some(sorted(losing))}",
        "docs/15-operations.md: more STREAMGAUGE_COLLECTOR_WORKERS or _RING_BLOCKS; evicted: a larger _SPOOL_BYTES",
    )


def _lost(record: LedgerRecord) -> int:
    return record.kernel_dropped + record.evicted


def _silence(silent: Sequence[Said], now: float) -> Finding | None:
    if not silent:
        return None
    longest = max(now - each.stored for each in silent)
    return warning(
        HOP,
        f"no word from {_names(silent)} for {words.age(longest)}",
        "look at that node's collector: `kubectl get pods -n streamgauge-capture -o wide`, `docker compose ps`",
    )


def _good(said: Sequence[Said], running: dict[tuple[str, str], Said]) -> Finding:
    known = [growth for key in running if (growth := _growth(said, key)) is not None]
    seen = ""
    if known:
        seen = f", {sum(p for p, _ in known):,} packets in {max(s for _, s in known):.0f} s"
    return ok(HOP, f"{count(len(running), 'collector')} reporting{seen}, nothing lost")


def _names(said: Iterable[Said]) -> str:
    return some(sorted({f"{each.record.node}/{each.record.interface}" for each in said}))


async def _subjects(view: NatsView) -> set[str]:
    info = await view.ask(f"STREAM.INFO.{view.stream}", subjects_filter=f"{subjects.LEDGER}.*")
    return set(info["state"].get("subjects") or ())


async def _recent(view: NatsView) -> list[Said]:
    """Return the records of the last seconds, oldest first."""
    since = datetime.fromtimestamp(view.now, UTC) - timedelta(seconds=WINDOW)
    config: dict[str, Any] = {
        "description": "streamgauge doctor",
        "deliver_policy": "by_start_time",
        "opt_start_time": since.isoformat().replace("+00:00", "Z"),
        "ack_policy": "none",
        "filter_subject": f"{subjects.LEDGER}.*",
        "inactive_threshold": 10_000_000_000,
    }
    made = await view.ask(f"CONSUMER.CREATE.{view.stream}", stream_name=view.stream, config=config)
    left, found = int(made["num_pending"]), []
    subscription = await view.bus.jetstream.pull_subscribe_bind(made["name"], view.stream)
    try:
        while left > 0:
            messages = await subscription.fetch(min(left, _FETCH), timeout=2)
            left -= len(messages)
            for message in messages:
                with contextlib.suppress(PayloadError):
                    record = LedgerRecord.decode(message.data)
                    found.append(Said(record, message.metadata.timestamp.timestamp()))
    finally:
        with contextlib.suppress(NatsError, TimeoutError):
            await subscription.unsubscribe()
    return found


async def _last(view: NatsView, subject: str) -> Said | None:
    message = await view.bus.jetstream.get_last_msg(view.stream, subject)
    with contextlib.suppress(PayloadError):
        assert message.time is not None
        return Said(LedgerRecord.decode(message.data or b""), message.time.timestamp())
    return None
