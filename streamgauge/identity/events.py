"""Identity events: the state of one or more bindings (an address and who has it) as it became known.

Published as one JSON object on ``identity.v1.<cluster>``:

    {"version": 1, "cluster": "home", "time": 1764090000000000000, "snapshot": null, "snapshot_size": null,
     "bindings": [{"ip": "10.42.0.7", "object": "pod", "uid": "…", "namespace": "shop", "name": "web-6d5f-x2x9z",
                   "workload": "web", "workload_kind": "Deployment", "node": "node-a", "host_network": false,
                   "valid_from": 1764089998000000000, "valid_to": null}]}

A binding is told when it begins, when it changes and when it ends (``valid_to``); the last event of a binding counts. A
*snapshot* tells all that hold at a moment, in several messages if need be: a binding told before it and not in it has
ended meanwhile, unnoticed.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import orjson
import pyarrow as pa

from streamgauge.errors import PayloadError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: Version of the event; the one of the subject, too.
VERSION: Final = 1

#: Bindings in one message: far below what NATS takes.
MESSAGE_BINDINGS: Final = 500

ObjectKind = Literal["pod", "service", "node"]
OBJECTS: Final[tuple[ObjectKind, ...]] = ("pod", "service", "node")


@dataclass(frozen=True, slots=True)
class Binding:
    """One address of one object, and from when to when it had it. Times are ns UTC."""

    #: As text, ``10.0.0.1`` or ``2001:db8::1``.
    ip: str
    object: ObjectKind
    #: The object's unique identifier: with ``ip`` it names the binding.
    uid: str
    #: Empty for a node.
    namespace: str
    name: str
    #: Who the object belongs to: ``web`` of kind ``Deployment``; a service and a node are their own.
    workload: str
    workload_kind: str
    #: Where a pod runs; a node's own name; empty for a service.
    node: str
    #: The pod uses its node's address, which says nothing about the pod.
    host_network: bool
    valid_from: int
    #: None while it holds.
    valid_to: int | None = None

    @property
    def key(self) -> tuple[str, str]:
        """What names the binding, within its cluster."""
        return self.uid, self.ip


_TEXTS: Final = ("uid", "namespace", "name", "workload", "workload_kind", "node")
_NAMES: Final = frozenset(field.name for field in fields(Binding))

_TIME: Final = pa.timestamp("ns", "UTC")
_WORDS: Final = pa.dictionary(pa.int32(), pa.string())

#: An event at rest: one row a binding and event.
STORED_SCHEMA: Final = pa.schema(
    [
        pa.field("stored", _TIME, nullable=False),  # when JetStream took the event; orders the rows
        pa.field("time", _TIME, nullable=False),  # when the state became known
        pa.field("cluster", _WORDS, nullable=False),
        pa.field("snapshot", _TIME),  # which snapshot the row is of; null: a change
        pa.field("snapshot_size", pa.int64()),  # rows of that snapshot, all messages together
        pa.field("ip", pa.string(), nullable=False),
        pa.field("object", _WORDS, nullable=False),  # pod, service, node
        pa.field("uid", pa.string(), nullable=False),
        pa.field("namespace", _WORDS, nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("workload", _WORDS, nullable=False),
        pa.field("workload_kind", _WORDS, nullable=False),
        pa.field("node", _WORDS, nullable=False),
        pa.field("host_network", pa.bool_(), nullable=False),
        pa.field("valid_from", _TIME, nullable=False),
        pa.field("valid_to", _TIME),
    ]
)


@dataclass(frozen=True, slots=True)
class Event:
    """One message."""

    cluster: str
    #: ns UTC when the state became known.
    time: int
    bindings: tuple[Binding, ...]
    #: ns UTC when the snapshot was taken that this is a part of; None: a change.
    snapshot: int | None = None
    #: Bindings of that snapshot, all messages together.
    snapshot_size: int | None = None

    def encode(self) -> bytes:
        """Return the payload of a message."""
        return orjson.dumps({"version": VERSION, **{field.name: getattr(self, field.name) for field in fields(self)}})

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        """Read the payload of a message; fields a newer sender added are left out.

        Raises:
            PayloadError: it is no identity event, or of another version.

        """
        try:
            values = orjson.loads(payload)
        except orjson.JSONDecodeError as error:
            raise PayloadError(f"identity event is not JSON: {error}") from error
        if not isinstance(values, dict) or values.get("version") != VERSION:
            raise PayloadError("not an identity event of this version")
        cluster, bindings = values.get("cluster"), values.get("bindings")
        if not isinstance(cluster, str) or not cluster:
            raise PayloadError(f"identity event: cluster is {cluster!r}")
        if not isinstance(bindings, list) or not bindings:
            raise PayloadError("identity event: no bindings")
        return cls(
            cluster,
            _number(values, "time"),
            tuple(map(_binding, bindings)),
            _number_or_none(values, "snapshot"),
            _number_or_none(values, "snapshot_size"),
        )

    def rows(self, stored: int) -> list[dict[str, Any]]:
        """Return the rows of ``STORED_SCHEMA``; ``stored`` is ns UTC when JetStream took the message."""
        common = {
            "stored": stored,
            "time": self.time,
            "cluster": self.cluster,
            "snapshot": self.snapshot,
            "snapshot_size": self.snapshot_size,
        }
        return [{**common, **{name: getattr(binding, name) for name in Binding.__slots__}} for binding in self.bindings]


def changes(cluster: str, time: int, bindings: Sequence[Binding]) -> Iterator[Event]:
    """Yield the messages that tell of changed bindings."""
    for first in range(0, len(bindings), MESSAGE_BINDINGS):
        yield Event(cluster, time, tuple(bindings[first : first + MESSAGE_BINDINGS]))


def snapshot(cluster: str, time: int, bindings: Sequence[Binding]) -> Iterator[Event]:
    """Yield the messages of a snapshot of all bindings that hold at ``time``."""
    for first in range(0, len(bindings), MESSAGE_BINDINGS):
        part = tuple(bindings[first : first + MESSAGE_BINDINGS])
        yield Event(cluster, time, part, time, len(bindings))


def _binding(values: Any) -> Binding:
    if not isinstance(values, dict):
        raise PayloadError(f"identity event: a binding is {values!r}")
    wrong = [name for name in _TEXTS if not isinstance(values.get(name), str)]
    if wrong or values.get("object") not in OBJECTS or not isinstance(values.get("host_network"), bool):
        raise PayloadError(f"identity event: binding without proper {', '.join(wrong) or 'object, host_network'}")
    _number(values, "valid_from")
    _number_or_none(values, "valid_to")
    try:
        # One spelling of an address, so that it is one binding.
        address = str(ipaddress.ip_address(values["ip"] if isinstance(values["ip"], str) else ""))
    except (KeyError, ValueError) as error:
        raise PayloadError(f"identity event: ip is {values.get('ip')!r}") from error
    known = {name: value for name, value in values.items() if name in _NAMES}
    return Binding(**{"valid_to": None, **known, "ip": address})


def _number(values: dict[str, Any], name: str) -> int:
    value = values.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 63:
        raise PayloadError(f"identity event: {name} is {value!r}")
    return value


def _number_or_none(values: dict[str, Any], name: str) -> int | None:
    return None if values.get(name) is None else _number(values, name)
