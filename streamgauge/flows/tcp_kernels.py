"""TCP connections: round trips, handshakes, retransmissions, order.

One segment a direction is timed at once, as in BSD's stack: at least one measurement each round trip (RFC 6298, 3).
Karn's rule: nothing is measured by a segment that was sent again, or that waited behind one that was.
"""

from __future__ import annotations

# mypy: ignore-errors
# (Numba types kernels when it compiles them.)
from streamgauge.decode.accelerate import hot, inner
from streamgauge.decode.load_kernels import signed
from streamgauge.flows.key_kernels import find_entry, insert_entry, remove_entry, time_of
from streamgauge.flows.layout import (
    ANSWERED,
    BEGUN,
    COMPLETE,
    EVICTED,
    GAP_END,
    GAP_START,
    HAND,
    INITIAL,
    JUMPED_AT,
    KNOWN,
    NARROW_COLUMNS,
    NEXT,
    OPENED,
    REFERENCED,
    STATE,
    SYN_SEEN,
    SYN_SIDE,
    TIMED,
    TIMED_AT,
    TIMED_END,
    USED,
)
from streamgauge.schema import SLOTS, Present

FIN, SYN, RST, ACK = 1, 2, 4, 16

#: How late a skipped segment may come and still count as out of order before the handshake has told the round trip
#: time; the same as in Wireshark.
REORDERING_NS = 3_000_000
#: Connections the hand passes before it takes one that was used of late: bounds the time of one packet.
LONGEST_SEARCH = 64

HAS_TCP_HEALTH, HAS_TCP_RTT = int(Present.TCP_HEALTH), int(Present.TCP_RTT)
HAS_TCP_HANDSHAKE = int(Present.TCP_HANDSHAKE)

PAYLOAD_BYTES = SLOTS["payload_bytes"]
TCP_FLAGS, TCP_SEQ, TCP_ACK, TCP_WINDOW = SLOTS["tcp_flags"], SLOTS["tcp_seq"], SLOTS["tcp_ack"], SLOTS["tcp_window"]
TCP_RTT, TCP_HANDSHAKE = SLOTS["tcp_rtt"], SLOTS["tcp_handshake"]
RETRANSMISSION, OUT_OF_ORDER, ZERO_WINDOW = SLOTS["retransmission"], SLOTS["out_of_order"], SLOTS["zero_window"]

IN_ORDER, EARLIER, SENT_AGAIN = 0, 1, 2


@hot
def ahead(a, b):
    """Return how far one sequence number is ahead of another; negative if it is behind (RFC 9293, 3.4)."""
    return ((a - b + 0x8000_0000) & 0xFFFF_FFFF) - 0x8000_0000


@inner
def free_entry(table):
    """Return the number of an entry to use: a new one, or by second chance one that was not used of late."""
    counts, capacity = table.counts, len(table.narrow)
    if counts[USED] < capacity:
        counts[USED] += 1
        return counts[USED] - 1
    entry = counts[HAND]
    for _ in range(LONGEST_SEARCH):
        if signed(table.narrow[entry, STATE]) & REFERENCED == 0:
            break
        table.narrow[entry, STATE] = signed(table.narrow[entry, STATE]) & ~REFERENCED
        entry = (entry + 1) % capacity
    counts[HAND] = (entry + 1) % capacity
    counts[EVICTED] += 1
    remove_entry(table.directory, table.wide, entry)
    return entry


@hot
def connection_of(table, key, hashed):
    """Return the entry of a connection, made if it is new."""
    entry = find_entry(table.directory, table.wide, key, hashed)
    if entry < 0:
        entry = free_entry(table)
        insert_entry(table.directory, table.wide, key, hashed, entry)
        for column in range(NARROW_COLUMNS):
            table.narrow[entry, column] = 0
    return entry


@hot
def forget_side(table, entry, side, state):
    """Return the state without what is known of one direction."""
    table.narrow[entry, GAP_START + side] = 0
    table.narrow[entry, GAP_END + side] = 0
    return state & ~((KNOWN | TIMED | BEGUN) << side)


@hot
def begin(table, entry, side, state, flags, seq, now):
    """Take note of a SYN; one with another initial sequence number begins a new connection under the same ports."""
    narrow = table.narrow
    seen = (KNOWN | BEGUN) << side
    if state & seen == seen and signed(narrow[entry, INITIAL + side]) == seq:
        return state
    narrow[entry, INITIAL + side] = seq
    if flags & ACK == 0:
        state = forget_side(table, entry, 1 - side, forget_side(table, entry, side, state))
        table.wide[entry, OPENED] = now
        return (state & ~(ANSWERED | COMPLETE | SYN_SIDE)) | SYN_SEEN | (SYN_SIDE * side) | (BEGUN << side)
    opener = signed(state & SYN_SIDE != 0)
    if state & (SYN_SEEN | COMPLETE) == SYN_SEEN and opener != side:
        state |= ANSWERED
    return forget_side(table, entry, side, state) | (BEGUN << side)


