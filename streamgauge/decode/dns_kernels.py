"""DNS (RFC 1035; TCP: RFC 7766), multicast DNS (RFC 6762), LLMNR (RFC 4795): header and first question."""

from __future__ import annotations

# mypy: ignore-errors
# (Numba types kernels when it compiles them.)
from streamgauge.decode.accelerate import inner
from streamgauge.decode.link_kernels import MALFORMED, OK, cut
from streamgauge.decode.load_kernels import load8, load16
from streamgauge.decode.text_kernels import lower
from streamgauge.schema import SLOTS, App, Present

DNS_PORT, MDNS_PORT, LLMNR_PORT = 53, 5353, 5355

DNS_HEADER = 12
#: Longest name on the wire, length bytes included (RFC 1035, 2.3.4).
MAX_NAME = 255
POINTER = 0xC0
DOT = 0x2E

APP_NONE, APP_DNS, APP_MDNS, APP_LLMNR = int(App.UNKNOWN), int(App.DNS), int(App.MDNS), int(App.LLMNR)
HAS_DNS, HAS_QUESTION, HAS_RCODE = int(Present.DNS), int(Present.DNS_QUESTION), int(Present.DNS_RCODE)

DNS_ID, DNS_RESPONSE, DNS_NAME = SLOTS["dns_id"], SLOTS["dns_response"], SLOTS["dns_name"]
DNS_TYPE, DNS_RCODE = SLOTS["dns_type"], SLOTS["dns_rcode"]


@inner
def read_name(data, message, at, end, wire_end, rows, row):
    """Write a possibly compressed name to the pool as ``dns_name``; return ``(offset behind it, status)``.

    A pointer must lead to an earlier place than the one it was found at or was led to, so the walk ends.
    """
    start = rows.state[1]
    used = start
    room = rows.pool.size
    behind = -1
    earliest = at
    length = 1
    while True:
        if at >= end:
            return end, cut(at + 1, wire_end)
        label = load8(data, at)
        if label == 0:
            break
        if label & POINTER == POINTER:
            if at + 2 > end:
                return end, cut(at + 2, wire_end)
            target = message + (load16(data, at) & 0x3FFF)
            if behind < 0:
                behind = at + 2
            if target >= earliest:
                return end, MALFORMED
            at = target
            earliest = target
            continue
        length += label + 1
        if label & POINTER or length > MAX_NAME:
            return end, MALFORMED
        if at + 1 + label > end:
            return end, cut(at + 1 + label, wire_end)
        if used > start and used < room:
            rows.pool[used] = DOT
            used += 1
        for position in range(at + 1, at + 1 + min(label, room - used)):
            rows.pool[used] = lower(data[position])
            used += 1
        at += 1 + label
    rows.u4[DNS_NAME, row] = start
    rows.u4[DNS_NAME + 1, row] = used - start
    rows.state[1] = used
    return max(behind, at + 1) if behind < 0 else behind, OK


@inner
def read_message(data, at, end, wire_end, rows, row):
    """Read a DNS message; return ``(presence bits, status)``."""
    if at + DNS_HEADER > end:
        return 0, cut(at + DNS_HEADER, wire_end)
    flags = load16(data, at + 2)
    rows.u2[DNS_ID, row] = load16(data, at)
    rows.u1[DNS_RESPONSE, row] = flags >> 15
    present = HAS_DNS
    if flags >> 15:
        rows.u2[DNS_RCODE, row] = flags & 0x0F
        present |= HAS_RCODE
    if load16(data, at + 4) == 0:
        return present, OK
    pool_used = rows.state[1]
    behind, status = read_name(data, at, at + DNS_HEADER, end, wire_end, rows, row)
    if status != OK:
        return present, status
    if behind + 4 > end:
        rows.state[1] = pool_used
        return present, cut(behind + 4, wire_end)
    rows.u2[DNS_TYPE, row] = load16(data, behind)
    return present | HAS_QUESTION, OK


@inner
def dns_application(source_port, destination_port):
    """Return which of the DNS family a pair of ports belongs to, if any."""
    if source_port == DNS_PORT or destination_port == DNS_PORT:
        return APP_DNS
    if source_port == MDNS_PORT or destination_port == MDNS_PORT:
        return APP_MDNS
    if source_port == LLMNR_PORT or destination_port == LLMNR_PORT:
        return APP_LLMNR
    return APP_NONE


@inner
def starts_message(data, at, end):
    """Tell whether a TCP segment starts with a DNS message: a known operation, one question or none."""
    return (
        at + 2 + DNS_HEADER <= end
        and load16(data, at) >= DNS_HEADER
        and load8(data, at + 4) & 0x78 <= 0x30
        and load8(data, at + 5) & 0x40 == 0
        and load16(data, at + 6) <= 1
    )


@inner
def read_dns_tcp(data, at, end, wire_end, rows, row):
    """Read the message a TCP segment starts with; return ``(presence bits, status)``."""
    message = at + 2
    # The rest of a longer message is in later segments: what is missing here is not damage.
    return read_message(data, message, end, max(wire_end, message + load16(data, at)), rows, row)
