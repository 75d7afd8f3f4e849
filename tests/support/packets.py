"""Builders for exact packets, and a grammar: hypothesis strategies for frames that are right, cut or damaged."""

from __future__ import annotations

import struct

from hypothesis import strategies as st

MACS = bytes.fromhex("0242ac1100020242ac110003")
LINKS = (0, 1, 12, 101, 108, 113, 228, 229, 276, 147)


def ethernet(protocol, payload, *, tags=()):
    head = b"".join(struct.pack("!HH", kind, identifier) for kind, identifier in tags)
    return MACS + head + struct.pack("!H", protocol) + payload


def ipv4(protocol, payload, *, fragment=0, options=b"", total=None):
    length = 20 + len(options)
    total = length + len(payload) if total is None else total
    head = struct.pack("!BBHHHBBH", 0x40 | length // 4, 0xB8, total, 1, fragment, 64, protocol, 0)
    return head + bytes([10, 0, 0, 1, 10, 0, 0, 2]) + options + payload


def ipv6(protocol, payload, *, length=None):
    length = len(payload) if length is None else length
    addresses = bytes.fromhex("20010db800000000000000000000000120010db8000000000000000000000002")
    return struct.pack("!IHBB", 0x6B800000, length, protocol, 63) + addresses + payload


def tcp(payload, *, source=40_000, target=443, flags=0x18, offset=5):
    return struct.pack("!HHIIBBHHH", source, target, 1000, 2000, offset << 4, flags, 512, 0, 0) + payload


def udp(payload, *, source=40_000, target=53, length=None):
    return struct.pack("!HHHH", source, target, 8 + len(payload) if length is None else length, 0) + payload


def dns(name=b"\x03WWW\x07example\x03com\0", *, flags=0x0100, questions=1, kind=1, additional=0):
    return struct.pack("!HHHHHH", 0xBEEF, flags, questions, 0, 0, additional) + name + struct.pack("!HH", kind, 1)


def extension(kind, content):
    """An extension of a TLS hello."""
    return struct.pack("!HH", kind, len(content)) + content


def named(name):
    """The content of a server_name extension."""
    return struct.pack("!HBH", len(name) + 3, 0, len(name)) + name


def listed(*names):
    """The content of an ALPN extension."""
    names = b"".join(bytes([len(name)]) + name for name in names)
    return struct.pack("!H", len(names)) + names


def handshake(kind, body):
    """A handshake message."""
    return bytes([kind]) + len(body).to_bytes(3, "big") + body


def record(message, *, kind=22):
    """A TLS record."""
    return bytes([kind]) + b"\3\1" + struct.pack("!H", len(message)) + message


def hello(name=None, *, before=b"", after=b"", ciphers=b"\x13\1", version=b"\3\3", session=b""):
    """A ClientHello message, with a server name between other extensions."""
    extensions = before + (b"" if name is None else extension(0, named(name))) + after
    body = version + bytes(32) + bytes([len(session)]) + session + struct.pack("!H", len(ciphers)) + ciphers
    return handshake(1, body + b"\1\0" + struct.pack("!H", len(extensions)) + extensions)


def server_hello(*, cipher=0x1302, extensions=b"", version=b"\3\3"):
    """A ServerHello message."""
    return handshake(2, version + bytes(33) + struct.pack("!HBH", cipher, 0, len(extensions)) + extensions)


def client_hello(name, *, before=b""):
    """A ClientHello in its record."""
    return record(hello(name, before=before))


_names = st.lists(st.binary(min_size=1, max_size=12), max_size=4).map(
    lambda labels: b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
)
_dns = st.builds(
    dns,
    st.one_of(_names, st.just(b"\xc0\x0c"), st.binary(max_size=20), st.just(b"\x03abc\xc0\x0d")),
    flags=st.integers(0, 0xFFFF),
    questions=st.integers(0, 2),
)
_http = st.one_of(
    st.builds(
        lambda method, target, host: b"%s %s HTTP/1.1\r\nAccept: */*\r\nhOsT: %s\r\n\r\n" % (method, target, host),
        st.sampled_from([b"GET", b"VERSION-CONTROL", b"M-SEARCH", b"PUTT", b"BPROPPATCH"]),
        st.sampled_from([b"/", b"/a b", b"", b"http://x/"]),
        st.binary(max_size=20),
    ),
    st.sampled_from([b"HTTP/1.1 404 Not Found\r\n\r\n", b"HTTP/1.1 20", b"GET /old\r\n", b"GET /cut"]),
)
_values = st.lists(st.sampled_from([0x0A0A, 0x1301, 0xC02B, 0x0403, 0x0804, 0xFAFA, 0x00FF]), max_size=6).map(
    lambda values: struct.pack(f"!{len(values)}H", *values)
)
_extension = st.one_of(
    st.builds(extension, st.sampled_from([0, 10, 13, 16, 23, 43, 0x0A0A, 0xFF01]), st.binary(max_size=12)),
    st.builds(lambda *names: extension(16, listed(*names)), st.binary(max_size=4), st.sampled_from([b"h2", b"", b"x"])),
    st.builds(lambda values: extension(13, struct.pack("!H", len(values)) + values), _values),
    st.builds(lambda values: extension(43, bytes([len(values)]) + values), _values),
    st.sampled_from([extension(43, b"\3\4"), b"\0\x17\0\7"]),
)
_extensions_of_hello = st.lists(_extension, max_size=4).map(b"".join)
_hellos = st.one_of(
    st.builds(
        hello,
        st.one_of(st.none(), st.binary(max_size=40)),
        before=_extensions_of_hello,
        after=_extensions_of_hello,
        ciphers=_values,
        version=st.sampled_from([b"\3\3", b"\3\0", b"\0\2", b"\7\7"]),
        session=st.binary(max_size=4),
    ),
    st.builds(server_hello, cipher=st.integers(0, 0xFFFF), extensions=_extensions_of_hello),
)
_tls = st.one_of(
    st.builds(record, _hellos),
    st.builds(lambda message: b"\x14\3\3\0\1\1" + record(message), _hellos),
    st.builds(lambda message, cut: record(message[:cut]) + record(message[cut:]), _hellos, st.integers(1, 60)),
    st.sampled_from([b"\x17\3\3\0\x10" + bytes(16), b"\x15\3\3\0\2\1\0", b"SSH-2.0-x\r\n"]),
)
_quic = st.builds(
    lambda version, rest: b"\xc3" + version + rest, st.sampled_from([b"\0\0\0\1", b"\x6b\x33\x43\xcf"]), st.binary()
)
_ports = st.sampled_from([53, 5353, 5355, 67, 546, 123, 443, 80, 40_000])
_segments = st.builds(
    tcp,
    st.one_of(_http, _tls, _dns.map(lambda message: len(message).to_bytes(2, "big") + message), st.binary(max_size=30)),
    source=_ports,
    target=_ports,
    offset=st.sampled_from([5, 5, 5, 6, 4, 15]),
)
_datagrams = st.builds(
    udp,
    st.one_of(_dns, _quic, st.binary(max_size=300)),
    source=_ports,
    target=_ports,
    length=st.one_of(st.none(), st.none(), st.integers(0, 400)),
)
_transport = st.one_of(
    _segments.map(lambda segment: (6, segment)),
    _datagrams.map(lambda datagram: (17, datagram)),
    st.tuples(st.sampled_from([1, 58, 132, 47]), st.binary(max_size=20)),
)


def gre(protocol, payload, *, flags=0):
    """A GRE header with the fields its flags announce."""
    fields = b"\0\0\0\7" * (bool(flags & 0xC000) + sum(bool(flags & bit) for bit in (0x2000, 0x1000)))
    return struct.pack("!HH", flags, protocol) + fields + payload


def mpls(*labels):
    """A label stack."""
    last = len(labels) - 1
    return b"".join(struct.pack("!I", label << 12 | (at == last) << 8 | 64) for at, label in enumerate(labels))


def pppoe(payload, *, number=b"\0\x21"):
    """A PPPoE session header and the PPP protocol number."""
    return struct.pack("!BBHH", 0x11, 0, 0x1234, len(payload) + len(number)) + number + payload


def snap(protocol, payload, *, organisation=b"\0\0\0"):
    """An LLC/SNAP header."""
    return b"\xaa\xaa\3" + organisation + struct.pack("!H", protocol) + payload


def vxlan(payload, *, flags=8, network=0x123456, following=0):
    """A VXLAN header, or one of its Generic Protocol Extension."""
    return struct.pack("!IBHB", flags << 24 | following, network >> 16, network & 0xFFFF, 0) + payload


def geneve(protocol, payload, *, options=b"", version=0):
    """A Geneve header."""
    return struct.pack("!BBHI", version << 6 | len(options) // 4, 0, protocol, 0x123456 << 8) + options + payload


def erspan(payload, *, version=1, flags=0):
    """An ERSPAN header of type II (version 1) or III (version 2)."""
    head = struct.pack("!II", version << 28 | 0x2A, 0)
    return head + (struct.pack("!HH", 0, flags) + bytes(8 * (flags & 1)) if version == 2 else b"") + payload


_fragments = st.sampled_from([0, 0, 0, 0x4000, 0x2000, 0x2005, 0x0005])
_totals = st.one_of(st.none(), st.none(), st.integers(0, 200))


def _extended(headers, transport):
    """Put extension headers before a transport layer."""
    protocol, payload = transport
    for kind, rest in headers:
        size = len(rest) // 8
        content = bytes([protocol, size if kind != 51 else 2 * size]) + (rest + bytes(8))[: 6 + 8 * size]
        protocol, payload = kind, content + payload
    return protocol, payload


_extensions = st.lists(
    st.tuples(st.sampled_from([0, 43, 44, 51, 60, 135]), st.sampled_from([b"", bytes(8), b"\0\1", b"\1\0"])), max_size=3
)
_network = st.one_of(
    st.builds(
        lambda transport, fragment, total: (0x0800, ipv4(*transport, fragment=fragment, total=total)),
        _transport,
        _fragments,
        _totals,
    ),
    st.builds(
        lambda headers, transport, length: (0x86DD, ipv6(*_extended(headers, transport), length=length)),
        _extensions,
        _transport,
        _totals,
    ),
    st.tuples(st.just(0x0806), st.binary(min_size=6, max_size=28)),
    st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=40)),
)
_tags = st.lists(st.tuples(st.sampled_from([0x8100, 0x88A8, 0x9100]), st.integers(0, 0xFFFF)), max_size=2)


