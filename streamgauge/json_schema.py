"""The JSON Schema of a line of NDJSON, written from the table of columns: for programs that read no Arrow."""

from __future__ import annotations

import json
from typing import Any, Final

from streamgauge import schema
from streamgauge.schema import Column, Kind

_BITS: Final = {Kind.U1: 8, Kind.U2: 16, Kind.U4: 32, Kind.U8: 63, Kind.TIME: 63}


def ndjson_schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12) of one line: columns without a value are absent, further ones may come."""
    properties: dict[str, Any] = {column.name: _property(column) for column in schema.COLUMNS}
    for name in schema.ORIGIN_COLUMNS:
        properties[name] = {"type": "string", "description": _ORIGIN[name]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:streamgauge:summary:v{schema.VERSION}",
        "title": f"streamgauge summary, version {schema.VERSION}",
        "description": "One row: one packet, or several of one flow merged; columns are only added.",
        "type": "object",
        "properties": properties,
        "required": [*(column.name for column in schema.COLUMNS if not column.nullable), *schema.ORIGIN_COLUMNS],
        "additionalProperties": True,
    }


_ORIGIN: Final = {
    "node": "Name of the node that captured it.",
    "interface": "Interface, or capture file, that it was captured on.",
    "observation_point": "Where on a packet's way this capture stands.",
}


def _property(column: Column) -> dict[str, Any]:
    described = {"description": f"{column.meaning}{f' Unit: {column.unit}.' if column.unit else ''}"}
    if column.kind in _BITS:
        return {"type": "integer", "minimum": 0, "maximum": (1 << _BITS[column.kind]) - 1, **described}
    if column.kind is Kind.BOOL:
        return {"type": "boolean", **described}
    if column.kind is Kind.IP:
        return {"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}], **described}
    if column.kind is Kind.MAC:
        return {"type": "string", "pattern": "^([0-9a-f]{2}:){5}[0-9a-f]{2}$", **described}
    if column.kind is Kind.BYTES:
        return {"type": "string", "contentEncoding": "base64", **described}
    if column.kind is Kind.WORD:
        # Words are added as protocols are: a reader takes one that it does not know for a text.
        return {"type": "string", "examples": list(column.words), **described}
    return {"type": "string", **described}


def text() -> str:
    """Return the schema as the file in docs/."""
    return json.dumps(ndjson_schema(), indent=2, ensure_ascii=False) + "\n"
