"""DNS queries and their answers: how long an answer took, and which queries got none."""

from __future__ import annotations

# mypy: ignore-errors
# (Numba types kernels when it compiles them.)
from streamgauge.decode.accelerate import inner
from streamgauge.decode.load_kernels import signed
from streamgauge.flows.key_kernels import find_entry, hash_of, insert_entry, make_key, remove_entry, time_of
from streamgauge.flows.layout import (
    COPIED_U1,
    COPIED_U2,
    COPIED_U4,
    COPIED_U8,
    NAME_BYTES,
    NAME_LENGTH,
    QUERIES_EVICTED,
    QUERY_COPIES,
    QUERY_DUE,
    QUERY_FIRST,
    QUERY_LAST,
    QUERY_PRESENT,
    QUERY_STATE,
    QUERY_TIME,
    SETTLED,
    UNANSWERED,
    WAITING,
)
from streamgauge.schema import SLOTS, DecodeStatus, Present, TrafficClass

HAS_QUESTION, HAS_LATENCY = int(Present.DNS_QUESTION), int(Present.DNS_LATENCY)
HAS_UNANSWERED = int(Present.DNS_UNANSWERED)
#: What the row of an unanswered query repeats of the query's.
KEPT = int(
    Present.ETHERNET
    | Present.ETH_TYPE
    | Present.VLAN
    | Present.IP
    | Present.TUNNEL_ID
    | Present.PORTS
    | Present.APP
    | Present.DNS
    | Present.DNS_QUESTION
)

TIME, DURATION, PACKETS, BYTES = SLOTS["time"], SLOTS["duration"], SLOTS["packets"], SLOTS["bytes"]
CAPTURED_BYTES, PAYLOAD_BYTES, PRESENT = SLOTS["captured_bytes"], SLOTS["payload_bytes"], SLOTS["present"]
TRAFFIC_CLASS, DECODE_STATUS = SLOTS["traffic_class"], SLOTS["decode_status"]
DNS_ID, DNS_RESPONSE, DNS_NAME = SLOTS["dns_id"], SLOTS["dns_response"], SLOTS["dns_name"]
DNS_LATENCY, DNS_UNANSWERED = SLOTS["dns_latency"], SLOTS["dns_unanswered"]

CLASS_DNS, OK = int(TrafficClass.DNS), int(DecodeStatus.OK)


@inner
def track_message(rows, row, table):
    """Take note of a DNS message; return the presence bit of the latency if it answers a query."""
    make_key(rows, row, signed(rows.u2[DNS_ID, row]), table.salt[0], table.key)
    hashed = hash_of(table.key)
    query = find_entry(table.query_index, table.query_wide, table.key, hashed)
    if rows.u1[DNS_RESPONSE, row] == 0:
        # One that is repeated counts from when it was first asked; one without a question asks nothing.
        if query < 0 and signed(rows.u8[PRESENT, row]) & HAS_QUESTION:
            keep_query(rows, row, table, hashed)
        return 0
    if query < 0:
        return 0
    remove_entry(table.query_index, table.query_wide, query)
    table.query_wide[query, QUERY_STATE] = SETTLED
    took = time_of(rows, row) - signed(table.query_wide[query, QUERY_TIME])
    if took < 0:
        return 0
    rows.u8[DNS_LATENCY, row] = took
    return HAS_LATENCY


@inner
def make_room(table):
    """Give up the oldest query, counted, where all places are taken."""
    counts, capacity = table.counts, len(table.query_wide)
    if counts[QUERY_LAST] - counts[QUERY_FIRST] < capacity:
        return
    oldest = counts[QUERY_FIRST] % capacity
    state = table.query_wide[oldest, QUERY_STATE]
    if state == WAITING:
        remove_entry(table.query_index, table.query_wide, oldest)
    if state != SETTLED:
        counts[QUERIES_EVICTED] += 1
    counts[QUERY_FIRST] += 1
    counts[QUERY_DUE] = max(counts[QUERY_DUE], counts[QUERY_FIRST])


@inner
def keep_query(rows, row, table, hashed):
    """Remember a query, with what its report will say."""
    make_room(table)
    query = table.counts[QUERY_LAST] % len(table.query_wide)
    table.counts[QUERY_LAST] += 1
    kept = table.query_wide[query]
    insert_entry(table.query_index, table.query_wide, table.key, hashed, query)
    kept[QUERY_TIME] = time_of(rows, row)
    kept[QUERY_PRESENT] = signed(rows.u8[PRESENT, row]) & KEPT
    kept[QUERY_STATE] = WAITING
    at = QUERY_COPIES
    for slot in COPIED_U8:
        kept[at] = rows.u8[slot, row]
        at += 1
    for slot in COPIED_U4:
        kept[at] = rows.u4[slot, row]
        at += 1
    for slot in COPIED_U2:
        kept[at] = rows.u2[slot, row]
        at += 1
    for slot in COPIED_U1:
        kept[at] = rows.u1[slot, row]
        at += 1
    length, start = min(signed(rows.u4[DNS_NAME + 1, row]), NAME_BYTES), signed(rows.u4[DNS_NAME, row])
    for position in range(length):
        table.query_names[query, position] = rows.pool[start + position]
    kept[NAME_LENGTH] = length


@inner
def give_up(table, now, timeout):
    """Give up the queries that are older than the timeout: an answer after that answers nothing."""
    counts, capacity = table.counts, len(table.query_wide)
    while counts[QUERY_DUE] < counts[QUERY_LAST]:
        query = counts[QUERY_DUE] % capacity
        if table.query_wide[query, QUERY_STATE] == WAITING:
            if signed(table.query_wide[query, QUERY_TIME]) + timeout > now:
                return
            remove_entry(table.query_index, table.query_wide, query)
            table.query_wide[query, QUERY_STATE] = UNANSWERED
        counts[QUERY_DUE] += 1


@inner
def write_report(rows, row, table, query, timeout):
    """Write the row of an unanswered query: nothing that a packet is counted by, all that tells which query it was."""
    kept = table.query_wide[query]
    at = QUERY_COPIES
    for slot in COPIED_U8:
        rows.u8[slot, row] = kept[at]
        at += 1
    for slot in COPIED_U4:
        rows.u4[slot, row] = kept[at]
        at += 1
    for slot in COPIED_U2:
        rows.u2[slot, row] = kept[at]
        at += 1
    for slot in COPIED_U1:
        rows.u1[slot, row] = kept[at]
        at += 1
    used, length = rows.state[1], signed(kept[NAME_LENGTH])
    for position in range(length):
        rows.pool[used + position] = table.query_names[query, position]
    rows.u4[DNS_NAME, row] = used
    rows.u4[DNS_NAME + 1, row] = length
    rows.state[1] = used + length
    rows.u8[TIME, row] = signed(kept[QUERY_TIME]) + timeout
    rows.u4[PACKETS, row] = 0
    for slot in (DURATION, BYTES, CAPTURED_BYTES, PAYLOAD_BYTES):
        rows.u8[slot, row] = 0
    rows.u1[DNS_UNANSWERED, row] = 1
    rows.u1[TRAFFIC_CLASS, row] = CLASS_DNS
    rows.u1[DECODE_STATUS, row] = OK
    rows.u8[PRESENT, row] = signed(kept[QUERY_PRESENT]) | HAS_UNANSWERED
