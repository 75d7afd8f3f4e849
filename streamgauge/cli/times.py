"""Times on the command line: how long ago (``90s``, ``15m``, ``2h``, ``7d``) or ISO 8601 (``2026-11-25T14:00``)."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from streamgauge.errors import ConfigurationError

_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_NANOSECONDS = 1_000_000_000
#: No packet has a time beyond (it is kept in 64 bits): a time on the command line that is means "all".
_LATEST = (1 << 63) - 1


def parse(text: str, option: str, now: datetime | None = None) -> int:
    """Return a time as ns UTC; without an offset it is UTC.

    Raises:
        ConfigurationError: it is no time; names the option.

    """
    ago = _AGO.fullmatch(text.strip())
    if ago:
        now = now or datetime.now(UTC)
        return _within((now.timestamp() - float(ago[1]) * _SECONDS[ago[2]]) * _NANOSECONDS)
    try:
        when = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise ConfigurationError(
            f"{option} {text!r} is no time: how long ago (90s, 15m, 2h, 7d) or ISO 8601 (2026-11-25T14:00)"
        ) from error
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    whole = int(when.replace(microsecond=0).timestamp())
    return _within(whole * _NANOSECONDS + when.microsecond * 1000)


def _within(time: float) -> int:
    """Return a time as a packet can have it; a float of hundreds of digits is infinite."""
    return int(time) if -_LATEST < time < _LATEST else _LATEST if time > 0 else -_LATEST


def window(since: str | None, until: str | None) -> tuple[int, int | None]:
    """Return both ends of a window as ns UTC; from the beginning and without an end by default.

    Raises:
        ConfigurationError: one is no time, or it ends before it begins.

    """
    first = parse(since, "--since") if since else 0
    last = parse(until, "--until") if until else None
    if last is not None and last <= first:
        raise ConfigurationError(f"--until {until} is not after --since {since or '1970-01-01'}")
    return first, last
