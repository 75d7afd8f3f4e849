"""The questions people ask, each a readable file of SQL whose head says what it answers, and with which parameters.

-- Who sends most to whom?
--
-- window: 1d                                  (how far back by default)
-- rows:
--   dst_port = 443                            (of ``summaries``: none but these bear upon the answer)
-- parameters:
--   limit (number) = 20: rows shown
-- columns:
--   source: …
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final

from streamgauge.errors import ConfigurationError
from streamgauge.query import portable
from streamgauge.spelling import closest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_PARAMETER: Final = re.compile(r"--   (\w+) \((number|text|time)\)(?: = (\S+))?: (.+)")
#: Larger than all that is counted or measured here.
_MOST: Final = 10**15
_COLUMN: Final = re.compile(r"--   (\w+(?:, \w+)*): (.+)")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One ``$name`` of a statement."""

    name: str
    kind: str
    #: As text; None: it must be given.
    default: str | None
    meaning: str

    def value(self, given: str | None, time: Callable[[str, str], int]) -> int | float | str:
        """Return the value to bind; a time as ns UTC.

        Raises:
            ConfigurationError: nothing is given and there is no default, or it is of another kind.

        """
        text = self.default if given is None else given
        if text is None:
            raise ConfigurationError(f"--param {self.name}=… is missing: {self.meaning}")
        if self.kind == "time":
            return time(text, f"--param {self.name}")
        if self.kind == "text":
            return _as_stored(text)
        try:
            number = float(text) if "." in text or "e" in text.lower() else int(text)
        except ValueError as error:
            raise ConfigurationError(f"--param {self.name}={text} is no number") from error
        if not 0 <= number < _MOST:
            raise ConfigurationError(f"--param {self.name}={text} is not between 0 and {_MOST:,}")
        return number


@dataclass(frozen=True, slots=True)
class Named:
    """One question."""

    name: str
    question: str
    parameters: tuple[Parameter, ...]
    #: Names of the answer's columns with what they mean, several names in one entry separated by commas.
    columns: tuple[tuple[str, str], ...]
    #: How far back it looks when no ``--since`` is given; None: everything.
    window: str | None
    #: A condition on rows of ``summaries``, with the same parameters; the answer is the same without it, but later.
    rows: str | None
    sql: str

    def bind(self, given: Mapping[str, str], time: Callable[[str, str], int]) -> dict[str, int | float | str]:
        """Return the value of each parameter; ``time`` reads a time as ns UTC.

        Raises:
            ConfigurationError: one is missing, wrong or unknown.

        """
        names = [parameter.name for parameter in self.parameters]
        for name in given:
            if name not in names:
                close = closest(name, names)
                hint = f"did you mean {close}?" if close else f"it has {', '.join(names) or 'none'}"
                raise ConfigurationError(f"{self.name} has no parameter {name}; {hint}")
        return {parameter.name: parameter.value(given.get(parameter.name), time) for parameter in self.parameters}

    def doubts(self, values: Mapping[str, int | float | str], since: int) -> list[str]:
        """Return what to say of times (ns UTC) that nothing of the window lies before."""
        return [
            f"{name} is not behind the window's begin, so there is no before: give an earlier --since, or -p {name}=…"
            for name in (each.name for each in self.parameters if each.kind == "time")
            if int(values[name]) <= since
        ]


@cache
def all_named() -> dict[str, Named]:
    """Return the questions by name, in order."""
    folder = resources.files("streamgauge.query") / "named"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return {
        name: parse(name, file.read_text(encoding="utf-8"))
        for file in files
        for name in (file.name.removesuffix(".sql"),)
    }


def parse(name: str, text: str) -> Named:
    """Read a file of SQL with a head.

    Raises:
        ValueError: the head lacks the question or the columns.

    """
    head = [line for line in text.splitlines() if line.startswith("--")]
    part, window, rows = "", None, ""
    parameters: list[Parameter] = []
    columns: list[tuple[str, str]] = []
    for line in head[1:]:
        if line.startswith("-- window: "):
            window = line.removeprefix("-- window: ")
        elif line in ("-- rows:", "-- parameters:", "-- columns:"):
            part = line
        elif part == "-- rows:":
            rows += line.removeprefix("--")
        elif part == "-- parameters:" and (found := _PARAMETER.fullmatch(line)):
            parameters.append(Parameter(*found.groups()))
        elif part == "-- columns:" and (found := _COLUMN.fullmatch(line)):
            columns.append((found[1], found[2]))
    if not head or not columns:
        raise ValueError(f"{name}: the head of the statement names no question or no columns")
    return Named(
        name, head[0].removeprefix("-- "), tuple(parameters), tuple(columns), window, rows.strip() or None, text
    )


def _as_stored(text: str) -> str:
    """Return an address as rows have it, however it is written (``2001:DB8:0::1``); other text as it is."""
    try:
        address = ip_address(text)
    except ValueError:
        return text
    return str(getattr(address, "ipv4_mapped", None) or address)


def get(name: str) -> Named | None:
    """Return a question by its name."""
    return all_named().get(name)


def unknown(name: str) -> ConfigurationError:
    """Return what to say of a name that is none."""
    if name.endswith(".sql"):
        return ConfigurationError(f"{name!r} is a file? `streamgauge query - < {name}` reads it")
    if name in portable.DESCRIPTIONS:
        example = f'streamgauge query "FROM {name} LIMIT 10"'
        return ConfigurationError(f"{name} is a view; ask SQL: `{example}`")
    close = closest(name, all_named())
    hint = f"did you mean {close}?" if close else "`streamgauge query --list` shows all"
    return ConfigurationError(f"{name!r} is neither SQL nor a named query; {hint}")


def parameters_of(given: list[str]) -> dict[str, Any]:
    """Return ``name=value`` options as a mapping.

    Raises:
        ConfigurationError: one of them has no equals sign.

    """
    found = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals:
            raise ConfigurationError(f"--param {one!r} is not name=value")
        found[name.strip()] = value
    return found
