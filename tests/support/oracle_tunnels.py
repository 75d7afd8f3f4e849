"""The oracle's half for encapsulations and tunnels: one header a function."""

from __future__ import annotations

import struct

TAGS = (0x8100, 0x88A8, 0x9100, 0x9200, 0x9300)
IP_OR_ARP = (0x0800, 0x86DD, 0x0806, 0x8035)
FRAMES = (*IP_OR_ARP, *TAGS, 0x8847, 0x8848, 0x8864)
ETHERNET, MPLS = 0x6558, 0x8847
PPP = {0x21: 0x0800, 0x57: 0x86DD, 0x281: 0x8847, 0x283: 0x8848}


class TunnelError(Exception):
    """The tunnel is there, what it carries cannot be found."""

    def __init__(self, kind, identifier, status):
        super().__init__(status)
        self.kind = kind
        self.identifier = identifier
        self.status = status


class Between:
    """What was read between the link and the network layer."""

    def __init__(self):
        self.kind = self.identifier = None


def end_of(view):
    return min(len(view.data), view.wire)


def read_between(view, protocol, at, row):
    between = Between()
    try:
        return follow(view, protocol, at, between)
    finally:
        row["tunnel"] = between.kind or "none"
        if between.identifier is not None:
            row["tunnel_id"] = between.identifier


def follow(view, protocol, at, between):
    """Follow an EtherType to the network layer; remember the first header, if it is a tunnel's."""
    for _ in range(16):
        kind = identifier = None
        if protocol in IP_OR_ARP or protocol is None:
            break
        try:
            if protocol in TAGS:
                protocol, at = view.number(at, 4) & 0xFFFF, at + 4
            elif protocol in (0x8847, 0x8848):
                kind = "mpls"
                protocol, at, identifier = read_mpls(view, at)
            elif protocol == 0x8864:
                kind = "pppoe"
                identifier = view.number(at, 6) >> 16 & 0xFFFF
                protocol, at = read_ppp(view, at + 6)
            elif protocol == ETHERNET:
                protocol, at = view.number(at, 14) & 0xFFFF, at + 14
            elif protocol <= 1500 or protocol == 0x8870:
                protocol, at = read_llc(view, at)
            else:
                break
        finally:
            if between.kind is None:
                between.kind, between.identifier = kind, identifier
    return protocol, at


def read_mpls(view, at):
    while True:
        entry = view.number(at, 4)
        at += 4
        if entry & 0x100:
            break
    label, payload = entry >> 12, view.data[at : end_of(view)]
    nibble = payload[0] >> 4 if payload else None
    if label in (13, 14) or not payload:
        return None, at, label
    if nibble in (4, 6):
        return {4: 0x0800, 6: 0x86DD}[nibble], at, label
    if nibble == 0 and frame_type(payload[4:]) in FRAMES:
        return ETHERNET, at + 4, label
    if frame_type(payload) in FRAMES:
        return ETHERNET, at, label
    if nibble == 0 and frame_type(payload[4:]) <= 1500:
        return ETHERNET, at + 4, label
    return None, at, label


def frame_type(frame):
    return int.from_bytes(frame[12:14], "big") if len(frame) >= 14 else 0xFFFF


def read_ppp(view, at):
    number = view.number(at, 1)
    if number & 1:
        return PPP.get(number), at + 1
    return PPP.get(view.number(at, 2)), at + 2


def read_llc(view, at):
    points, control = struct.unpack("!HB", view.take(at, 3))
    if control == 3:
        at += 3
    elif control % 2 == 0:
        at += 4
    else:
        return None, at
    if points >> 8 == 6:
        return 0x0800, at
    if points != 0xAAAA:
        return None, at
    header = view.take(at, 5)
    protocol = int.from_bytes(header[3:], "big")
    if header[:3] not in (b"\0\0\0", b"\0\0\xf8"):
        return None, at
    if protocol < 0x0600:
        view.take(1 << 62, 1)
    return protocol, at + 5


def read_header(view, protocol, at, row):
    """Return ``(kind, identifier, EtherType of the contents or None, its offset)``; kind None: no tunnel."""
    version = row["ip_version"]
    reader = IP_TUNNELS.get(protocol)
    if protocol == 17 and at + 8 <= end_of(view):
        reader, at = udp_reader(view, at), at + 8
    if reader is None:
        return None, None, None, at
    kind, identifier, content, at = reader(view, at, protocol, version)
    if kind is None:
        return None, None, None, at
    between = Between()

    def known():
        return identifier if identifier is not None else same(between, kind)

    content, at = guarded(kind, view, known)(lambda: follow(view, content, at, between))
    return kind, known(), content, at


def same(between, kind):
    return between.identifier if between.kind == kind else None


