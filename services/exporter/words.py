"""The words that stand in labels, and the tables that turn numbers of the record into positions among them.

Every list is closed: traffic can choose a number, never a word, so the count of label values has a bound by
construction.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from streamgauge import schema
from streamgauge.protocols import App

if TYPE_CHECKING:
    import numpy.typing as npt

#: What is known to exist and not known closer.
UNKNOWN: Final = "__unknown__"
#: Everything beyond the series budget.
OTHER: Final = "__other__"
#: Batches the exporter skipped because it lagged: counted by their headers, which tell packets and bytes only.
SKIPPED: Final = "__skipped__"

PROTOCOLS: Final = ("other", "tcp", "udp", "icmp", "icmpv6", "sctp", "arp")
PROTOCOL_ARP: Final = PROTOCOLS.index("arp")
_PROTOCOL_NUMBERS: Final = {6: "tcp", 17: "udp", 1: "icmp", 58: "icmpv6", 132: "sctp"}

#: Seen from the networks that are called inside (networks.py).
DIRECTIONS: Final = (UNKNOWN, "internal", "egress", "ingress", "transit")

#: Position n is bit n of the column; the last is SYN and ACK together, and SYN stands for SYN without ACK, as in
#: Hubble.
FLAGS: Final = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR", "SYN-ACK")

#: Names of the column ``app``; a word a newer collector knows and we do not is ``other``.
APPS: Final = (UNKNOWN, *(app.name.lower() for app in App if app), "other")

STATUSES: Final = tuple(status.name.lower() for status in schema.DecodeStatus)

_QTYPE_NAMES: Final = {
    1: "A",
    2: "NS",
    5: "CNAME",
    6: "SOA",
    12: "PTR",
    15: "MX",
    16: "TXT",
    28: "AAAA",
    33: "SRV",
    35: "NAPTR",
    41: "OPT",
    43: "DS",
    46: "RRSIG",
    48: "DNSKEY",
    52: "TLSA",
    64: "SVCB",
    65: "HTTPS",
    252: "AXFR",
    255: "ANY",
    257: "CAA",
}
_RCODE_NAMES: Final = {
    0: "NOERROR",
    1: "FORMERR",
    2: "SERVFAIL",
    3: "NXDOMAIN",
    4: "NOTIMP",
    5: "REFUSED",
    6: "YXDOMAIN",
    7: "YXRRSET",
    8: "NXRRSET",
    9: "NOTAUTH",
    10: "NOTZONE",
    16: "BADVERS",
    23: "BADCOOKIE",
}

#: Type 0 is reserved, so it stands for a message without a question.
NO_QTYPE: Final = 0
#: No response code has this number, so it stands for a response whose code was cut off.
NO_RCODE: Final = 0xFFFF

QTYPES: Final = (UNKNOWN, "other", *_QTYPE_NAMES.values())
#: Types that every node is asked for.
BEGUN_QTYPES: Final = ("A", "AAAA")
RCODES: Final = (UNKNOWN, "other", *_RCODE_NAMES.values())

#: Upper bounds of the packet-size histogram in bytes: RFC 2819's steps, then jumbo frames and segments that the card
#: merged.
SIZE_BUCKETS: Final = (64, 128, 256, 512, 1024, 1280, 1518, 4096, 9216, 16384, 65536)


def _positions(names: dict[int, str], words: tuple[str, ...], none: int) -> npt.NDArray[np.uint8]:
    table = np.full(1 << 16, words.index("other"), np.uint8)
    for number, name in names.items():
        table[number] = words.index(name)
    table[none] = words.index(UNKNOWN)
    return table


def protocol_positions() -> npt.NDArray[np.uint8]:
    """Return the position in ``PROTOCOLS`` by IP protocol number."""
    table = np.full(256, PROTOCOLS.index("other"), np.uint8)
    for number, name in _PROTOCOL_NUMBERS.items():
        table[number] = PROTOCOLS.index(name)
    return table


def qtype_positions() -> npt.NDArray[np.uint8]:
    """Return the position in ``QTYPES`` by DNS type."""
    return _positions(_QTYPE_NAMES, QTYPES, NO_QTYPE)


def rcode_positions() -> npt.NDArray[np.uint8]:
    """Return the position in ``RCODES`` by DNS response code."""
    return _positions(_RCODE_NAMES, RCODES, NO_RCODE)


@lru_cache(maxsize=64)
def app_positions(words: tuple[str, ...]) -> npt.NDArray[np.uint8]:
    """Return the position in ``APPS`` by code of a sender's dictionary, which may know more words than we do."""
    known = {name: position for position, name in enumerate(APPS)}
    known["unknown"] = 0
    return np.array([known.get(word, known["other"]) for word in words] or [0], np.uint8)


@lru_cache(maxsize=64)
def status_positions(words: tuple[str, ...]) -> npt.NDArray[np.uint8]:
    """Return the position in ``STATUSES`` by code of a sender's dictionary; a word we do not know is unsupported."""
    known = {name: position for position, name in enumerate(STATUSES)}
    return np.array([known.get(word, known["unsupported"]) for word in words] or [0], np.uint8)
