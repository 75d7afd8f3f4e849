"""Totals are those of a slow count over the same rows."""

from __future__ import annotations

import struct
from collections import Counter

import numba
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.exporter import networks, words
from services.exporter.aggregate import Aggregator
from services.exporter.aggregate_kernels import count_batch
from services.exporter.heavy_kernels import add_rows
from services.exporter.recent import Recent
from streamgauge import codec
from tests.support import packets as build
from tests.support import require
from tests.support.traffic import batch_of, batches_of_capture, count_rows, envelope_of, rows_of

INSIDE = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fd00::/8"]
LOCAL = ["127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32", "0.0.0.0/32"]
LOCAL_6 = ["fe80::/10", "ff00::/8", "::1/128", "::/128"]
ALL_INSIDE = INSIDE + LOCAL + LOCAL_6


def aggregator(budget=20_000):
    return Aggregator(networks.parse(",".join(INSIDE)), budget)


def totals(table, measure=0):
    """Return the totals by key, without the zeros that every node begins with."""
    found = zip(table.published_keys(), table.published(measure), strict=True)
    return {key: value for key, value in found if value}


def fold(batches, **how):
    result = aggregator(**how)
    for _, envelope, batch in batches:
        result.fold(envelope, batch)
    return result.tables


def one(packets, **how):
    batch = batch_of(packets, **how)
    return [(None, envelope_of(batch), batch)]


def datagram(payload, origin, destination):
    packed = bytes(map(int, origin.split("."))) + bytes(map(int, destination.split(".")))
    whole = bytearray(build.ipv4(17, build.udp(payload, target=9999)))
    whole[12:20] = packed
    return build.ethernet(0x0800, bytes(whole))


def test_direction_follows_the_networks_that_are_inside():
    """Both ends inside is internal, one end egress or ingress, none transit; no address is unknown."""
    ends = [("10.1.2.3", "192.168.0.9"), ("10.1.2.3", "8.8.8.8"), ("8.8.8.8", "10.1.2.3"), ("8.8.8.8", "9.9.9.9")]
    frames = [datagram(b"x", source, target) for source, target in ends]
    frames.append(build.ethernet(0x0806, bytes(28)))
    found = totals(fold(one(frames)).traffic)
    assert {key[4]: value for key, value in found.items()} == {
        "internal": 1,
        "egress": 1,
        "ingress": 1,
        "transit": 1,
        "__unknown__": 1,
    }


def test_multicast_never_leaves_the_network():
    """A packet from inside to a multicast group is internal, not egress."""
    found = totals(fold(one([datagram(b"x", "10.0.0.5", "239.1.2.3")])).traffic)
    assert [key[4] for key in found] == ["internal"]


def test_tcp_flags_tell_syn_from_syn_ack():
    """SYN counts connection attempts only; SYN with ACK has a name of its own, and ACK counts it as well."""
    frames = [build.ethernet(0x0800, build.ipv4(6, build.tcp(b"", flags=flags))) for flags in (2, 2, 0x12, 0x10, 0x14)]
    found = {key[1]: value for key, value in totals(fold(one(frames)).flags).items()}
    assert found == {"SYN": 2, "SYN-ACK": 1, "ACK": 3, "RST": 1}


def test_dns_queries_and_responses_by_type_and_code():
    """Queries count by type, responses by type and code; numbers without a name are other."""
    messages = [
        build.dns(kind=1),
        build.dns(kind=28),
        build.dns(kind=999),
        build.dns(flags=0x8180, kind=1),
        build.dns(flags=0x8183, kind=28),
        build.dns(flags=0x818C, kind=28),
    ]
    frames = [build.ethernet(0x0800, build.ipv4(17, build.udp(message))) for message in messages]
    tables = fold(one(frames))
    assert totals(tables.queries) == {("node-a", "A"): 1, ("node-a", "AAAA"): 1, ("node-a", "other"): 1}
    assert totals(tables.responses) == {
        ("node-a", "A", "NOERROR"): 1,
        ("node-a", "AAAA", "NXDOMAIN"): 1,
        ("node-a", "AAAA", "other"): 1,
    }


def test_sizes_fall_into_the_bucket_that_bounds_them():
    """A size equal to a bound belongs to that bucket, one more to the next; the sum is the bytes."""
    frames = [bytes(size) for size in (64, 65, 1518, 1519)]
    row = fold(one(frames)).sizes.published_rows()[0]
    buckets = dict(zip([*words.SIZE_BUCKETS, "inf"], row[:-1], strict=True))
    assert (buckets[64], buckets[128], buckets[1518], buckets[4096]) == (1, 1, 1, 1)
    assert row[-1] == 64 + 65 + 1518 + 1519


def test_a_merged_row_counts_as_its_packets():
    """``packets`` and ``bytes`` are summed, never rows; sizes count at the mean."""
    batch = batch_of([datagram(b"x", "10.0.0.1", "10.0.0.2")])
    columns = {name: batch.column(name) for name in batch.schema.names}
    columns["packets"] = pa.array([7], pa.uint32())
    columns["bytes"] = pa.array([700], pa.int64())
    merged = pa.RecordBatch.from_arrays(list(columns.values()), schema=batch.schema)
    tables = fold([(None, envelope_of(merged), merged)])
    assert list(totals(tables.traffic).values()) == [7]
    assert list(totals(tables.traffic, 1).values()) == [700]
    assert tables.sizes.published_rows()[0][1] == 7


def test_a_node_begins_with_zeros():
    """Flags and statuses that never occurred show as 0, so that a ratio has both its sides."""
    tables = fold(one([datagram(b"x", "10.0.0.1", "10.0.0.2")]))
    assert set(tables.flags.published_keys()) == {("node-a", flag) for flag in words.FLAGS}
    assert tables.status.published(0) == [1, 0, 0, 0]


