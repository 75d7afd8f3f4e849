"""What a hop may be said to be: states, bounds, figures in words, and the sentences that several readers share.

Figures in, sentences out: nothing here asks anybody, so a page that has the same figures can say the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Seconds without a ledger record after which a node is called silent; it sends one every five.
SILENT: Final = 20.0
#: Seconds for which messages may wait although nobody asks for them.
UNASKED: Final = 30.0
#: Seconds a batch may wait for the backup: it stores every minute, then verifies.
STORED_LATE: Final = 180.0
#: Seconds the exporter may lag.
BEHIND: Final = 15.0
#: Seconds without a scrape; Prometheus comes every fifteen.
UNREAD: Final = 90.0
#: Seconds two clocks may differ: past the first worth a word, past the second rows stand under a wrong time.
SKEW, WRONG_CLOCK = 2.0, 30.0
#: Days before its end from which a certificate is worth a word.
EXPIRES_SOON: Final = 14.0


class State(StrEnum):
    """What became of looking at a hop."""

    OK = "ok"
    #: It works, and will not for long, or not well.
    WARNING = "warning"
    BROKEN = "broken"
    UNCHECKED = "not checked"


@dataclass(frozen=True, slots=True)
class Finding:
    """One hop: its state, the evidence with its figures in one line, and the command or setting that mends it."""

    hop: str
    state: State
    evidence: str
    remedy: str = ""
    #: The cause may lie in the next hop, so the walk looks at that one too.
    look_on: bool = False


def ok(hop: str, evidence: str) -> Finding:
    """Return that a hop is in order."""
    return Finding(hop, State.OK, evidence)


def warning(hop: str, evidence: str, remedy: str) -> Finding:
    """Return that a hop works, but not well or not for long."""
    return Finding(hop, State.WARNING, evidence, remedy)


def broken(hop: str, evidence: str, remedy: str, *, look_on: bool = False) -> Finding:
    """Return that a packet does not get past a hop."""
    return Finding(hop, State.BROKEN, evidence, remedy, look_on)


def unchecked(hop: str, evidence: str, remedy: str = "") -> Finding:
    """Return that a hop was not looked at, and why."""
    return Finding(hop, State.UNCHECKED, evidence, remedy)


def count(number: int, what: str, plural: str = "s") -> str:
    """Return ``1 batch``, ``1,234 batches``."""
    return f"{number:,} {what}{'' if number == 1 else plural}"


def age(seconds: float) -> str:
    """Return a length of time in two or three figures."""
    for unit, length, most in (("s", 1, 120), ("min", 60, 7200)):
        if seconds < most:
            return f"{seconds / length:.{1 if seconds < 10 else 0}f} {unit}"
    hours = seconds / 3600
    return f"{hours:.0f} h" if hours < 48 else f"{hours / 24:.0f} days"


def size(number: float) -> str:
    """Return a number of bytes."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def some(names: Sequence[str]) -> str:
    """Return a few of many names."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def skew(hop: str, whose: str, seconds: float, against: str = "this machine's") -> Finding | None:
    """Judge how far a clock is ahead (negative: behind) of another; None while that does no harm."""
    if math.isnan(seconds) or abs(seconds) < SKEW:
        return None
    way = "ahead of" if seconds > 0 else "behind"
    evidence = f"clock skew: {whose} clock is {age(abs(seconds))} {way} {against}"
    make = broken if abs(seconds) > WRONG_CLOCK else warning
    return make(hop, evidence, "look at both: `timedatectl`; set the wrong one right: `timedatectl set-ntp true`")


#: What brings a backup back that asks for nothing.
START_BACKUP: Final = "start it: `python -m services.backup`, `docker compose up -d backup`, or the StatefulSet"


def waiting(pending: int, oldest: float) -> str:
    """Return what is not stored yet."""
    return f"{count(pending, 'message')} not stored yet, the oldest {age(oldest)}" if pending else "all is stored"


def stored_too_late(oldest: float, late: float = STORED_LATE) -> bool:
    """Judge the age of the oldest message that is not stored."""
    return oldest > late


def waits_unasked(pending: int, requests: int, oldest: float, quiet: float | None) -> bool:
    """Judge a consumer of the backup: messages wait, no request for them is open, and none was answered for a while.

    Args:
        pending: Messages that were not handed out.
        requests: Requests for them that are open.
        oldest: Seconds since the oldest message was stored in the stream that is not stored in the bucket.
        quiet: Seconds since a message was handed out; None: never.

    """
    return bool(pending) and not requests and oldest > UNASKED and (quiet is None or quiet > UNASKED)


def unasked(consumers: list[str], messages: int, oldest: float) -> str:
    """Return that the backup is not at work."""
    return (
        f"consumer stuck: nobody asks {some(consumers)} for {count(messages, 'message')}, the oldest {age(oldest)} old"
    )


def behind(seconds: float, batches: int) -> str:
    """Return how far the exporter lags."""
    return f"{age(seconds)} behind, {count(batches, 'batch', 'es')} wait"


def certificate(hop: str, days: float, until: str) -> Finding | None:
    """Judge the days a certificate is still good for; None while they are enough."""
    remedy = '`make secrets ARGS="--rotate certificates"`, then restart the door (docs/30-troubleshooting.md, stage 8)'
    if days < 0:
        return broken(hop, f"certificate expired {age(-days * 86400)} ago, on {until}", remedy)
    if days < EXPIRES_SOON:
        return warning(hop, f"certificate expires in {age(days * 86400)}, on {until}", remedy)
    return None
