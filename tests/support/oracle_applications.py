"""The application half of the oracle: regular expressions and slices."""

from __future__ import annotations

import re

from streamgauge.decode.http_kernels import METHODS

REQUEST = re.compile(
    rb"(%s) ([^\n]*)" % b"|".join(re.escape(method.encode()) for method in sorted(METHODS, key=len, reverse=True))
)
DNS_PORTS = {53: "dns", 5353: "mdns", 5355: "llmnr"}


def read_udp(view, at, row):
    payload = view.data[at : view.wire]
    application = dns_family(row)
    if not payload:
        return
    if application:
        row["app"] = application
        read_dns(view, at, view.wire, row)
    elif is_quic(payload):
        row["app"] = "quic"
    elif (
        123 in (row["src_port"], row["dst_port"])
        and len(payload) >= 12
        and 1 <= payload[0] >> 3 & 7 <= 4
        and payload[0] & 7
    ):
        row["app"] = "ntp"
    elif (row["dst_port"] in (67, 68) and payload[236:240] == bytes.fromhex("63825363") and payload[0] <= 2) or (
        row["dst_port"] in (546, 547) and len(payload) >= 4 and 1 <= payload[0] <= 13
    ):
        row["app"] = "dhcp"


def dns_family(row):
    return next((DNS_PORTS[port] for port in DNS_PORTS if port in (row["src_port"], row["dst_port"])), None)


def is_quic(payload):
    if len(payload) < 6 or payload[0] & 0xC0 != 0xC0:
        return False
    if payload[1:5] not in (b"\0\0\0\1", b"\x6b\x33\x43\xcf") and payload[1:4] != b"\xff\0\0":
        return False
    source = payload[6 + payload[5] :]
    return payload[5] <= 20 and source != b"" and source[0] <= 20


def read_tcp(view, at, row):
    payload = view.data[at : view.wire]
    if len(payload) < 4:
        return
    application = dns_family(row)
    prefix = int.from_bytes(payload[:2], "big")
    if (
        application
        and len(payload) >= 14
        and prefix >= 12
        and payload[4] >> 3 & 15 <= 6
        and payload[6:8] in (b"\0\0", b"\0\1")
        and not payload[5] & 0x40
    ):
        row["app"] = application
        read_dns(view, at + 2, max(view.wire, at + 2 + prefix), row)
    elif is_record(payload):
        row["app"] = "tls"
        read_tls(payload, row)
    elif re.match(rb"HTTP/\d", payload) and len(payload) >= 6:
        row["app"] = "http"
        status = re.match(rb".{8} (\d{3})", payload, re.DOTALL)
        if status:
            row["http_status"] = int(status[1])
    elif request := REQUEST.match(payload):
        read_request(payload, request, row)
    elif payload.startswith(b"SSH-"):
        row["app"] = "ssh"


def read_request(payload, request, row):
    rest, whole = request[2], payload[request.end() :].startswith(b"\n")
    if rest.endswith(b"\r"):
        rest, whole = rest[:-1], True
    target, space, version = rest.rpartition(b" ")
    if not whole:
        target = rest.split(b" ")[0]
    elif not (space and re.match(rb"HTTP/\d", version)):
        target = rest if rest.startswith(b"/") and not space else b""
        if re.match(rb"HTTP/\d", rest):
            target = b""
    if not target:
        return
    row |= {"app": "http", "http_method": request[1], "http_path": target[:8192]}
    for line in payload[request.end() + 1 :].split(b"\n"):
        field = line.removesuffix(b"\r")
        if not field:
            return
        if field[:5].lower() == b"host:" and len(field) > 5:
            row["http_host"] = field[5:].strip(b" \t")[:8192]
            return


def is_record(payload):
    if len(payload) < 5 or not 20 <= payload[0] <= 24 or payload[1] != 3 or payload[2] > 4:
        return False
    length = int.from_bytes(payload[3:5], "big")
    return 0 < length <= 16384 + 2048 and (payload[0] != 20 or length == 1)


def read_tls(payload, row):
    for _ in range(8):
        length = int.from_bytes(payload[3:5], "big")
        body, following = payload[5 : 5 + length], payload[5 + length :]
        if payload[0] == 22 and body[:1] == b"\1":
            name = server_name(body)
            if name is not None:
                row["tls_sni"] = name[:8192]
            return
        payload = following
        if not is_record(payload):
            return


def server_name(hello):
    try:
        at = 38
        at += 1 + hello[at]
        hello[at + 1]
        at += 2 + int.from_bytes(hello[at : at + 2], "big")
        at += 1 + hello[at]
    except IndexError:
        return None
    rest = hello[at + 2 :]
    while len(rest) >= 4:
        kind, length = int.from_bytes(rest[:2], "big"), int.from_bytes(rest[2:4], "big")
        if kind == 0:
            names = rest[4 : 4 + length][2:]
            while len(names) >= 3:
                size = int.from_bytes(names[1:3], "big")
                if names[0] == 0:
                    return names[3 : 3 + size] if len(names) >= 3 + size else None
                names = names[3 + size :]
            return None
        rest = rest[4 + length :]
    return None


def read_dns(view, start, wire, row):
    message = view.data[start : min(view.wire, len(view.data))]
    if len(message) < 12:
        return missing(row, start + 12, wire)
    flags = int.from_bytes(message[2:4], "big")
    row |= {"dns_id": int.from_bytes(message[:2], "big"), "dns_response": bool(flags >> 15)}
    if flags >> 15:
        row["dns_rcode"] = flags & 15
    if message[4:6] == b"\0\0":
        return None
    labels, at, behind, earliest, length = [], 12, None, 12, 1
    while True:
        if at >= len(message):
            return missing(row, start + at + 1, wire)
        size = message[at]
        if size == 0:
            break
        if size >= 0xC0:
            if at + 2 > len(message):
                return missing(row, start + at + 2, wire)
            target = int.from_bytes(message[at : at + 2], "big") & 0x3FFF
            behind = behind or at + 2
            if target >= earliest:
                return missing(row, 1 << 62, wire)
            at = earliest = target
            continue
        length += size + 1
        if size >= 0x40 or length > 255:
            return missing(row, 1 << 62, wire)
        if at + 1 + size > len(message):
            return missing(row, start + at + 1 + size, wire)
        labels.append(message[at + 1 : at + 1 + size].lower())
        at += 1 + size
    behind = behind or at + 1
    if behind + 4 > len(message):
        return missing(row, start + behind + 4, wire)
    row |= {"dns_name": b".".join(labels), "dns_type": int.from_bytes(message[behind : behind + 2], "big")}
    return None


def missing(row, needed, wire):
    if row["decode_status"] == "ok":
        row["decode_status"] = "truncated" if needed <= wire else "malformed"