@hot
def acknowledge(rows, row, table, entry, side, state, flags, now):
    """Take note of an acknowledgement; return the state and the presence bits of what it completes."""
    narrow, wide, other, present = table.narrow, table.wide, 1 - side, 0
    ack = signed(rows.u4[TCP_ACK, row])
    if state & (TIMED << other) and ahead(ack, signed(narrow[entry, TIMED_END + other])) >= 0:
        state &= ~(TIMED << other)
        took = now - signed(wide[entry, TIMED_AT + other])
        if took >= 0:
            rows.u8[TCP_RTT, row] = took
            present |= HAS_TCP_RTT
    opener = signed(state & SYN_SIDE != 0)
    if (
        state & (ANSWERED | COMPLETE) == ANSWERED
        and opener == side
        and flags & SYN == 0
        and ahead(ack, signed(narrow[entry, INITIAL + other])) > 0
    ):
        state |= COMPLETE
        took = max(now - signed(wide[entry, OPENED]), 0)
        wide[entry, OPENED] = took
        rows.u8[TCP_HANDSHAKE, row] = took
        present |= HAS_TCP_HANDSHAKE
    return state, present


@inner
def behind(table, entry, side, state, seq, end, now):
    """Return the state, and why a segment begins before the highest sequence number: it is late, or sent again."""
    narrow, wide = table.narrow, table.wide
    gap_start, gap_end = signed(narrow[entry, GAP_START + side]), signed(narrow[entry, GAP_END + side])
    verdict = SENT_AGAIN
    if gap_start != gap_end and ahead(seq, gap_start) >= 0 and ahead(end, gap_end) <= 0:
        patience = REORDERING_NS
        if state & COMPLETE:
            patience = signed(wide[entry, OPENED])
        if now - signed(wide[entry, JUMPED_AT + side]) <= patience:
            verdict = EARLIER
        if end == gap_end and seq != gap_start:
            narrow[entry, GAP_END + side] = seq
        else:
            narrow[entry, GAP_START + side] = end
    if state & (TIMED << side) and ahead(seq, signed(narrow[entry, TIMED_END + side])) < 0:
        state &= ~(TIMED << side)
    return state, verdict


@hot
def advance(table, entry, side, state, seq, length, probe, now):
    """Take note of sequence numbers sent; return the state and IN_ORDER, EARLIER or SENT_AGAIN."""
    narrow, wide = table.narrow, table.wide
    end = (seq + length) & 0xFFFF_FFFF
    verdict = IN_ORDER
    if state & (KNOWN << side):
        following = signed(narrow[entry, NEXT + side])
        step = ahead(seq, following)
        if step < 0:
            if step == -1 and probe:
                return state, IN_ORDER
            state, verdict = behind(table, entry, side, state, seq, end, now)
            if ahead(end, following) > 0:
                narrow[entry, NEXT + side] = end
            return state, verdict
        if step > 0:
            if narrow[entry, GAP_START + side] == narrow[entry, GAP_END + side]:
                narrow[entry, GAP_START + side] = following
            narrow[entry, GAP_END + side] = seq
            wide[entry, JUMPED_AT + side] = now
    narrow[entry, NEXT + side] = end
    if state & (TIMED << side) == 0:
        state |= TIMED << side
        narrow[entry, TIMED_END + side] = end
        wide[entry, TIMED_AT + side] = now
    return state | (KNOWN << side), verdict


@hot
def track_segment(rows, row, table, key, hashed, side):
    """Fill the columns of a TCP row that its connection tells; return their presence bits."""
    entry = connection_of(table, key, hashed)
    flags, seq = signed(rows.u1[TCP_FLAGS, row]), signed(rows.u4[TCP_SEQ, row])
    payload, now = signed(rows.u8[PAYLOAD_BYTES, row]), time_of(rows, row)
    state, present, verdict = signed(table.narrow[entry, STATE]), 0, IN_ORDER
    if flags & RST == 0:
        if flags & SYN:
            state = begin(table, entry, side, state, flags, seq, now)
        if flags & ACK:
            state, present = acknowledge(rows, row, table, entry, side, state, flags, now)
        length = payload + signed(flags & SYN != 0) + signed(flags & FIN != 0)
        if length > 0:
            probe = payload <= 1 and flags & (SYN | FIN) == 0  # keep-alive, RFC 9293, 3.8.4
            state, verdict = advance(table, entry, side, state, seq, length, probe, now)
    table.narrow[entry, STATE] = state | REFERENCED
    rows.u1[RETRANSMISSION, row] = verdict == SENT_AGAIN
    rows.u1[OUT_OF_ORDER, row] = verdict == EARLIER
    rows.u1[ZERO_WINDOW, row] = rows.u2[TCP_WINDOW, row] == 0 and flags & (SYN | FIN | RST) == 0
    return present | HAS_TCP_HEALTH
