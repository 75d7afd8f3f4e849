"""What becomes of each column when rows of one flow and window become one: the table, and its form for the kernel."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from streamgauge import schema
from streamgauge.schema import BY_NAME, SLOTS, Present

if TYPE_CHECKING:
    from collections.abc import Iterable


class Rule(Enum):
    """How two values of a column become one. Where one row has no value, the other's stands."""

    #: Rows that differ here are not merged.
    KEY = auto()
    #: The value of the earlier row that has one.
    FIRST = auto()
    SUM = auto()
    #: The smallest: of what is measured, the best case stays a measurement.
    LEAST = auto()
    #: Bits that either row has; of truths, whether it was so once.
    ANY = auto()
    #: Only a row of one packet has it.
    SINGLE = auto()
    #: ``time`` and ``duration`` together: from the earliest packet to the latest.
    SPAN = auto()


#: Columns that are not named here keep their first value.
RULES: Final[dict[str, Rule]] = {
    "time": Rule.SPAN,
    "duration": Rule.SPAN,
    **dict.fromkeys(("packets", "bytes", "captured_bytes", "payload_bytes"), Rule.SUM),
    # One direction of one flow on one link; frames without IP by their hardware addresses.
    **dict.fromkeys(("src_mac", "dst_mac", "eth_type", "vlan"), Rule.KEY),
    **dict.fromkeys(("ip_version", "src_ip", "dst_ip", "ip_protocol"), Rule.KEY),
    **dict.fromkeys(("tunnel", "tunnel_id", "outer_src_ip", "outer_dst_ip"), Rule.KEY),
    **dict.fromkeys(("src_port", "dst_port", "icmp_type", "icmp_code", "arp_opcode"), Rule.KEY),
    # Each DNS message stays a row of its own kind: a name, a code or a latency belongs to one transaction.
    **dict.fromkeys(("app", "dns_id", "dns_response"), Rule.KEY),
    # So that damaged packets can still be counted.
    "decode_status": Rule.KEY,
    "frame": Rule.SINGLE,
    **dict.fromkeys(("ttl", "tcp_window", "tcp_rtt", "tcp_handshake", "dns_latency"), Rule.LEAST),
    **dict.fromkeys(("tcp_flags", "fragment", "retransmission", "out_of_order", "zero_window"), Rule.ANY),
}

#: The rule of the traffic class, which is no column: it says on which subject a row goes.
_HIDDEN_KEYS: Final = ("traffic_class",)


def rule(name: str) -> Rule:
    """Return the rule of a column."""
    return RULES.get(name, Rule.FIRST)


class Slots(NamedTuple):
    """Lines of a buffer with the presence bit that guards each (0: always present)."""

    slots: npt.NDArray[np.int64]
    bits: npt.NDArray[np.int64]


def slots(width: str, *rules: Rule) -> Slots:
    """Return the lines of a buffer (``u8``, …) that hold columns with one of these rules."""
    found = list(_lines(width, rules))
    if Rule.KEY in rules:
        found += [(SLOTS[name], 0) for name in _HIDDEN_KEYS if schema.width(name) == width]
    return Slots(np.array([slot for slot, _ in found], np.int64), np.array([bit for _, bit in found], np.int64))


def _lines(width: str, rules: Iterable[Rule]) -> Iterable[tuple[int, int]]:
    for name, column in BY_NAME.items():
        if rule(name) in rules and schema.width(name) == width:
            for slot in range(SLOTS[name], SLOTS[name] + schema.slot_count(name)):
                yield slot, int(column.present or 0)


def text_slots() -> Slots:
    """Return the first lines of the columns whose values lie in the pool."""
    texts = [column for column in schema.COLUMNS if column.kind in (schema.Kind.TEXT, schema.Kind.BYTES)]
    return Slots(
        np.array([SLOTS[column.name] for column in texts], np.int64),
        np.array([int(column.present or 0) for column in texts], np.int64),
    )


def key_bits() -> int:
    """Return the presence bits that rows must have in common: those of the columns of the key."""
    bits = Present(0)
    for name, column in BY_NAME.items():
        if rule(name) is Rule.KEY and column.present is not None:
            bits |= column.present
    return int(bits)
