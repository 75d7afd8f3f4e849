"""For tests of programs that read streamgauge: batches as a collector publishes them, without a collector.

    publisher = Publisher(connection, node="worker-1")      # a connection of nats-py
    await publisher.publish("dns", [{"src_ip": "10.0.0.1", "dns_name": "example.com", "dns_type": 1}])

Rows are dictionaries with the names of docs/50-record.md, addresses as text; what is not given is null, 0 or ``ok``.
"""

from __future__ import annotations

import base64
import secrets
import time
from typing import TYPE_CHECKING, Any, Final

from streamgauge import codec, schema, subjects
from streamgauge.errors import BusError, ConfigurationError
from streamgauge.schema import Kind
from streamgauge.subjects import ARROW, Envelope

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa
    from nats.aio.client import Client

_CLASSES: Final = {member.token: member for member in schema.TrafficClass}


def batch_of(rows: Sequence[Mapping[str, Any]], *, node: str = "node-a", interface: str = "eth0") -> pa.RecordBatch:
    """Return rows as a batch as it travels.

    >>> batch_of([{"src_ip": "10.0.0.1", "bytes": 60}]).column("packets").to_pylist()
    [1]

    Raises:
        ConfigurationError: a name is no column, or a value does not fit it.

    """
    import pyarrow as pa

    unknown = sorted({name for row in rows for name in row} - schema.BY_NAME.keys())
    if unknown:
        raise ConfigurationError(f"no such columns: {', '.join(unknown)} (docs/50-record.md lists them)")
    arrays = []
    for column in schema.COLUMNS:
        try:
            arrays.append(array_of(column, [row.get(column.name, _neutral(column, row)) for row in rows]))
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, ValueError, TypeError) as error:
            raise ConfigurationError(f"column {column.name}: {error}") from error
    origin = {"node": node, "interface": interface, "observation_point": "interface"}
    metadata = {f"streamgauge.{name}": value for name, value in origin.items()}
    return pa.RecordBatch.from_arrays(arrays, schema=schema.arrow_schema(metadata=metadata))


def _neutral(column: schema.Column, row: Mapping[str, Any]) -> Any:
    if column.name == "ip_version" and row.get("src_ip"):
        return 6 if ":" in row["src_ip"] else 4
    if column.nullable:
        return None
    return column.words[0] if column.words else int(column.name == "packets")


def array_of(column: schema.Column, values: list[Any]) -> pa.Array:
    """Return a column of values in the readable form: addresses as text, bytes in base64, null as None."""
    import pyarrow as pa

    from streamgauge import text

    if column.kind is Kind.IP:
        values = [None if value is None else text.address_bytes(value) for value in values]
    elif column.kind is Kind.MAC:
        values = [None if value is None else bytes.fromhex(value.replace(":", "")) for value in values]
    elif column.kind is Kind.BYTES:
        values = [None if value is None else base64.b64decode(value) for value in values]
    elif column.kind is Kind.WORD:
        codes = [None if value is None else column.words.index(value) for value in values]
        return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int8()), pa.array(column.words, pa.string()))
    return pa.array(values, column.arrow_type)


class Publisher:
    """One node that publishes, with the numbers a collector gives; the connection stays the caller's."""

    def __init__(
        self, client: Client, node: str = "node-a", *, interface: str = "eth0", content_type: str = ARROW
    ) -> None:
        """Begin a boot of a node.

        Args:
            client: A connection of nats-py.
            node: Name of the node.
            interface: Interface that the rows say they come from.
            content_type: ``streamgauge.subjects.ARROW`` or ``NDJSON``.

        """
        self._client = client
        self._node = node
        self._interface = interface
        self._content_type = content_type
        self.restart()

    def restart(self) -> None:
        """Begin another boot, as a collector that was started again: numbers begin anew."""
        #: Identity of this start.
        self.boot = secrets.token_hex(8)
        #: Number of the last batch, over all classes.
        self.sequence = 0
        self._totals: dict[str, tuple[int, int]] = {}

    async def publish(
        self, traffic_class: str, rows: Sequence[Mapping[str, Any]], *, stored: bool = True, lose: bool = False
    ) -> Envelope:
        """Publish rows as one batch; return what its headers say.

        Args:
            traffic_class: ``tcp``, ``dns``, …
            rows: The rows; a row without ``time`` is captured now.
            stored: Wait until the stream has it; False: publish to whoever listens.
            lose: Give the batch its number and publish nothing, as if it had been lost on the way.

        Raises:
            ConfigurationError: the class, a column or a value is none of ours.
            BusError: no stream took it.

        """
        from nats.errors import NoRespondersError
        from nats.errors import TimeoutError as NatsTimeoutError
        from nats.js.errors import NoStreamResponseError

        if traffic_class not in _CLASSES:
            raise ConfigurationError(f"class {traffic_class!r} is none of {', '.join(_CLASSES)}")
        now = time.time_ns()
        batch = batch_of([{"time": now, **row} for row in rows], node=self._node, interface=self._interface)
        envelope = self._number(traffic_class, batch)
        payload = codec.encode(batch, self._content_type)
        subject = subjects.traffic(self._node, _CLASSES[traffic_class])
        if stored and not lose:
            try:
                await self._client.jetstream().publish(subject, payload, headers=envelope.headers())
            except (NatsTimeoutError, NoRespondersError, NoStreamResponseError) as error:
                raise BusError(
                    f"no stream took {subject}: `streamgauge bootstrap` creates it; stored=False needs none"
                ) from error
        elif not lose:
            await self._client.publish(subject, payload, headers=envelope.headers())
        return envelope

    def _number(self, traffic_class: str, batch: pa.RecordBatch) -> Envelope:
        import pyarrow as pa
        import pyarrow.compute as pc

        ends = pc.min_max(batch.column("time").view(pa.int64())).as_py()
        packets = pc.sum(batch.column("packets")).as_py() or 0
        self.sequence += 1
        count, total = self._totals.get(traffic_class, (0, 0))
        self._totals[traffic_class] = count + 1, total + packets
        return Envelope(
            node=self._node,
            boot=self.boot,
            sequence=self.sequence,
            interface=self._interface,
            observation_point="interface",
            rows=len(batch),
            packets=packets,
            bytes=pc.sum(batch.column("bytes")).as_py() or 0,
            first_time=ends["min"] or 0,
            last_time=ends["max"] or 0,
            content_type=self._content_type,
            class_sequence=count + 1,
            class_packets=total + packets,
        )
