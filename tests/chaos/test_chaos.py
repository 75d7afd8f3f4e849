"""The short version of ``make chaos``: every kind of fault once, and the account comes out even."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.chaos.__main__ import table
from tests.chaos.faults import KINDS, possible
from tests.chaos.run import run, schedule
from tests.chaos.stand import Options
from tests.support import require

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]


async def test_every_kind_of_fault(scratch: Path) -> None:
    """Whatever breaks: nothing is lost, nothing is stored twice, nothing is without a name."""
    for name in ("nats-server", "weed"):
        require.program(name)
    seed = int(os.environ.get("SEED", "20261125"))
    outcome = await run(
        scratch,
        lambda stand: schedule(seed, len(possible(stand)), possible(stand)),
        Options(nodes=2, rate=600, live=True),
    )

    assert outcome.verdict.good, f"seed {seed}{table(outcome)}"
    assert outcome.injected.total() >= 20
    assert outcome.verdict.stored > 10_000
    if os.geteuid() == 0:
        # Losses that are meant to be, and were counted.
        assert outcome.verdict.evicted > 0
        assert outcome.verdict.dropped > 0


def test_a_seed_repeats_its_faults() -> None:
    """The same seed gives the same faults at the same moments; each kind comes before any comes again."""
    kinds = list(KINDS)
    faults = schedule(7, 200, kinds)

    assert faults == schedule(7, 200, kinds)
    assert faults != schedule(8, 200, kinds)
    assert {fault.kind for fault in faults[: len(kinds)]} == set(kinds)
