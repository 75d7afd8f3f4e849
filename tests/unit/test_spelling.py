"""What a misspelt name may have meant."""

from __future__ import annotations

import pytest

from streamgauge import schema
from streamgauge.spelling import closest


@pytest.mark.parametrize(
    ("name", "meant"),
    [("srcip", "src_ip"), ("source_ip", "src_ip"), ("dns_nme", "dns_name"), ("foo", None), ("latency", None)],
)
def test_columns(name: str, meant: str | None) -> None:
    """One that is alike, or none at all."""
    assert closest(name, schema.NAMES) == meant


@pytest.mark.parametrize(
    ("name", "meant"), [("A_URLS", "A_URL"), ("A_COLOUR", None), ("A_RLU", "A_URL"), ("A_PORTS", None)]
)
def test_prefix_makes_nothing_alike(name: str, meant: str | None) -> None:
    """All settings begin alike; two letters swapped are a misspelling in short words, too."""
    assert closest(name, ["A_URL", "A_SPOOL_DIR"], prefix="A_") == meant
