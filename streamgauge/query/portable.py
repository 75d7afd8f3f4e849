"""The views, written so that DuckDB, Spark and Trino read them alike.

What differs between the engines stands behind four small functions that each defines in its own way (``engines/``):
``ns`` (a time as ns since 1970), ``moment`` (back again), ``bits`` (bitwise and), ``is_inside`` (whether an address
belongs to the cluster).
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from streamgauge.objects import ObjectKind

#: What is stored, by the name it has in SQL.
BASES: Final[dict[str, ObjectKind]] = {"summaries": "summaries", "ledger": "ledger", "identity_events": "identity"}
#: Views over it, each behind those it is made of.
VIEWS: Final = ("dns", "tls", "http", "flows", "conversations", "identity", "names")

#: What a person sees in the list, with a line each.
DESCRIPTIONS: Final = {
    "summaries": "every row as it was stored: docs/50-record.md",
    "flows": "one direction of a flow in five minutes at one place of capture",
    "conversations": "both directions in a row, client first, counted once",
    "dns": "DNS messages with client and server",
    "tls": "TLS hellos with client and server",
    "http": "HTTP/1 requests and responses with client and server",
    "identity": "which address was which pod, service or node, and when",
    "names": "the same in spans without overlap, to join with",
    "ledger": "the collectors' accounts",
}


@cache
def view(name: str) -> str:
    """Return the SELECT statement of a view."""
    return (resources.files("streamgauge.query") / "views" / f"{name}.sql").read_text(encoding="utf-8").rstrip()


def functions(engine: str, inside: str) -> list[str]:
    """Return the statements that make an engine's functions; ``inside`` is its SQL for ``is_inside``."""
    text = (resources.files("streamgauge.query") / "engines" / f"{engine}.sql").read_text(encoding="utf-8")
    return [each.strip() for each in text.replace("{inside}", inside).split(";\n") if each.strip()]


def needed(words: Iterable[str]) -> list[str]:
    """Return the base tables and views that words name, each behind those it is made of."""
    wanted = set(words) & {*BASES, *VIEWS}
    for name in reversed(VIEWS):
        if name in wanted:
            wanted |= set(re.findall(r"(?:FROM|JOIN) (\w+)", view(name))) & {*BASES, *VIEWS}
    return [name for name in (*BASES, *VIEWS) if name in wanted]


def filled(condition: str, values: Mapping[str, Any]) -> str:
    """Return a condition with values in place of its ``$names``: a view takes no parameters."""
    return re.sub(r"\$(\w+)", lambda found: _literal(values[found[1]]), condition)


def _literal(value: Any) -> str:
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)
