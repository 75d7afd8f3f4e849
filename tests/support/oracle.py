"""The decoder once more, slow and obvious: plain Python and ``struct``. The kernels must agree with it.

``decode(packet, …)`` returns the columns of a row that have a value, by name; text as bytes, addresses as integers.
"""

from __future__ import annotations

import contextlib
import struct

from tests.support import oracle_applications as applications
from tests.support import oracle_tunnels as tunnels

OK, TRUNCATED, MALFORMED, UNSUPPORTED = "ok", "truncated", "malformed", "unsupported"
EXTENSIONS = (0, 43, 44, 51, 60, 135, 139, 140)
MAPPED = 0xFFFF << 32


class MissingBytesError(Exception):
    """Bytes that a header needs are not there."""

    def __init__(self, needed):
        super().__init__(needed)
        self.needed = needed


class View:
    """The captured bytes of a packet; ``wire`` is where it ends by the headers read so far."""

    def __init__(self, data, wire, *, decapsulate=True, depth=0):
        self.data = data
        self.wire = wire
        self.decapsulate = decapsulate
        #: Tunnels around what is being read.
        self.depth = depth

    def take(self, at, length):
        if at + length > min(len(self.data), self.wire):
            raise MissingBytesError(at + length)
        return self.data[at : at + length]

    def number(self, at, length):
        return int.from_bytes(self.take(at, length), "big")


def decode(packet, *, wire=None, link=1, time=0, tag=-1, decapsulate=True):
    """Decode one packet."""
    wire = len(packet) if wire is None else wire
    extra = 4 if tag >= 0 else 0
    row = {
        "time": time, "duration": 0, "packets": 1, "bytes": wire + extra, "captured_bytes": len(packet) + extra,
        "payload_bytes": 0, "decode_status": OK, "tunnel": "none",
    }  # fmt: skip
    view = View(packet, max(wire, len(packet)), decapsulate=decapsulate)
    try:
        protocol, at = read_link(view, link, tag, row)
        if protocol == "unsupported link":
            row["decode_status"] = UNSUPPORTED
        else:
            read_network(view, protocol, at, row)
    except MissingBytesError as missing:
        fail(row, TRUNCATED if missing.needed <= view.wire else MALFORMED)
    return row


def fail(row, status):
    """The first thing that went wrong is what the row says."""
    if row["decode_status"] == OK:
        row["decode_status"] = status


def read_link(view, link, tag, row):
    at, protocol = 0, None
    if link == 1:
        whole = View(view.data, view.wire)
        try:
            row["dst_mac"], row["src_mac"] = whole.number(0, 6), whole.number(6, 6)
        except MissingBytesError:
            row.pop("dst_mac", None)
        view.take(0, 14)
        protocol, at = view.number(12, 2), 14
    elif link == 113:
        view.take(0, 16)
        protocol, at = view.number(14, 2), 16
    elif link == 276:
        view.take(0, 20)
        protocol, at = view.number(0, 2), 20
    elif link in (0, 108):
        family = view.number(0, 4)
        if link == 0 and family > 0xFFFF:
            family = int.from_bytes(view.take(0, 4), "little")
        at = 4
        if family == 2:
            protocol = 0x0800
        elif family in (10, 24, 28, 30):
            protocol = 0x86DD
        elif 0x0600 <= family <= 0xFFFF:
            protocol = family
    elif link in (12, 14, 101):
        version = view.number(0, 1) >> 4
        protocol = {4: 0x0800, 6: 0x86DD}.get(version)
        if protocol is None:
            raise MissingBytesError(1 << 62)
    elif link == 228:
        protocol = 0x0800
    elif link == 229:
        protocol = 0x86DD
    else:
        return "unsupported link", 0
    stripped = tag >= 0
    if stripped:
        row["vlan"] = tag & 0xFFF
    while protocol in tunnels.TAGS:
        with contextlib.suppress(MissingBytesError):
            row.setdefault("vlan", view.number(at, 2) & 0xFFF)
        view.take(at, 4)
        protocol, at = view.number(at + 2, 2), at + 4
    if protocol is not None and protocol >= 0x0600:
        row["eth_type"] = protocol
    return tunnels.read_between(view, protocol, at, row)


def read_network(view, protocol, at, row):
    if protocol in (0x0800, 0x86DD):
        if at < min(len(view.data), view.wire) and view.data[at] >> 4 == 6:
            read_ipv6(view, at, row)
        else:
            read_ipv4(view, at, row)
    elif protocol in (0x0806, 0x8035):
        row["arp_opcode"] = struct.unpack("!6xH", view.take(at, 8))[0]
    else:
        fail(row, UNSUPPORTED)


def read_ipv4(view, at, row):
    first, traffic, total, _, fragment, ttl, protocol, _, source, target = struct.unpack(
        "!BBHHHBBHII", view.take(at, 20)
    )
    length = (first & 15) * 4
    if first >> 4 != 4 or length < 20:
        fail(row, MALFORMED)
        return
    row |= {
        "ip_version": 4, "dscp": traffic >> 2, "ttl": ttl, "ip_protocol": protocol, "src_ip": MAPPED | source,
        "dst_ip": MAPPED | target, "fragment": bool(fragment & 0x3FFF),
    }  # fmt: skip
    if total:
        if total < length or at + total > view.wire:
            fail(row, MALFORMED)
        view.wire = min(view.wire, at + max(total, length))
    if at + length > view.wire:
        fail(row, MALFORMED)
        return
    if fragment & 0x1FFF:
        row["payload_bytes"] = view.wire - at - length
        return
    read_transport(view, protocol, at + length, row)