def guarded(kind, view, identifier):
    """Return a function that calls another and turns bytes that are missing into a TunnelError."""
    from tests.support.oracle import MissingBytesError

    def call(function):
        try:
            return function()
        except MissingBytesError as missing:
            status = "truncated" if missing.needed <= view.wire else "malformed"
            raise TunnelError(kind, identifier(), status) from None

    return call


def udp_reader(view, at):
    ports = struct.unpack("!HH", view.take(at, 4))
    header = view.data[at + 8 : end_of(view)][:8]
    if 53 in ports:
        return None
    if 4789 in ports:
        return read_vxlan
    if 6081 in ports:
        return read_geneve
    if 4790 in ports:
        return read_extension
    if ports[1] == 8472 and header[:4] == b"\x08\0\0\0" and header[7:] == b"\0":
        return read_vxlan
    return {4754: read_gre, 6635: IP_TUNNELS[137]}.get(ports[1])


def read_vxlan(view, at, *_):
    header = guarded("vxlan", view, lambda: None)(lambda: view.take(at, 8))
    network = int.from_bytes(header[4:7], "big") if header[0] & 8 else None
    return "vxlan", network, ETHERNET, at + 8


def read_extension(view, at, *_):
    kind, network, content, behind = read_vxlan(view, at)
    following = view.data[at + 3]
    if following or view.data[at] & 4:
        content = {1: 0x0800, 2: 0x86DD, 3: ETHERNET, 5: MPLS}.get(following)
    return kind, network, content, behind


def read_geneve(view, at, *_):
    header = guarded("geneve", view, lambda: None)(lambda: view.take(at, 8))
    network, protocol = int.from_bytes(header[4:7], "big"), int.from_bytes(header[2:4], "big")
    if header[0] >> 6:
        raise TunnelError("geneve", network, "malformed")
    length = 8 + (header[0] & 63) * 4
    guarded("geneve", view, lambda: network)(lambda: view.take(at, length))
    return "geneve", network, protocol, at + length


def read_gre(view, at, *_):
    flags, protocol = struct.unpack("!HH", guarded("gre", view, lambda: None)(lambda: view.take(at, 4)))
    at += 4 + 4 * bool(flags & 0xC000)
    identifier = None
    if flags & 0x2000:
        key = guarded("gre", view, lambda: None)(lambda: view.number(at, 4))
        identifier = key & 0xFFFF if flags & 7 == 1 else key
        at += 4
    at += 4 * bool(flags & 0x1000) + 4 * (flags & 0x0087 == 0x0081)
    check = guarded("gre", view, lambda: identifier)
    if flags & 0x4000:
        for _ in range(16):
            entry = view.data[at : at + 4] if at + 4 <= end_of(view) else check(lambda: view.take(end_of(view) + 1, 0))
            at += 4 + entry[3]
            if entry[3] == 0 or entry[:2] == b"\0\0":
                break
        else:
            at = end_of(view) + 1
    check(lambda: view.take(at, 0))
    if protocol == 0x88BE and not flags & 0x1000:
        return "erspan", None, ETHERNET, at
    if protocol in (0x88BE, 0x22EB):
        return read_erspan(view, at)
    if protocol == 0x880B and at < end_of(view):
        at += 2 * (view.data[at : min(at + 2, end_of(view))] == b"\xff\3")
        protocol, at = check(lambda: read_ppp(view, at))
    elif protocol == 0x883E:
        protocol = 0x0800
        at += 4 * (at < end_of(view) and view.data[at] >> 4 != 4)
    return "gre", identifier, protocol, at


def read_erspan(view, at):
    first = guarded("erspan", view, lambda: None)(lambda: view.number(at, 8)) >> 32
    session = first & 0x3FF
    if first >> 28 == 1:
        return "erspan", session, ETHERNET, at + 8
    if first >> 28 != 2:
        raise TunnelError("erspan", None, "malformed")
    flags = guarded("erspan", view, lambda: session)(lambda: view.number(at, 12)) & 0xFFFF
    return "erspan", session, {0: ETHERNET, 2: 0x0800}.get(flags >> 10 & 31), at + 12 + 8 * (flags & 1)


def read_ip(view, at, protocol, version):
    inside = guarded(None, view, lambda: None)(lambda: view.number(at, 1)) >> 4
    if inside == 4 and protocol == 4:
        return ("ipip" if version == 4 else "4in6"), None, 0x0800, at
    if inside == 6:
        return ("6in4" if version == 4 else "6in6"), None, 0x86DD, at
    raise TunnelError(None, None, "malformed")


IP_TUNNELS = {
    4: read_ip,
    41: read_ip,
    47: read_gre,
    97: lambda _view, at, *_: ("ethernet", None, ETHERNET, at + 2),
    137: lambda _view, at, *_: ("mpls", None, MPLS, at),
    143: lambda _view, at, *_: ("ethernet", None, ETHERNET, at),
}
