"""``make chaos SEED=n FAULTS=n``: real services, real servers, random faults, and an account that must come out even.

Exit status 0: lost 0, duplicated 0, unaccounted 0. 1: anything else; the seed printed first repeats the faults.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shlex
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from streamgauge import logs
from streamgauge.errors import StreamgaugeError
from streamgauge.settings import LogSettings
from tests.chaos.faults import possible
from tests.chaos.run import UnfinishedError, run, schedule
from tests.chaos.stand import Options

if TYPE_CHECKING:
    from tests.chaos.oracle import Verdict
    from tests.chaos.run import Outcome

_GAP = ("", "")


def main() -> int:
    """Read the arguments, run, print the account."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="of the faults; random by default, and printed")
    parser.add_argument("--faults", type=int, default=200, help="how many (default: 200, about 10 minutes)")
    parser.add_argument("--nodes", type=int, default=3, help="collectors (default: 3)")
    parser.add_argument("--rate", type=int, default=800, help="packets a second of each (default: 800)")
    parser.add_argument(
        "--only", action="append", default=[], metavar="TEXT", help="kinds that have this in their name"
    )
    options = parser.parse_args()
    # Connections of the run itself break as well, and say so.
    logs.set_up(LogSettings(level="error", format="console"), service="chaos")
    seed = random.SystemRandom().getrandbits(31) if options.seed is None else options.seed
    others = shlex.join(part for text in options.only for part in ("--only", text))
    others += f" --nodes {options.nodes} --rate {options.rate}"
    repeat = f"make chaos SEED={seed} FAULTS={options.faults}" + f" ARGS={shlex.quote(others.strip())}"
    say(f"seed {seed}, {options.faults} faults; to repeat: {repeat}")
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    good = False
    try:
        outcome = asyncio.run(
            run(
                folder,
                lambda stand: schedule(seed, options.faults, chosen(possible(stand), options.only)),
                Options(nodes=options.nodes, rate=options.rate, live=True),
                tell=say,
            )
        )
        say(table(outcome))
        good = outcome.verdict.good
    except (UnfinishedError, StreamgaugeError) as error:
        say(f"the run did not come to its end: {error}")
    finally:
        if good:
            shutil.rmtree(folder, ignore_errors=True)
    if not good:
        say(f"FAILED with seed {seed}; logs and data are in {folder}")
    return 0 if good else 1


def chosen(kinds: list[str], only: list[str]) -> list[str]:
    """Return the kinds asked for; all when none is."""
    return [kind for kind in kinds if not only or any(text in kind for text in only)]


def table(outcome: Outcome) -> str:
    """Return the account as text."""
    faults = [(kind, str(times)) for kind, times in sorted(outcome.injected.items())]
    ended = [(f"ended by itself: {who}", str(times)) for who, times in sorted(outcome.ended.items())]
    total = ("faults", str(outcome.injected.total()))
    return f"\n{_columns([*faults, _GAP, total, *ended, _GAP])}\n{sums(outcome.verdict)}"


def sums(verdict: Verdict) -> str:
    """Return what a verdict came to as text."""
    names = (
        "boots",
        "batches",
        "repeated",
        "objects",
        "",
        "fed",
        "published",
        "stored",
        "crashed",
        "evicted",
        "dropped",
    )
    parts = [(name, f"{getattr(verdict, name):,}") if name else _GAP for name in names]
    totals = [(name.upper(), f"{getattr(verdict, name):,}") for name in ("lost", "duplicated", "unaccounted")]
    return "\n".join((_columns([*parts, _GAP, *totals]), *(f"! {finding}" for finding in verdict.findings[:50])))


def _columns(lines: list[tuple[str, str]]) -> str:
    return "\n".join(f"{name:34}{value:>14}" if name else "" for name, value in lines)


def say(text: str) -> None:
    """Print at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