@st.composite
def _wrapped(draw, network):
    """Put an encapsulation or a tunnel around a network layer."""
    protocol, packet = draw(network)
    frame = ethernet(protocol, packet)
    flags = draw(st.sampled_from([0, 0x2000, 0x3000, 0x1000, 0x8000, 0x4000, 0x3081, 0xB001]))
    transport = draw(
        st.sampled_from(
            [
                (4, packet), (41, packet), (97, b"\x30\0" + frame), (137, mpls(5) + packet), (143, frame),
                (47, gre(protocol, packet, flags=flags)), (47, gre(0x6558, frame, flags=flags)),
                (47, gre(0x880B, b"\xff\3\0\x21" + packet, flags=flags)),
                (47, gre(0x880B, b"\x57" + packet, flags=flags)),
                (47, gre(0x88BE, erspan(frame), flags=flags)), (47, gre(0x88BE, frame, flags=flags)),
                (47, gre(0x22EB, erspan(frame, version=2, flags=draw(st.sampled_from([0, 1, 0x800]))), flags=flags)),
                (47, gre(0x883E, packet, flags=flags)), (47, gre(0x8847, mpls(3, 9) + packet, flags=flags)),
                (17, udp(vxlan(frame, flags=draw(st.sampled_from([0, 8]))), target=4789)),
                (17, udp(vxlan(frame), target=8472)),
                (17, udp(vxlan(packet, flags=12, following=draw(st.integers(0, 5))), target=4790)),
                (17, udp(geneve(protocol, packet, options=bytes(4 * draw(st.integers(0, 2)))), target=6081)),
                (17, udp(geneve(0x6558, frame, version=draw(st.sampled_from([0, 0, 1]))), target=6081)),
                (17, udp(gre(protocol, packet), target=4754)), (17, udp(mpls(7) + packet, target=6635)),
            ]
        )
    )  # fmt: skip
    around = draw(st.sampled_from(["ip", "ip", "ip6", "mpls", "wire", "control", "pppoe", "snap", "frame"]))
    return {
        "ip": (0x0800, ipv4(*transport)),
        "ip6": (0x86DD, ipv6(*transport)),
        "mpls": (0x8847, mpls(1, 16) + packet),
        "wire": (0x8847, mpls(17) + frame),
        "control": (0x8848, mpls(18) + bytes(4) + frame),
        "pppoe": (0x8864, pppoe(packet, number=draw(st.sampled_from([b"\0\x21", b"\x21", b"\0\x57", b"\xc0\x21"])))),
        "snap": (len(packet) + 8 if len(packet) < 1400 else 8, snap(protocol, packet)),
        "frame": (0x6558, frame),
    }[around]


_carried = st.one_of(_network, _wrapped(_network), _wrapped(_wrapped(_network)), _wrapped(_wrapped(_wrapped(_network))))


def _framed(link, network, tags):
    protocol, payload = network
    if link == 1:
        return ethernet(protocol, payload, tags=tags)
    head = {
        0: struct.pack("<I", 2 if protocol == 0x0800 else 30),
        108: struct.pack("!I", 2 if protocol == 0x0800 else 24),
        113: bytes(14) + struct.pack("!H", protocol),
        276: struct.pack("!H", protocol) + bytes(18),
    }.get(link, b"")
    return head + payload


def _damaged(frame, keep, changes):
    """Cut a frame and change some of its bytes."""
    frame = bytearray(frame[: max(len(frame) - keep, 0)])
    for at, value in changes:
        if frame:
            frame[at % len(frame)] = value
    return bytes(frame)


_changes = st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=3)
_cuts = st.one_of(st.just(0), st.just(0), st.integers(0, 120))

#: ``(link type, frame)``: right, cut or damaged.
frames = st.sampled_from(LINKS).flatmap(
    lambda link: st.tuples(
        st.just(link), st.builds(_damaged, st.builds(_framed, st.just(link), _carried, _tags), _cuts, _changes)
    )
)
