"""Batches as a collector publishes them, made from packets or capture files, and a slow count of their rows."""

from __future__ import annotations

import ipaddress
from collections import Counter

import pyarrow as pa

from streamgauge import codec, encode, subjects, text
from streamgauge.decode import Decoder
from streamgauge.decode.capture_file import open_capture
from streamgauge.rows import Rows
from streamgauge.subjects import Envelope
from tests.support.decoding import index_of


def envelope_of(batch, *, node="node-a", interface="eth0", boot="boot-1", sequence=1):
    """Return the envelope that a collector would send with a batch."""
    times = batch.column("time").view(pa.int64()).to_pylist()
    return Envelope(
        node=node,
        boot=boot,
        sequence=sequence,
        interface=interface,
        observation_point="interface",
        rows=len(batch),
        packets=sum(batch.column("packets").to_pylist()),
        bytes=sum(batch.column("bytes").to_pylist()),
        first_time=min(times, default=0),
        last_time=max(times, default=0),
    )


def batch_of(packets, *, node="node-a", interface="eth0", **how):
    """Return packets (bytes) as one batch."""
    data, index = index_of(packets, **how)
    rows = Rows(max(len(packets), 1))
    Decoder().decode(data, index, 0, len(packets), rows)
    return encode.to_arrow(rows, encode.Origin(node, interface))


def batches_of_capture(path, *, node="node-a", interface="eth0", rows_per_batch=4096, boot="boot-1"):
    """Return ``[(class, envelope, batch)]`` for a capture file, split by class as on the wire."""
    origin = encode.Origin(node, interface)
    rows, decoder, made = Rows(rows_per_batch), Decoder(), []

    def close():
        for traffic_class, chosen in encode.by_class(rows):
            batch = encode.to_arrow(rows, origin, chosen)
            how = {"node": node, "interface": interface, "boot": boot, "sequence": len(made) + 1}
            made.append((traffic_class, envelope_of(batch, **how), batch))
        rows.clear()

    with open_capture(path) as capture:
        for data, index, count in capture.blocks():
            at = 0
            while at < count:
                at += decoder.decode(data, index, at, count, rows)
                if at < count:
                    close()
    close()
    return made


async def publish(jetstream, traffic_class, envelope, batch):
    """Publish one batch as a collector does."""
    subject = subjects.traffic(envelope.node, traffic_class)
    return await jetstream.publish(subject, codec.encode(batch), headers=envelope.headers())


PROTOCOLS = {6: "tcp", 17: "udp", 1: "icmp", 58: "icmpv6", 132: "sctp"}


def protocol_of(row):
    """Return the label ``protocol`` of a row."""
    if row["ip_version"] is None:
        return "arp" if row["eth_type"] == 0x0806 else "other"
    return PROTOCOLS.get(row["ip_protocol"], "other")


def direction_of(row, inside):
    """Return the label ``direction`` of a row, by the address objects of the standard library."""
    if row["ip_version"] is None:
        return "__unknown__"
    ends = [_is_inside(row[name], inside) for name in ("src_ip", "dst_ip")]
    return {(True, True): "internal", (True, False): "egress", (False, True): "ingress"}.get(tuple(ends), "transit")


def _is_inside(packed, inside):
    address = ipaddress.ip_address(text.address_text(packed))
    return any(address in network for network in inside if network.version == address.version)


def rows_of(batch):
    """Return the rows of a batch as dictionaries (without the time, which Python cannot hold to the nanosecond)."""
    return batch.drop_columns(["time"]).to_pylist()


def count_rows(batches, inside):
    """Return packets and bytes by (node, interface, protocol, app, direction), row by row."""
    networks = [ipaddress.ip_network(name) for name in inside]
    packets, sizes = Counter(), Counter()
    for _, envelope, batch in batches:
        for row in rows_of(batch):
            app = row["app"] if row["app"] not in (None, "unknown") else "__unknown__"
            key = (envelope.node, envelope.interface, protocol_of(row), app, direction_of(row, networks))
            packets[key] += row["packets"]
            sizes[key] += row["bytes"]
    return packets, sizes
