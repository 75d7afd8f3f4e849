"""A walk as lines for a person, or as one JSON object."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Final

import orjson

from streamgauge.doctor.words import State

if TYPE_CHECKING:
    from streamgauge.doctor.run import Walk
    from streamgauge.doctor.words import Finding

_COLOURS: Final = {State.OK: 32, State.WARNING: 33, State.BROKEN: 31, State.UNCHECKED: 2}
_WIDTH: Final = 110


def verdict(walk: Walk) -> str:
    """Return the first line: the hop to mend, or that there is none."""
    broken = walk.first_broken
    if broken is not None:
        return f"first broken hop: {broken.hop}: {broken.evidence}"
    states = [each.state for each in walk.findings]
    looked = len(states) - states.count(State.UNCHECKED)
    words = [f"no broken hop: {looked} of {len(states)} hops looked at"]
    if State.WARNING in states:
        words.append(f"{states.count(State.WARNING)} with a warning")
    return ", ".join(words)


def as_text(walk: Walk, *, colour: bool = False) -> str:
    """Return the verdict and, for each hop, its state, the evidence, and what mends it."""
    width = max(len(each.hop) for each in walk.findings)
    lines = [_painted(verdict(walk), State.BROKEN if walk.first_broken else State.OK, colour), ""]
    for each in walk.findings:
        lines += _lines(each, width, colour)
    return "\n".join(lines)


def _lines(finding: Finding, width: int, colour: bool) -> list[str]:
    state = _painted(f"{finding.state:11}", finding.state, colour)
    lines = [f"{finding.hop:{width}}  {state}  {finding.evidence}"]
    if finding.remedy and finding.state is not State.OK:
        indent = " " * (width + 15)
        told = "to check it: " if finding.state is State.UNCHECKED else "mend it: "
        lines += textwrap.wrap(
            told + finding.remedy,
            _WIDTH,
            initial_indent=indent,
            subsequent_indent=indent + " " * len(told),
            break_on_hyphens=False,
            break_long_words=False,
        )
    return lines


def _painted(words: str, state: State, colour: bool) -> str:
    return f"\x1b[{_COLOURS[state]}m{words}\x1b[0m" if colour else words


def as_json(walk: Walk) -> str:
    """Return the walk as one JSON object."""
    broken = walk.first_broken
    hops = [
        {"hop": each.hop, "state": each.state.value, "evidence": each.evidence, "remedy": each.remedy}
        for each in walk.findings
    ]
    return orjson.dumps(
        {"verdict": verdict(walk), "first_broken": broken.hop if broken else None, "hops": hops},
        option=orjson.OPT_INDENT_2,
    ).decode()
