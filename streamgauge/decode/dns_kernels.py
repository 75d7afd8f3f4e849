"""DNS (RFC 1035; TCP: RFC 7766), multicast DNS (RFC 6762), LLMNR (RFC 4795): header, first question, OPT record."""

from __future__ import annotations

# mypy: ignore-errors
# (Numba types kernels when it compiles them.)
import numpy as np

from streamgauge.decode.accelerate import inner
from streamgauge.decode.link_words import MALFORMED, OK, cut
from streamgauge.decode.load_kernels import load8, load16
from streamgauge.decode.text_kernels import lower, put_readable
from streamgauge.protocols import App
from streamgauge.schema import SLOTS, Present

DNS_PORT, MDNS_PORT, LLMNR_PORT = 53, 5353, 5355

DNS_HEADER = 12
#: Longest name on the wire, length bytes included (RFC 1035, 2.3.4).
MAX_NAME = 255
POINTER = 0xC0
#: Extended labels have no meaning any more (RFC 6891, section 5), bit strings (RFC 2673) had one. A name with one is
#: shown by these words, as tshark does, and what follows is read as the question's type.
EXTENDED, BIT_STRING = 0x40, 0x41
UNKNOWN_LABEL = np.frombuffer(b"<unknown extended label>", np.uint8)
UNKNOWN_NAME = -1

#: Type, class, time to live and data length of a record.
RECORD = 10
OPT = 41
#: Records that are walked at most in search of OPT.
MAX_RECORDS = 256

#: Limits of what a message on a port of its own may count and still be taken for DNS.
MAX_ANSWERS, MAX_OTHERS = 512, 10
DOT = 0x2E

APP_NONE, APP_DNS, APP_MDNS, APP_LLMNR = int(App.UNKNOWN), int(App.DNS), int(App.MDNS), int(App.LLMNR)
HAS_DNS, HAS_QUESTION, HAS_RCODE = int(Present.DNS), int(Present.DNS_QUESTION), int(Present.DNS_RCODE)

DNS_ID, DNS_RESPONSE, DNS_NAME = SLOTS["dns_id"], SLOTS["dns_response"], SLOTS["dns_name"]
DNS_TYPE, DNS_RCODE, DNS_ANSWERS = SLOTS["dns_type"], SLOTS["dns_rcode"], SLOTS["dns_answers"]


@inner
def keep_unknown(rows, row, start):
    """Write the words for a name that holds a label of a type without a meaning."""
    for position in range(min(len(UNKNOWN_LABEL), rows.pool.size - start)):
        rows.pool[start + position] = UNKNOWN_LABEL[position]
    rows.u4[DNS_NAME, row] = start
    rows.u4[DNS_NAME + 1, row] = min(len(UNKNOWN_LABEL), rows.pool.size - start)
    rows.state[1] = start + rows.u4[DNS_NAME + 1, row]


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
        if label & POINTER == EXTENDED and label != BIT_STRING:
            keep_unknown(rows, row, start)
            return (at + 1 if behind < 0 else behind), UNKNOWN_NAME
        length += label + 1
        if label & POINTER or length > MAX_NAME:
            return end, MALFORMED
        if at + 1 + label > end:
            return end, cut(at + 1 + label, wire_end)
        if used > start and used < room:
            rows.pool[used] = DOT
            used += 1
        for position in range(at + 1, at + 1 + label):
            used = put_readable(rows.pool, used, lower(data[position]))
        at += 1 + label
    rows.u4[DNS_NAME, row] = start
    rows.u4[DNS_NAME + 1, row] = used - start
    rows.state[1] = used
    return (at + 1 if behind < 0 else behind), OK


@inner
def skip_name(data, at, end):
    """Return the offset behind a name in a record, ``end`` if it is not whole."""
    while at < end:
        label = load8(data, at)
        if label == 0:
            return at + 1
        if label & POINTER:
            return min(at + 2, end)
        at += 1 + label
    return end


@inner
def extended_code(data, at, end, records):
    """Look for an OPT record (RFC 6891, 6.1.3) among ``records``; return the upper bits of the response code."""
    for _ in range(min(records, MAX_RECORDS)):
        at = skip_name(data, at, end)
        if at + RECORD > end:
            return 0
        if load16(data, at) == OPT:
            return load8(data, at + 4) << 4
        at += RECORD + load16(data, at + 8)
    return 0


@inner
def read_message(data, at, end, wire_end, rows, row):
    """Read a DNS message; return ``(presence bits, status)``."""
    if at + DNS_HEADER > end:
        return 0, cut(at + DNS_HEADER, wire_end)
    flags = load16(data, at + 2)
    answers = load16(data, at + 6)
    rows.u2[DNS_ID, row] = load16(data, at)
    rows.u1[DNS_RESPONSE, row] = flags >> 15
    rows.u2[DNS_ANSWERS, row] = answers
    present = HAS_DNS
    if flags >> 15:
        rows.u2[DNS_RCODE, row] = flags & 0x0F
        present |= HAS_RCODE
    additional = load16(data, at + 10)
    records = answers + load16(data, at + 8) + additional
    behind = at + DNS_HEADER
    questions = load16(data, at + 4)
    if questions:
        pool_used = rows.state[1]
        behind, status = read_name(data, at, behind, end, wire_end, rows, row)
        if status != OK and status != UNKNOWN_NAME:
            return present, status
        if behind + 4 > end:
            rows.state[1] = pool_used
            return present, cut(behind + 4, wire_end)
        rows.u2[DNS_TYPE, row] = load16(data, behind)
        present |= HAS_QUESTION
        if status == UNKNOWN_NAME:
            return present, MALFORMED
        behind += 4
    if flags >> 15 and additional and questions <= 1:
        rows.u2[DNS_RCODE, row] |= extended_code(data, behind, end, records)
    return present, OK


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
def is_dns(data, at, end):
    """Tell by its content whether a UDP datagram on any port is DNS: a standard query, or a response to one."""
    if at + DNS_HEADER >= end:
        return False
    flags, questions, answers = load16(data, at + 2), load16(data, at + 4), load16(data, at + 6)
    authorities, additional = load16(data, at + 8), load16(data, at + 10)
    if flags & 0x7800 or additional > MAX_OTHERS or authorities > MAX_OTHERS:
        return False
    if flags >> 15:
        return questions <= 1 and answers <= MAX_ANSWERS
    return questions == 1 and answers == 0 and authorities == 0


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