def test_damaged_packets_count_by_status():
    """A damaged packet is counted, and by what is wrong with it."""
    whole = datagram(b"x" * 20, "10.0.0.1", "10.0.0.2")
    tables = fold(one([whole, whole[:30]]))
    assert sum(totals(tables.status).values()) == 2
    assert totals(tables.status)["node-a", "ok"] == 1


def test_words_of_a_newer_sender_are_other_not_an_error():
    """An application this version does not know counts as ``other``; its dictionary may have any order."""
    batch = batch_of([datagram(b"x", "10.0.0.1", "10.0.0.2")] * 3)
    names = pa.DictionaryArray.from_arrays(pa.array([0, 1, None], pa.int8()), pa.array(["sip", "tls"]))
    columns = [names if name == "app" else batch.column(name) for name in batch.schema.names]
    newer = pa.RecordBatch.from_arrays(columns, schema=batch.schema)
    found = totals(fold([(None, envelope_of(newer), newer)]).traffic)
    assert {key[3]: value for key, value in found.items()} == {"other": 1, "tls": 1, "__unknown__": 1}


@given(st.lists(build.frames, min_size=1, max_size=30), st.integers(1, 7))
def test_any_packets_in_any_split_give_the_same_totals(frames, size):
    """However packets are damaged and cut into batches, the totals are those of a row-by-row count."""
    made = [frame for _, frame in frames]
    whole = one(made)
    parts = [batch for at in range(0, len(made), size) for batch in one(made[at : at + size])]
    tables, split = fold(whole), fold(parts)
    packets, sizes = count_rows(whole, ALL_INSIDE)
    assert totals(tables.traffic) == dict(packets)
    assert totals(tables.traffic, 1) == {key: size for key, size in sizes.items() if size}
    for left, right in zip(tables, split, strict=True):
        for measure in range(len(left.values[0])):
            assert totals(left, measure) == totals(right, measure)


@pytest.mark.corpus
def test_totals_of_every_capture_split_by_class_are_exact():
    """For each capture of the corpus, cut into batches as on the wire, series equal a row-by-row count."""
    captures = sorted(require.CORPUS.glob("*.pcap*")) or require.missing("the corpus")
    captures = [path for path in captures if path.suffix in (".pcap", ".pcapng") and path.stat().st_size < 300_000]
    for path in captures:
        batches = batches_of_capture(path, rows_per_batch=512)
        tables = fold(batches)
        packets, sizes = count_rows(batches, ALL_INSIDE)
        assert sum(tables.traffic.published(0)) == sum(packets.values()), path
        assert sum(tables.traffic.published(1)) == sum(sizes.values()), path
        assert sum(tables.status.published(0)) == sum(packets.values()), path
        assert sum(sum(row[:-1]) for row in tables.sizes.published_rows()) == sum(packets.values()), path
        assert totals(tables.traffic) == dict(packets), path
        assert totals(tables.flags) == flags_of(batches), path
        assert (totals(tables.queries), totals(tables.responses)) == dns_of(batches), path


def flags_of(batches):
    counted = Counter()
    for _, envelope, batch in batches:
        for row in rows_of(batch):
            flags = row["tcp_flags"] or 0
            names = {words.FLAGS[bit] for bit in range(8) if flags >> bit & 1}
            if {"SYN", "ACK"} <= names:
                names = names - {"SYN"} | {"SYN-ACK"}
            counted.update((envelope.node, name) for name in names)
    return dict(counted)


def dns_of(batches):
    queries, responses = Counter(), Counter()
    qtypes, rcodes = words.qtype_positions(), words.rcode_positions()
    for _, envelope, batch in batches:
        for row in rows_of(batch):
            qtype = words.QTYPES[qtypes[row["dns_type"] or 0]]
            if row["dns_response"] is False:
                queries[envelope.node, qtype] += row["packets"]
            if row["dns_response"] is True:
                rcode = words.NO_RCODE if row["dns_rcode"] is None else row["dns_rcode"]
                responses[envelope.node, qtype, words.RCODES[rcodes[rcode]]] += row["packets"]
    return dict(queries), dict(responses)


def test_one_compilation_serves_every_batch():
    """Whether a column has nulls, has none, or only nulls, is a view or a copy: no batch waits for a compiler."""
    frames = [datagram(b"x", "10.0.0.1", "10.0.0.2"), build.ethernet(0x0806, bytes(28))]
    recent = Recent()
    for chosen in (frames, frames[:1], frames[1:], frames * 3):
        batch = batch_of(chosen)
        for part in (batch, batch.slice(1), codec.decode(codec.encode(batch, compression="none"))):
            if len(part):
                recent.see(envelope_of(part), part, *aggregator().fold(envelope_of(part), part))
    if not numba.config.DISABLE_JIT:
        assert len(count_batch.signatures) == 1
        assert len(add_rows.signatures) == 1


def test_a_sliced_batch_is_read_from_its_offset():
    """Arrow batches may be views into longer ones."""
    frames = [datagram(b"x" * size, "10.0.0.1", "10.0.0.2") for size in range(1, 10)]
    batch = batch_of(frames)
    part = batch.slice(3, 4)
    tables = fold([(None, envelope_of(part), part)])
    assert sum(tables.traffic.published(1)) == sum(len(frame) for frame in frames[3:7])
    assert np.array(tables.status.published(0)).sum() == 4


def test_an_empty_batch_counts_nothing():
    """No rows, no series with traffic."""
    batch = batch_of([struct.pack("!I", 0)]).slice(0, 0)
    tables = fold([(None, envelope_of(batch), batch)])
    assert sum(tables.traffic.published(0)) == 0
