"""A deterministic capture file, like the traffic of a cluster: python benchmarks/trace.py trace.pcap [--packets N]

Of a million packets: 78 % TCP over IPv4 (with ClientHellos, HTTP requests and responses, 1 % retransmissions), 3.4 %
DNS, the rest UDP (with fragments), ICMP, ARP and IPv6; 15 % carry a VLAN tag, a fifth of those two; about 47,000 flows;
some 450 bytes on average. Payload that is no message we decode is zero: the file compresses better than real traffic.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

FLOWS = 47_000
START = 1_760_000_000  # seconds since 1970 of the first packet
MEAN_GAP = 2_000  # nanoseconds

KINDS = {
    "tcp": 0.730, "tls": 0.015, "http": 0.018, "http_response": 0.017, "dns": 0.017, "dns_response": 0.017,
    "udp": 0.078, "fragment": 0.008, "icmp": 0.014, "arp": 0.008, "tcp6": 0.050, "udp6": 0.018, "icmp6": 0.010,
}  # fmt: skip
#: Flows of each kind: (first, count); a request and its answer are one flow.
FLOWS_OF = {
    "tcp": (0, 30_000), "tls": (30_000, 3_000), "http": (33_000, 3_000), "http_response": (33_000, 3_000),
    "dns": (36_000, 6_000), "dns_response": (36_000, 6_000), "udp": (42_000, 2_000), "fragment": (44_000, 500),
    "icmp": (44_500, 250), "arp": (44_750, 250), "tcp6": (45_000, 1_500), "udp6": (46_500, 400), "icmp6": (46_900, 100),
}  # fmt: skip
TAG_CHANCES = (0.85, 0.12, 0.03)
CHUNK = 50_000  # packets filled at a time


def be(values, width):
    """Write integers as big-endian bytes, one line a packet."""
    shifts = np.arange(8 * (width - 1), -1, -8, dtype=np.uint64)
    return ((np.asarray(values, np.uint64)[:, None] >> shifts) & np.uint64(0xFF)).astype(np.uint8)


def repeated(count, content):
    return np.broadcast_to(np.frombuffer(content, np.uint8), (count, len(content)))


def pick(table, which):
    """Choose texts of equal length from a table, one a packet."""
    return np.frombuffer(b"".join(table), np.uint8).reshape(len(table), -1)[which % len(table)]


def dns_question(name):
    return b"".join(bytes([len(label)]) + label for label in name.split(b".")) + b"\0\0\1\0\1"


def client_hello(name):
    server_name = (
        b"\0\0"
        + (len(name) + 5).to_bytes(2, "big")
        + (len(name) + 3).to_bytes(2, "big")
        + b"\0"
        + len(name).to_bytes(2, "big")
        + name
    )
    before = b"\x0a\x0a\0\0" + b"\0\x17\0\0" + b"\xff\x01\0\1\0" + server_name
    padding = 517 - 5 - 4 - 2 - 32 - 33 - 34 - 2 - 2 - len(before) - 4
    extensions = before + b"\0\x15" + padding.to_bytes(2, "big") + bytes(padding)
    body = (
        b"\3\3"
        + bytes(32)
        + b"\x20"
        + bytes(32)
        + b"\0\x20"
        + bytes(32)
        + b"\1\0"
        + len(extensions).to_bytes(2, "big")
        + extensions
    )
    handshake = b"\1" + len(body).to_bytes(3, "big") + body
    return b"\x16\3\1" + len(handshake).to_bytes(2, "big") + handshake


SERVER_NAMES = [client_hello(b"shop-%03d.example.com" % number) for number in range(200)]
REQUESTS = [
    b"GET /api/v1/items/%04d HTTP/1.1\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\nHost: api-%03d.example.com\r\n\r\n"
    % (n, n % 97)
    for n in range(1000)
]
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 512\r\n\r\n" + bytes(400)
QUESTIONS = [dns_question(b"service-%03d.namespace-%02d.svc.cluster.local" % (n, n % 23)) for n in range(500)]
ANSWER = b"\xc0\x0c\0\1\0\1\0\0\0\x1e\0\4\x0a\1\2\3"


def lengths(kind, generator):
    """Return the payload length behind the transport header of each packet."""
    count = len(kind)
    free = np.select(
        [generator.random(count) < 0.44, generator.random(count) < 0.35], [0, 1448], generator.integers(20, 1000, count)
    )
    fixed = {
        "tls": 517, "http": len(REQUESTS[0]), "http_response": len(RESPONSE), "dns": 12 + len(QUESTIONS[0]),
        "dns_response": 12 + len(QUESTIONS[0]) + len(ANSWER), "arp": 0, "icmp": 56, "icmp6": 24,
    }  # fmt: skip
    for number, name in enumerate(KINDS):
        if name in fixed:
            free[kind == number] = fixed[name]
        elif name in ("udp", "udp6", "fragment"):
            free = np.where(kind == number, generator.integers(32, 640, count), free)
    return free


def sequences(flow, outward, payload, generator):
    """Return sequence numbers that go up by what each direction of a flow sent; one in a hundred is sent again."""
    key = flow * 2 + outward
    order = np.argsort(key, kind="stable")
    sent = np.cumsum(payload[order]) - payload[order]
    first = np.r_[True, np.diff(key[order]) != 0]
    base = np.maximum.accumulate(np.where(first, sent, 0))
    result = np.empty(len(flow), np.uint64)
    result[order] = sent - base
    again = (generator.random(len(flow)) < 0.01) & (payload > 0)
    result[again] = np.maximum(result[again].astype(np.int64) - payload[again], 0)
    return (result + generator.integers(0, 1 << 31, 2 * FLOWS + 2).astype(np.uint64)[key]) & np.uint64(0xFFFFFFFF)


def header(kind, tags, chosen, packets):
    """Build everything but zero payload for packets of one kind with the same number of tags."""
    flow, payload, outward = (
        packets["flow"][chosen],
        packets["payload"][chosen],
        packets["outward"][chosen].astype(bool),
    )
    count = len(chosen)
    client, server = 0x0A000000 + flow % 60_000, 0x0A800000 + (flow * 7) % 900
    ephemeral = 32_768 + (flow * 13) % 28_000
    service = {"dns": 53, "dns_response": 53, "http": 80, "http_response": 80, "tls": 443}.get(kind)
    port = np.full(count, service) if service else np.array([443, 80, 5432, 6379, 9092, 8080])[flow % 6]
    if kind in ("http", "tls", "dns"):
        outward = np.ones(count, bool)
    elif kind in ("http_response", "dns_response"):
        outward = np.zeros(count, bool)
    source, target = np.where(outward, client, server), np.where(outward, server, client)
    ports = [be(np.where(outward, ephemeral, port), 2), be(np.where(outward, port, ephemeral), 2)]
    six = kind.endswith("6")
    ethertype = 0x0806 if kind == "arp" else 0x86DD if six else 0x0800
    parts = [be(0x020000000000 + target, 6), be(0x020000000000 + source, 6)]
    for depth in range(tags):
        protocol = 0x88A8 if tags == 2 and depth == 0 else 0x8100
        parts += [be(np.full(count, protocol), 2), be(100 + flow % 16 + 1000 * depth, 2)]
    parts.append(be(np.full(count, ethertype), 2))
    if kind == "arp":
        return np.hstack(
            [
                *parts,
                repeated(count, b"\0\1\x08\0\6\4\0\1"),
                parts[1],
                be(source, 4),
                repeated(count, bytes(6)),
                be(target, 4),
            ]
        )
    tcp = kind in ("tcp", "tcp6", "tls", "http", "http_response")
    icmp = kind in ("icmp", "icmp6")
    protocol = 6 if tcp else (58 if six else 1) if icmp else 17
    above = payload + (20 if tcp else 8)
    if six:
        prefix = repeated(count, bytes.fromhex("fd0000000000000000000000"))
        parts += [repeated(count, b"\x60\0\0\0"), be(above, 2), repeated(count, bytes([protocol, 64]))]
        parts += [prefix, be(source, 4), prefix, be(target, 4)]
    else:
        position = np.where(outward, 0x2000, 0x00B9) if kind == "fragment" else np.zeros(count, np.int64)
        parts += [
            repeated(count, b"\x45\0"),
            be(above + 20, 2),
            be(packets["number"][chosen] & 0xFFFF, 2),
            be(position, 2),
        ]
        parts += [repeated(count, bytes([64, protocol, 0, 0])), be(source, 4), be(target, 4)]
    if tcp:
        flags = np.where(payload == 0, 0x10, 0x18)
        parts += [
            *ports,
            be(packets["sequence"][chosen], 4),
            be(packets["sequence"][chosen] ^ np.uint64(0x55555555), 4),
        ]
        parts += [repeated(count, b"\x50"), be(flags, 1), be(64_240 - flow % 500, 2), repeated(count, bytes(4))]
    elif icmp:
        parts += [be(np.where(outward, 128 if six else 8, 129 if six else 0), 1), repeated(count, bytes(7))]
    else:
        parts += [*ports, be(above, 2), repeated(count, bytes(2))]
    parts += message(kind, chosen, packets)
    return np.hstack(parts)


def message(kind, chosen, packets):
    """Return the application's bytes, if the kind has any."""
    which = packets["number"][chosen]
    if kind == "tls":
        return [pick(SERVER_NAMES, which)]
    if kind == "http":
        return [pick(REQUESTS, which)]
    if kind == "http_response":
        return [repeated(len(chosen), RESPONSE)]
    if kind == "dns":
        return [be(which & 0xFFFF, 2), repeated(len(chosen), b"\1\0\0\1\0\0\0\0\0\0"), pick(QUESTIONS, which)]
    if kind == "dns_response":
        flags = repeated(len(chosen), b"\x81\x80\0\1\0\1\0\0\0\0")
        return [be(which & 0xFFFF, 2), flags, pick(QUESTIONS, which), repeated(len(chosen), ANSWER)]
    return []


