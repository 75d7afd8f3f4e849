"""Subjects and message headers: how a batch is addressed on NATS.

Published:  ``traffic.v1.<node>.<class>``   ``ledger.v1.<node>``   ``identity.v1.<cluster>``
Stored:     the stream appends the shard, ``traffic.v1.<node>.<class>.<shard>``, computed by NATS from the node, so that
            replicas of a consumer split the work by subject filter.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from streamgauge import schema
from streamgauge.errors import PayloadError, SubjectError

if TYPE_CHECKING:
    from collections.abc import Mapping

TRAFFIC: Final = f"traffic.v{schema.VERSION}"
LEDGER: Final = f"ledger.v{schema.VERSION}"
IDENTITY: Final = f"identity.v{schema.VERSION}"

#: What a core subscriber listens to for everything that is published.
ALL_TRAFFIC: Final = f"{TRAFFIC}.*.*"

_CLASSES: Final = {member.token: member for member in schema.TrafficClass}
# NATS forbids white space in a subject and gives dots, ``*`` and ``>`` a meaning.
_FORBIDDEN: Final = re.compile(r"[\s.*>\x00-\x1f\x7f]")


class TrafficSubject(NamedTuple):
    """The parts of ``traffic.v1.<node>.<class>``, and the shard where the stream appended one."""

    node: str
    traffic_class: schema.TrafficClass
    shard: int | None = None


def node_token(node: str) -> str:
    """Return a node's name as a subject token: dots and characters NATS forbids become ``_``.

    Raises:
        SubjectError: the name is empty.

    """
    if not node:
        raise SubjectError("a node name is empty: set STREAMGAUGE_COLLECTOR_NODE")
    return _FORBIDDEN.sub("_", node)


def traffic(node: str, traffic_class: schema.TrafficClass) -> str:
    """Return the subject for one node's summaries of one class."""
    return f"{TRAFFIC}.{node_token(node)}.{traffic_class.token}"


def ledger(node: str) -> str:
    """Return the subject for one node's ledger records."""
    return f"{LEDGER}.{node_token(node)}"


def identity(cluster: str) -> str:
    """Return the subject for one cluster's identity events."""
    return f"{IDENTITY}.{_FORBIDDEN.sub('_', cluster)}"


def stored_shard(shard: int | None = None) -> str:
    """Return the filter for one shard's summaries as the stream stores them (all shards by default)."""
    return f"{TRAFFIC}.*.*.{'*' if shard is None else shard}"


def parse(subject: str) -> TrafficSubject:
    """Take a traffic subject apart, published or stored.

    Raises:
        SubjectError: it is no subject of ours, or of another version.

    """
    tokens = subject.split(".")
    if tokens[:2] != TRAFFIC.split(".") or len(tokens) not in (4, 5):
        raise SubjectError(f"subject {subject!r} is not {TRAFFIC}.<node>.<class>")
    traffic_class = _CLASSES.get(tokens[3])
    if traffic_class is None:
        raise SubjectError(f"subject {subject!r} has the unknown class {tokens[3]!r}; known: {', '.join(_CLASSES)}")
    if len(tokens) == 4:
        return TrafficSubject(tokens[2], traffic_class)
    if not tokens[4].isdecimal():
        raise SubjectError(f"subject {subject!r} has the shard {tokens[4]!r}, which is no number")
    return TrafficSubject(tokens[2], traffic_class, int(tokens[4]))


ARROW: Final = "application/vnd.apache.arrow.stream"
NDJSON: Final = "application/x-ndjson"


@dataclass(frozen=True, slots=True)
class Envelope:
    """What the headers of a message say about the batch in it.

    ``sequence`` counts the messages of one node and boot from 1 without gaps, over all classes and interfaces.
    Times are ns UTC of the first and last packet. ``bytes`` is the sum of the column.
    ``class_sequence`` counts the messages of one node, boot and class from 1, and ``class_packets`` the packets in
    them, this message's included: with these a consumer of one class knows exactly what it missed. Both are 0 in
    messages of collectors that did not send them.
    """

    node: str
    boot: str
    sequence: int
    interface: str
    observation_point: str
    rows: int
    packets: int
    bytes: int
    first_time: int
    last_time: int
    content_type: str = ARROW
    version: int = schema.VERSION
    class_sequence: int = 0
    class_packets: int = 0

    @property
    def message_id(self) -> str:
        """The identity by which JetStream and the backup recognise a batch sent twice."""
        return f"{self.node}/{self.boot}/{self.sequence}"

    def headers(self) -> dict[str, str]:
        """Return the headers of the message."""
        values = {name: str(getattr(self, field)) for name, field in _HEADER_FIELDS.items()}
        added = {name: str(getattr(self, field)) for name, field in _ADDED_FIELDS.items() if getattr(self, field)}
        return {"Nats-Msg-Id": self.message_id, **values, **added}

    @classmethod
    def from_headers(cls, headers: Mapping[str, str] | None) -> Envelope:
        """Read the headers of a message.

        Raises:
            PayloadError: a header is missing or damaged, or the version is newer than ours.

        """
        headers = headers or {}
        missing = [name for name in _HEADER_FIELDS if name not in headers]
        if missing:
            raise PayloadError(f"headers missing: {', '.join(missing)}")
        values: dict[str, str | int] = {}
        for name, field in (_HEADER_FIELDS | _ADDED_FIELDS).items():
            if name not in headers:
                continue
            text = headers[name]
            if field in _NUMBERS:
                values[field] = _number(name, text)
            else:
                values[field] = text
        if values["version"] != schema.VERSION:
            raise PayloadError(f"schema version {values['version']} is not {schema.VERSION}, which this version reads")
        return cls(**values)  # type: ignore[arg-type]


def _number(name: str, text: str) -> int:
    if _WHOLE.fullmatch(text) is None or not -(1 << 63) <= (number := int(text)) < 1 << 63:
        raise PayloadError(f"header {name} is {text!r:.40}, which is no number of 64 bits")
    return number


_WHOLE: Final = re.compile("-?[0-9]{1,19}")
_HEADER_FIELDS: Final = {
    "Content-Type": "content_type",
    "Streamgauge-Schema": "version",
    "Streamgauge-Node": "node",
    "Streamgauge-Boot": "boot",
    "Streamgauge-Sequence": "sequence",
    "Streamgauge-Interface": "interface",
    "Streamgauge-Observation-Point": "observation_point",
    "Streamgauge-Rows": "rows",
    "Streamgauge-Packets": "packets",
    "Streamgauge-Bytes": "bytes",
    "Streamgauge-First-Time": "first_time",
    "Streamgauge-Last-Time": "last_time",
}
#: Added within version 1: messages of older collectors come without them.
_ADDED_FIELDS: Final = {"Streamgauge-Class-Sequence": "class_sequence", "Streamgauge-Class-Packets": "class_packets"}
_NUMBERS: Final = {
    *_ADDED_FIELDS.values(),
    "version",
    "sequence",
    "rows",
    "packets",
    "bytes",
    "first_time",
    "last_time",
}
