"""The application half of the oracle: regular expressions and slices."""

from __future__ import annotations

import re
import struct

from streamgauge.decode.http_kernels import METHODS
from tests.support import oracle_hellos as hellos

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
    elif is_dns(payload):
        row["app"] = "dns"
        read_dns(view, at, view.wire, row)


def is_dns(payload):
    if len(payload) <= 12:
        return False
    flags, questions, answers, authorities, additional = struct.unpack("!5H", payload[2:12])
    if flags & 0x7800 or additional > 10 or authorities > 10:
        return False
    if flags & 0x8000:
        return questions <= 1 and answers <= 512
    return (questions, answers, authorities) == (1, 0, 0)


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
    elif re.match(rb"HTTP/.", payload, re.DOTALL) and len(payload) >= 6:
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
    elif not (space and re.match(rb"HTTP/.", version)):
        target = rest if rest.startswith(b"/") and not space else b""
        if re.match(rb"HTTP/.", rest):
            target = b""
    if not target:
        return
    row |= {"app": "http", "http_method": request[1], "http_path": target[:8192]}
    for line in payload[request.end() + 1 :].split(b"\n"):
        field = line.removesuffix(b"\r")
        if not field:
            return
        if field[:5].lower() == b"host:" and len(field) > 5:
            row["http_host"] = field[5:].strip(b" \t").split(b"\0")[0][:8192]
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
        if payload[0] == 22 and body[:1] in (b"\1", b"\2"):
            hellos.read_hello(body, row)
            if body[:1] == b"\1":
                read_joined(payload[:16448], row)
            return
        payload = following
        if not is_record(payload):
            return


def read_joined(records, row):
    """Read a ClientHello that several records of one segment hold, if all of it is there."""
    message = b""
    while len(records) >= 5 and records[0] == 22:
        length = int.from_bytes(records[3:5], "big")
        message, records = message + records[5 : 5 + length], records[5 + length :]
    if len(message) >= 4 and len(message) >= 4 + int.from_bytes(message[1:4], "big"):
        hellos.read_hello(message, row)


def read_dns(view, start, wire, row):
    message = view.data[start : min(view.wire, len(view.data))]
    if len(message) < 12:
        return missing(row, start + 12, wire)
    number, flags, questions, answers, authorities, additional = struct.unpack("!6H", message[:12])
    row |= {"dns_id": number, "dns_response": bool(flags >> 15), "dns_answers": answers}
    if flags >> 15:
        row["dns_rcode"] = flags & 15
    behind = 12
    if questions:
        name, behind = read_name(message, start, wire, row)
        if name is None:
            return None
        if behind + 4 > len(message):
            return missing(row, start + behind + 4, wire)
        row |= {"dns_name": name, "dns_type": int.from_bytes(message[behind : behind + 2], "big")}
        if name == UNKNOWN_LABEL:
            return missing(row, 1 << 62, wire)
        behind += 4
    if flags >> 15 and additional and questions <= 1:
        row["dns_rcode"] |= extended_code(message, behind, min(answers + authorities + additional, 256))
    return None


UNKNOWN_LABEL = b"<unknown extended label>"
NAMED = {letter: b"\\" + b"abtnvfr"[letter - 7 : letter - 6] for letter in range(7, 14)}


def readable(label):
    return b"".join(
        bytes([letter]) if 32 <= letter != 127 else NAMED.get(letter, b"\\%03o" % letter) for letter in label.lower()
    )


def read_name(message, start, wire, row):
    """Return ``(name, offset behind it)``; name None, and the status set, where it cannot be read."""
    labels, at, behind, earliest, length = [], 12, None, 12, 1
    while True:
        if at >= len(message):
            return missing(row, start + at + 1, wire), None
        size = message[at]
        if size == 0:
            break
        if size >= 0xC0:
            if at + 2 > len(message):
                return missing(row, start + at + 2, wire), None
            target = int.from_bytes(message[at : at + 2], "big") & 0x3FFF
            behind = behind or at + 2
            if target >= earliest:
                return missing(row, 1 << 62, wire), None
            at = earliest = target
            continue
        if size >> 6 == 1 and size != 0x41:
            return UNKNOWN_LABEL, behind or at + 1
        length += size + 1
        if size >= 0x40 or length > 255:
            return missing(row, 1 << 62, wire), None
        if at + 1 + size > len(message):
            return missing(row, start + at + 1 + size, wire), None
        labels.append(readable(message[at + 1 : at + 1 + size]))
        at += 1 + size
    return b".".join(labels), behind or at + 1


def behind_name(message, at):
    while at < len(message):
        size = message[at]
        if size == 0:
            return at + 1
        if size >= 0x40:
            return min(at + 2, len(message))
        at += 1 + size
    return len(message)


def extended_code(message, at, records):
    for _ in range(records):
        at = behind_name(message, at)
        if at + 10 > len(message):
            return 0
        kind, _, extension, _, _, length = struct.unpack("!HHBBHH", message[at : at + 10])
        if kind == 41:
            return extension << 4
        at += 10 + length
    return 0


def missing(row, needed, wire):
    if row["decode_status"] == "ok":
        row["decode_status"] = "truncated" if needed <= wire else "malformed"