def read_ipv6(view, at, row):
    first, length, protocol, ttl = struct.unpack("!IHBB", view.take(at, 40)[:8])
    source, target = view.number(at + 8, 16), view.number(at + 24, 16)
    row |= {
        "ip_version": 6, "dscp": first >> 22 & 63, "ttl": ttl, "src_ip": source, "dst_ip": target,
        "ip_protocol": protocol, "fragment": False,
    }  # fmt: skip
    at += 40
    too_long = bool(length) and at + length > view.wire
    if length == 0 and protocol == 0 and not has_jumbo_option(view.data[at : view.wire]):
        fail(row, MALFORMED)
        return
    if length:
        view.wire = min(view.wire, at + length)
    while protocol in EXTENSIONS:
        following, size = view.take(at, 8)[:2]
        length = {44: 8, 51: (size + 2) * 4}.get(protocol, (size + 1) * 8)
        if protocol == 44:
            position = view.number(at + 2, 2)
            row["fragment"] = row["fragment"] or bool(position & 0xFFF9)
            if position & 0xFFF8:
                row["ip_protocol"] = following
                row["payload_bytes"] = max(view.wire - at - 8, 0)
                if too_long:
                    fail(row, MALFORMED)
                return
        row["ip_protocol"] = protocol = following
        view.take(at, length)
        at += length
    if too_long:
        fail(row, MALFORMED)
    read_transport(view, protocol, at, row)


def has_jumbo_option(header):
    options = header[2 : (header[1] + 1) * 8] if len(header) > 1 else b""
    while len(options) > 1:
        if options[0] == 0xC2:
            return True
        options = options[1:] if options[0] == 0 else options[2 + options[1] :]
    return False


def read_transport(view, protocol, at, row):
    if view.decapsulate and view.depth < 8 and read_tunnel(view, protocol, at, row):
        return
    rest = max(view.wire - at, 0)
    if protocol not in (1, 6, 17, 58, 132):
        row["payload_bytes"] = rest
        return
    if protocol in (1, 58):
        row["icmp_type"], row["icmp_code"] = view.take(at, 2) if len(view.data) >= at + 2 else missing(at + 8)
        row["payload_bytes"] = max(rest - 8, 0)
        view.take(at, 4)
        return
    if protocol == 132:
        row["payload_bytes"] = max(rest - 12, 0)
    row["src_port"], row["dst_port"] = ports(view, protocol, at)
    if protocol == 6:
        read_tcp(view, at, row)
    elif protocol == 17:
        read_udp(view, at, row)
    else:
        view.take(at, 12)


NETWORK = ("ip_version", "src_ip", "dst_ip", "ip_protocol", "ttl", "dscp", "fragment")


def read_tunnel(view, protocol, at, row):
    """Open the tunnel here, if there is one; return whether the row describes what is inside of it."""
    try:
        kind, identifier, content, inside = tunnels.read_header(view, protocol, at, row)
    except tunnels.TunnelError as stop:
        tell(row, view, stop.kind, stop.identifier)
        fail(row, stop.status)
        return False
    if kind is None:
        return False
    tell(row, view, kind, identifier)
    if inside >= view.wire:
        return False
    inner = {"decode_status": OK, "payload_bytes": 0, "tunnel": "none"}
    within = View(view.data, view.wire, depth=view.depth + 1)
    try:
        read_network(within, content, inside, inner)
    except MissingBytesError as missing:
        fail(inner, TRUNCATED if missing.needed <= within.wire else MALFORMED)
    fail(row, inner.pop("decode_status"))
    if "ip_version" not in inner and "arp_opcode" not in inner:
        return False
    outer = {name: row.pop(name) for name in NETWORK}
    for name in ("tunnel", "tunnel_id", "outer_src_ip", "outer_dst_ip"):
        inner.pop(name, None)
    if view.depth == 0:
        row |= {"outer_src_ip": outer["src_ip"], "outer_dst_ip": outer["dst_ip"]}
    row |= inner
    return True


def tell(row, view, kind, identifier):
    if kind is not None and view.depth == 0:
        row.pop("tunnel_id", None)
        row["tunnel"] = kind
        if identifier is not None:
            row["tunnel_id"] = identifier


def missing(needed):
    raise MissingBytesError(needed)


def ports(view, protocol, at):
    if at + 4 > min(len(view.data), view.wire):
        raise MissingBytesError(at + {6: 20, 17: 8, 132: 12}[protocol])
    return struct.unpack("!HH", view.take(at, 4))


def read_tcp(view, at, row):
    if at + 16 > min(len(view.data), view.wire):
        raise MissingBytesError(at + 20)
    sequence, acknowledgement, offset, flags, window = struct.unpack("!IIBBH", view.take(at + 4, 12))
    row |= {"tcp_seq": sequence, "tcp_ack": acknowledgement, "tcp_flags": flags, "tcp_window": window}
    payload = at + (offset >> 4) * 4
    if offset >> 4 < 5 or payload > view.wire:
        fail(row, MALFORMED)
        return
    row["payload_bytes"] = view.wire - payload
    view.take(at, payload - at)
    applications.read_tcp(view, payload, row)


def read_udp(view, at, row):
    length = struct.unpack("!4xH2x", view.take(at, 8))[0]
    if 0 < length < 8:
        fail(row, MALFORMED)
        return
    if at + length > view.wire and not row["fragment"]:
        fail(row, MALFORMED)
    if length:
        view.wire = min(view.wire, at + length)
    row["payload_bytes"] = view.wire - at - 8
    applications.read_udp(view, at + 8, row)
