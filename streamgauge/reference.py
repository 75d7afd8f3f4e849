"""The reference pages, written from the tables in the code: columns, settings, commands.

    python -m streamgauge.reference docs        # writes docs/50-record.md, 51-settings.md and 54-commands.md

A test compares the pages with what this module would write (`make docs` writes them anew).
"""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, get_args, get_origin

from pydantic_core import PydanticUndefined

from streamgauge import json_schema, schema
from streamgauge.schema import Kind, TrafficClass
from streamgauge.settings import PROGRAMS, SECTIONS, environment_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pydantic.fields import FieldInfo

_WRITTEN: Final = "<!-- Written by `make docs` from the code; edit there. -->"

#: How a column looks in text output (table, NDJSON, CSV, SQL) where that is not its Arrow type.
_AS_TEXT: Final = {
    Kind.TIME: "whole number",
    Kind.MAC: "`aa:bb:cc:dd:ee:ff`",
    Kind.IP: "`10.0.0.1`, `2001:db8::1`",
    Kind.BYTES: "base64",
    Kind.WORD: "word",
}


class Setting(NamedTuple):
    """One setting as a person needs it."""

    section: str
    name: str
    default: str
    meaning: str


def settings(sections: Sequence[str] = tuple(SECTIONS)) -> Iterator[Setting]:
    """Yield all settings of some sections, in the order they are declared."""
    for section in sections:
        for field, info in SECTIONS[section].model_fields.items():
            choices = _choices(info.annotation)
            meaning = (info.description or "") + (f" ({', '.join(choices)})" if choices else "")
            yield Setting(section, environment_name(section, field), _default(info), meaning)


def _default(info: FieldInfo) -> str:
    if info.default_factory is not None:
        return "(the host's name)"
    if info.default is PydanticUndefined:
        return "(required)"
    if info.default is None:
        return ""
    return str(info.default).lower() if isinstance(info.default, bool) else str(info.default)


def _choices(annotation: Any) -> tuple[str, ...]:
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def record_page() -> str:
    """Return the page of the record: each column once."""
    lines = [
        "# The record",
        "",
        _WRITTEN,
        "",
        f"Version {schema.VERSION}. One row is one summary: one packet (`packets` = 1), or several packets of one flow",
        "merged (`packets` > 1). Sum `packets` and `bytes` and both read alike. The same names stand in messages,",
        "objects, text output and SQL.",
        "",
    ]
    for group, columns in groupby(schema.COLUMNS, key=lambda column: column.group):
        lines += [f"## {group.capitalize()}", "", "| column | Arrow type | as text | unit | null | meaning |"]
        lines += ["| --- | --- | --- | --- | --- | --- |", *map(_column_line, columns), ""]
    lines += [
        "## Origin",
        "",
        "Constant for a batch: metadata of the Arrow schema in a message, dictionary columns in an object, columns in",
        "text output.",
        "",
        "| column | meaning |",
        "| --- | --- |",
        *(f"| `{name}` | {meaning} |" for name, meaning in _ORIGIN.items()),
        "",
        "## Classes",
        "",
        f"The last token of the subject `traffic.v{schema.VERSION}.<node>.<class>`: "
        + ", ".join(f"`{member.token}`" for member in TrafficClass)
        + ".",
        "",
    ]
    return "\n".join(lines)


_ORIGIN: Final = {
    "node": "Name of the node that captured.",
    "interface": "Interface (or file) the packets were captured on.",
    "observation_point": "Where on the way of a packet that is; consumers use it to count a packet once.",
}


def _column_line(column: schema.Column) -> str:
    meaning = column.meaning + (f" One of {', '.join(f'`{word}`' for word in column.words)}." if column.words else "")
    cells = (
        f"`{column.name}`",
        str(column.arrow_type).replace("dictionary<values=string, indices=int8, ordered=0>", "dictionary of string"),
        _AS_TEXT.get(column.kind, ""),
        column.unit,
        "yes" if column.nullable else "",
        meaning,
    )
    return f"| {' | '.join(cells)} |"


def settings_page() -> str:
    """Return the page of the settings."""
    lines = [
        "# Settings",
        "",
        _WRITTEN,
        "",
        "Environment variables, or the same keys in a TOML file named by `STREAMGAUGE_CONFIG` (`[nats]`, `url = …`);",
        "the environment wins.",
        "Each also takes its value from a file: the name with `_FILE` behind, as Docker and Kubernetes mount secrets.",
        "A name that is not listed here is a fault. `streamgauge config` shows what is in effect.",
        "",
    ]
    for section, group in groupby(settings(), key=lambda setting: setting.section):
        readers = [program for program, sections in PROGRAMS.items() if section in sections]
        lines += [
            f"## {section}",
            "",
            f"Read by: {', '.join(readers)}.",
            "",
            "| variable | default | meaning |",
            "| --- | --- | --- |",
        ]
        lines += [f"| `{one.name}` | {_code(one.default)} | {one.meaning} |".replace("  |", " |") for one in group]
        lines.append("")
    return "\n".join(lines)


def _code(default: str) -> str:
    return default if default.startswith("(") or not default else f"`{default}`"


def commands_page() -> str:
    """Return the page of the commands."""
    from streamgauge.cli import describe

    return describe.commands_page(_WRITTEN)


PAGES: Final = {
    "50-record.md": record_page,
    "51-settings.md": settings_page,
    "54-commands.md": commands_page,
    "summary.v1.schema.json": json_schema.text,
}


def main() -> None:
    """Write the pages into the folder that is named."""
    folder = Path(sys.argv[1])
    for name, page in PAGES.items():
        (folder / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
