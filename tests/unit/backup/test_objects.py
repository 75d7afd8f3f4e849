"""Names and footers of objects."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.backup import parquet
from streamgauge import objects
from streamgauge.errors import PayloadError
from streamgauge.objects import Manifest, ObjectName, Predecessor, Seen, Share
from streamgauge.ranges import RangeSet

CREATED = datetime(2026, 11, 25, 13, 5, 1, 42, UTC)
KEY = "summaries/v1/date=2026-11-25/hour=14/shard=03/20261125T130501000042Z-0000000000000001-0000000000000412.parquet"


def test_a_name_says_stream_sequences_hour_and_shard():
    """The name of the documentation, both ways."""
    name = ObjectName("summaries", objects.incarnation(CREATED), 1, 412, datetime(2026, 11, 25, 14, tzinfo=UTC), 3)

    assert name.key == KEY
    assert ObjectName.parse(KEY) == name


def test_folders_of_days():
    """Only ours have a day: other programs leave folders in a bucket, too."""
    day = datetime(2026, 11, 25, tzinfo=UTC)

    assert [objects.folder_day(f"{objects.prefix(kind)}date=2026-11-25/") for kind in objects.KINDS] == [day] * 3
    for other in (
        "summaries/v1/_temporary/",
        "summaries/v1/date=2026-13-01/",
        "summaries/v1/date=",
        "date=2026-11-25/",
    ):
        assert objects.folder_day(other) is None


@given(
    st.sampled_from(objects.KINDS),
    st.integers(0, 10**15),
    st.integers(0, 4 * 10**18),
    st.integers(0, 255),
)
def test_every_name_reads_back(kind, first, time, shard):
    """Whatever the sequences, the capture time and the shard."""
    hour = objects.partition_hour(time)
    name = ObjectName(
        kind, objects.incarnation(CREATED), first, first + 7, hour, shard if kind == "summaries" else None
    )

    assert ObjectName.parse(name.key) == name


@pytest.mark.parametrize("key", ["", "summaries/x.parquet", KEY + "x", KEY.replace("v1", "v2"), "quarantine/v1/x.json"])
def test_other_keys_are_none_of_ours(key):
    """A bucket may hold other things."""
    assert ObjectName.parse(key) is None


def manifest():
    share = Share("node-a", "boot-1")
    share.add(3, rows=2, packets=2, size=120, first_time=50, last_time=60)
    share.add(2, rows=1, packets=4, size=60, first_time=40, last_time=45)
    return Manifest(
        kind="summaries",
        stream="TRAFFIC",
        stream_created=CREATED.isoformat(),
        first_sequence=1,
        last_sequence=2,
        shard=3,
        shards=8,
        shares=[share],
        seen={("node-a", "boot-1"): Seen(RangeSet([[1, 3]]), 7)},
        previous=Predecessor("key", 10, "0" * 32, 1, 1),
        duplicates=1,
        quarantined=[["node-a", "boot-1", 9, 5, "quarantine/v1/x.json"]],
    )


def test_a_footer_reads_back_from_the_end_of_an_object():
    """What was written is in the last bytes, and adds up."""
    table = pa.table({"time": pa.array([1, 2, 3])})
    data = bytes(parquet.write(table, manifest().metadata(), level=1, row_group_rows=1024))
    length = objects.footer_length(data[-100:])
    footer = objects.read_footer(data[-length:])
    found = Manifest.from_metadata(footer.metadata)

    assert found == manifest()
    assert (found.rows, found.packets, found.wire_bytes) == (3, 6, 180)
    assert (found.shares[0].first_time, found.shares[0].last_time) == (40, 60)


@pytest.mark.parametrize("tail", [b"", b"PAR1", b"x" * 40, b"\xff\xff\xff\x7fPAR1" * 3])
def test_a_damaged_end_is_said(tail):
    """Bytes that are no footer are an error of ours, whatever they are."""
    with pytest.raises(PayloadError):
        objects.read_footer(tail)


def test_another_writers_parquet_is_none_of_ours():
    """A Parquet file without our manifest is told apart."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"time": [1]}), sink)
    with pytest.raises(PayloadError, match="no manifest of ours"):
        Manifest.from_metadata(pq.read_metadata(pa.BufferReader(sink.getvalue())).metadata)


def test_a_batch_without_rows_has_no_times():
    """It is counted as stored, and leaves the times of the others alone, whichever comes first."""
    shares = [Share("node-a", "boot-1"), Share("node-a", "boot-1")]
    for share, order in zip(shares, [(0, 2), (2, 0)], strict=True):
        for sequence, rows in enumerate(order, 1):
            times = {"first_time": 50, "last_time": 60} if rows else {"first_time": 0, "last_time": 0}
            share.add(sequence, rows=rows, packets=rows, size=rows, **times)

    assert [(share.first_time, share.last_time, len(share.sequences)) for share in shares] == [(50, 60, 2)] * 2