def write_trace(path, count=1_000_000, seed=1):
    """Write the capture; the same count and seed give the same bytes."""
    generator = np.random.default_rng(seed)
    kind = generator.choice(len(KINDS), count, p=np.array(list(KINDS.values())) / sum(KINDS.values()))
    first, flows = np.array(list(FLOWS_OF.values())).T
    flow = first[kind] + (flows[kind] * generator.random(count) ** 1.5).astype(np.int64)
    outward = generator.integers(0, 2, count)
    payload = lengths(kind, generator)
    packets = {
        "flow": flow, "payload": payload, "outward": outward, "number": np.arange(count),
        "sequence": sequences(flow, outward, payload, generator),
    }  # fmt: skip
    tags = generator.choice(3, count, p=TAG_CHANCES)
    network = np.array(
        [
            28
            if k == "arp"
            else (40 if k.endswith("6") else 20) + (20 if k in ("tcp", "tcp6", "tls", "http", "http_response") else 8)
            for k in KINDS
        ]
    )
    size = 14 + 4 * tags + network[kind] + payload
    time = START * 1_000_000 + np.cumsum(generator.exponential(MEAN_GAP, count)).astype(np.int64) // 1000
    record = np.r_[0, np.cumsum(size + 16)[:-1]] + 24
    out = np.zeros(24 + int((size + 16).sum()), np.uint8)
    out[:24] = np.frombuffer(np.array([0xA1B2C3D4, 0x00040002, 0, 0, 262_144, 1], "<u4").tobytes(), np.uint8)
    fields = np.stack([time // 1_000_000, time % 1_000_000, size, size], axis=1).astype("<u4").view(np.uint8)
    for first in range(0, count, CHUNK):
        out[record[first : first + CHUNK, None] + np.arange(16)] = fields[first : first + CHUNK]
    for number, name in enumerate(KINDS):
        for depth in range(3):
            group = np.flatnonzero((kind == number) & (tags == depth))
            for first in range(0, len(group), CHUNK):
                chosen = group[first : first + CHUNK]
                content = header(name, depth, chosen, packets)
                out[record[chosen, None] + 16 + np.arange(content.shape[1])] = content
    Path(path).write_bytes(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path")
    parser.add_argument("--packets", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    write_trace(arguments.path, arguments.packets, arguments.seed)


if __name__ == "__main__":
    main()
