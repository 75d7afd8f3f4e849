"""A bucket's worth of objects in a local folder, from capture files, made by the backup's own table and writer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from services.backup import parquet, records, table
from services.backup.batch import Batch
from services.backup.consumer import Delivery
from services.collector.batcher import Batcher
from streamgauge.decode import Decoder
from streamgauge.decode.capture_file import open_capture
from streamgauge.flows import FlowTable
from streamgauge.objects import Manifest, ObjectName, Predecessor, Seen, partition_hour
from streamgauge.ranges import RangeSet
from streamgauge.rows import Rows
from streamgauge.settings import CollectorSettings

if TYPE_CHECKING:
    from pathlib import Path

    from services.collector.batcher import Message
    from streamgauge.objects import ObjectKind

INCARNATION: Final = "20261125T000000000000Z"
LEVEL: Final = 1  # of zstd, as the backup's default
ROW_GROUP: Final = 1 << 20


def messages(capture: Path, *, node: str, boot: str = "boot-1", shift: int = 0, **settings: Any) -> list[Message]:
    """Return what a collector would publish of a capture file; ``shift`` (ns) is added to each time."""
    own = CollectorSettings(node=node, compression="none", **settings)
    batcher = Batcher(own, boot, interface="eth0", largest_payload=lambda: 8 << 20)
    rows, decoder, flows, made = Rows(batcher.window_rows), Decoder(), FlowTable(), []

    def hand_over() -> None:
        rows.column("time")[: len(rows)] += shift
        made.extend(batcher.messages(rows))
        rows.clear()

    with open_capture(capture) as opened:
        for data, index, count in opened.blocks():
            at = 0
            while at < count:
                first = len(rows)
                at += decoder.decode(data, index, at, count, rows)
                flows.fill(rows, first)
                if at < count:
                    hand_over()
    hand_over()
    return made


class Archive:
    """Objects of summaries below a folder, in the order of storing."""

    def __init__(self, folder: Path, *, shards: int = 8) -> None:
        self.folder = folder
        self.shards = shards
        self.rows = 0
        self._sequence = 0
        self._previous: dict[int, Predecessor] = {}
        self._seen: dict[tuple[str, str], RangeSet] = {}

    def add(self, made: list[Message], *, shard: int = 0) -> Path:
        """Write one object of these messages; return its path."""
        first = self._sequence + 1
        batches = []
        for message in made:
            self._sequence += 1
            delivery = Delivery(message.subject, message.payload, None, self._sequence, 0, 0, "")
            batches.append(Batch(delivery, message.envelope.rows, message.envelope))
        decoded = table.decode(batches)
        assert not decoded.poison
        shares = table.shares(decoded)
        for share in shares:
            self._seen.setdefault((share.node, share.boot), RangeSet()).update(share.sequences)
        manifest = Manifest(
            kind="summaries",
            stream="TRAFFIC",
            stream_created="2026-11-25T00:00:00+00:00",
            first_sequence=first,
            last_sequence=self._sequence,
            shard=shard,
            shards=self.shards,
            shares=shares,
            seen={who: Seen(found.copy(), 1) for who, found in self._seen.items()},
            previous=self._previous.get(shard),
        )
        content = table.build(decoded, "flow")
        self.rows += len(content)
        data = parquet.write(content, manifest.metadata(), level=LEVEL, row_group_rows=ROW_GROUP, in_flows=True)
        hour = partition_hour(min(share.first_time for share in shares))
        name = ObjectName("summaries", INCARNATION, first, self._sequence, hour, shard)
        path = self.folder / name.key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self._previous[shard] = Predecessor(name.key, data.size, "", manifest.rows, manifest.packets)
        return path

    def add_records(self, kind: ObjectKind, rows: list[dict[str, Any]]) -> Path:
        """Write one object of ledger records or identity events."""
        self._sequence += 1
        shares = records.shares(kind, rows)
        manifest = Manifest(
            kind=kind,
            stream="TRAFFIC",
            stream_created="2026-11-25T00:00:00+00:00",
            first_sequence=self._sequence,
            last_sequence=self._sequence,
            shares=shares,
        )
        data = parquet.write(records.table(kind, rows), manifest.metadata(), level=LEVEL, row_group_rows=ROW_GROUP)
        hour = partition_hour(min(share.first_time for share in shares))
        path = self.folder / ObjectName(kind, INCARNATION, self._sequence, self._sequence, hour).key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path
