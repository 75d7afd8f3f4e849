"""The suite must be able to fail: builds that are broken on purpose do, at their first fault."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.chaos.run import Fault, run
from tests.chaos.stand import Options
from tests.support import require

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]


@pytest.fixture(autouse=True)
def _servers() -> None:
    for name in ("nats-server", "weed"):
        require.program(name)


async def test_acknowledging_before_the_upload_loses(scratch: Path) -> None:
    """A backup that takes acknowledgements for its position, gives them early and dies in between, loses: it shows."""
    outcome = await run(scratch, lambda _: [], Options(nodes=1, backup="tests.chaos.broken_early_ack"))

    assert outcome.verdict.lost > 0
    assert outcome.verdict.duplicated == 0
    assert any("published and not stored" in finding for finding in outcome.verdict.findings)


async def test_storing_what_is_stored_duplicates(scratch: Path) -> None:
    """A backup that does not look whether a batch is stored doubles it when it comes again: it shows."""
    faults = [Fault("batches published again", pause=1.0, lasts=0.1, seed=seed) for seed in (1, 2)]
    outcome = await run(scratch, lambda _: faults, Options(nodes=1, backup="tests.chaos.broken_no_dedupe"))

    assert outcome.verdict.duplicated > 0
    assert outcome.verdict.lost == 0
