"""Times on the command line."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from streamgauge.cli import times
from streamgauge.errors import ConfigurationError

NOW = datetime(2026, 11, 25, 14, tzinfo=UTC)
SECOND = 10**9
LATEST = 2**63 - 1


@pytest.mark.parametrize(
    ("given", "seconds_ago"), [("90s", 90), ("15m", 900), ("2h", 7200), ("7d", 604800), ("1.5h", 5400)]
)
def test_how_long_ago(given, seconds_ago):
    """A number and a unit count back from now."""
    assert times.parse(given, "--since", NOW) == int(NOW.timestamp() - seconds_ago) * SECOND


@pytest.mark.parametrize("given", ["2026-11-25T14:00", "2026-11-25T14:00:00Z", "2026-11-25T15:00+01:00"])
def test_iso_8601(given):
    """With an offset, or UTC."""
    assert times.parse(given, "--since") == int(NOW.timestamp()) * SECOND


def test_microseconds_are_kept():
    """ISO 8601 to the microsecond is exact."""
    assert times.parse("2026-11-25T14:00:00.000007", "--since") == int(NOW.timestamp()) * SECOND + 7000


@pytest.mark.parametrize("given", ["yesterday", "", "5", "2026-13-01"])
def test_what_is_no_time(given):
    """One line that names the option and shows how."""
    with pytest.raises(ConfigurationError, match=r"--until .* is no time"):
        times.parse(given, "--until")


@pytest.mark.parametrize(
    ("given", "time"),
    [("99999999999999d", -LATEST), ("9" * 400 + "s", -LATEST), ("9999-12-31", LATEST), ("0001-01-01", -LATEST)],
)
def test_times_no_packet_can_have(given, time):
    """A time that does not fit into 64 bits of ns is the first or the last that does."""
    assert times.parse(given, "--since") == time


def test_a_window_ends_after_it_begins():
    """Both ends are optional, and in order."""
    assert times.window(None, None) == (0, None)
    with pytest.raises(ConfigurationError, match="is not after"):
        times.window("1h", "2h")
