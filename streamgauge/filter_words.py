"""The single tests of a display filter: words, qualified values, comparisons of a column."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from streamgauge import schema, subjects, text
from streamgauge.schema import Kind, TrafficClass
from streamgauge.spelling import closest

Mask = Callable[[pa.RecordBatch], pa.Array]

_ALL: Final = frozenset(TrafficClass)


@dataclass(frozen=True, slots=True)
class Test:
    """One test, or several joined: which rows match, and in which classes and of which node they can be."""

    mask: Mask
    classes: frozenset[TrafficClass] = _ALL
    node: str | None = None

    def both(self, other: Test) -> Test:
        """Return the test that both must pass."""
        return Test(
            lambda batch: pc.and_(self.mask(batch), other.mask(batch)),
            self.classes & other.classes,
            self.node or other.node,
        )

    def either(self, other: Test) -> Test:
        """Return the test that one of them must pass."""
        return Test(
            lambda batch: pc.or_(self.mask(batch), other.mask(batch)),
            self.classes | other.classes,
            self.node if self.node == other.node else None,
        )

    def negated(self) -> Test:
        """Return the test that takes the other rows."""
        return Test(lambda batch: pc.invert(self.mask(batch)))


def _any_of(*masks: Mask) -> Mask:
    return lambda batch: reduce(pc.or_, [mask(batch) for mask in masks])


def _values(batch: pa.RecordBatch, name: str) -> pa.Array:
    """Return a column; words and the origin as plain text."""
    if name in schema.ORIGIN_COLUMNS:
        origin = (batch.schema.metadata or {}).get(f"streamgauge.{name}".encode(), b"").decode()
        return pa.repeat(origin, len(batch))
    column = batch.column(name)
    return column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column


def _sure(mask: pa.Array) -> pa.Array:
    """Return a mask in which a row without the value does not match."""
    return mask.fill_null(False)


def _one_of(name: str, *values: Any) -> Mask:
    """Return the test that a column has one of some values."""

    def mask(batch: pa.RecordBatch) -> pa.Array:
        column = _values(batch, name)
        return _sure(pc.is_in(column, pa.array(values, column.type)))

    return mask


def _among(name: str, accepted: Callable[[Any], bool]) -> Mask:
    """Return the test that Python accepts a column's value; asked once for each value that occurs."""

    def mask(batch: pa.RecordBatch) -> pa.Array:
        encoded = _values(batch, name).dictionary_encode()
        verdicts = pa.array([accepted(value) for value in encoded.dictionary.to_pylist()], pa.bool_())
        return _sure(verdicts.take(encoded.indices))

    return mask


# --- Words ------------------------------------------------------------------------------------------------------

_TCP: Final = frozenset({TrafficClass.TCP, TrafficClass.DNS, TrafficClass.TLS, TrafficClass.HTTP})
_UDP: Final = frozenset({TrafficClass.UDP, TrafficClass.DNS, TrafficClass.QUIC})

WORDS: Final[dict[str, Test]] = {
    "tcp": Test(_one_of("ip_protocol", 6), _TCP),
    "udp": Test(_one_of("ip_protocol", 17), _UDP),
    "icmp": Test(_one_of("ip_protocol", 1, 58), frozenset({TrafficClass.ICMP})),
    "arp": Test(_one_of("eth_type", 0x0806), frozenset({TrafficClass.ARP, TrafficClass.OTHER})),
    "ip": Test(_one_of("ip_version", 4)),
    "ip6": Test(_one_of("ip_version", 6)),
    "dns": Test(_one_of("app", "dns", "mdns", "llmnr"), frozenset({TrafficClass.DNS})),
    "mdns": Test(_one_of("app", "mdns"), frozenset({TrafficClass.DNS})),
    "llmnr": Test(_one_of("app", "llmnr"), frozenset({TrafficClass.DNS})),
    "tls": Test(_one_of("app", "tls"), frozenset({TrafficClass.TLS})),
    "http": Test(_one_of("app", "http"), frozenset({TrafficClass.HTTP})),
    "quic": Test(_one_of("app", "quic"), frozenset({TrafficClass.QUIC})),
    "dhcp": Test(_one_of("app", "dhcp")),
    "ntp": Test(_one_of("app", "ntp")),
    "ssh": Test(_one_of("app", "ssh")),
    "fragment": Test(_one_of("fragment", True)),
    "damaged": Test(_among("decode_status", lambda status: status != "ok")),
}

#: Words that a value follows.
QUALIFIED: Final = ("host", "net", "port", "node", "interface", "vlan", "name")

OPERATORS: Final[dict[str, Callable[[Any, Any], pa.Array]]] = {
    "=": pc.equal,
    "==": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}


def word(name: str, side: str = "") -> Test:
    """Return the test of one word.

    Raises:
        ValueError: it is none.

    """
    if side:
        raise ValueError(f"{side!r} goes with host, net or port, not with {name!r}")
    test = WORDS.get(name.lower())
    if test is None:
        known = (*WORDS, *QUALIFIED, *schema.NAMES)
        close = closest(name, known)
        hint = f"did you mean {close!r}?" if close else f"words: {', '.join((*WORDS, *QUALIFIED))}"
        column = "; a column is compared, as in ttl < 5" if name in schema.NAMES else f"; {hint}"
        raise ValueError(f"{name!r} is no test{column}")
    return test


def qualified(name: str, value: str, side: str = "") -> Test:
    """Return the test of a word and its value, for one side of the packet (``src``, ``dst``) or any.

    Raises:
        ValueError: the value does not fit.

    """
    sides = (side,) if side else ("src", "dst")
    if name in ("host", "net"):
        network = _network(value)
        return Test(_any_of(*(_among(f"{each}_ip", network) for each in sides)))
    if name == "port":
        ports = _ports(value)
        return Test(_any_of(*(_among(f"{each}_port", ports.__contains__) for each in sides)))
    if side:
        raise ValueError(f"{side!r} goes with host, net or port, not with {name!r}")
    if name == "node":
        return Test(_one_of("node", value), node=subjects.node_token(value))
    if name == "interface":
        return Test(_one_of("interface", value))
    if name == "vlan":
        return Test(_one_of("vlan", _integer(value, 4095, "VLAN")))
    pattern = _pattern(value.lower())
    return Test(
        _any_of(
            *(
                _among(column, lambda name: bool(pattern(name.lower())))
                for column in ("dns_name", "tls_sni", "http_host")
            )
        )
    )


def comparison(name: str, operator: str, value: str) -> Test:
    """Return the test that compares a column with a value.

    Raises:
        ValueError: there is no such column, or the value or operator does not fit it.

    """
    if name in schema.ORIGIN_COLUMNS:
        kind = Kind.TEXT
    elif name in schema.BY_NAME:
        kind = schema.BY_NAME[name].kind
    else:
        close = closest(name, schema.NAMES)
        raise ValueError(f"{name!r} is no column" + (f"; did you mean {close!r}?" if close else ""))
    if kind in (Kind.TEXT, Kind.WORD, Kind.IP, Kind.MAC, Kind.BOOL):
        if operator not in ("=", "==", "!="):
            raise ValueError(f"{name} is compared with = or !=")
        accepted = _accepts(kind, name, value)
        if operator == "!=":
            return Test(_among(name, lambda found: not accepted(found)))
        return Test(_among(name, accepted))
    if kind is Kind.BYTES:
        raise ValueError(f"{name} cannot be compared")
    number = _integer(value, (1 << 63) - 1, name)
    compare = OPERATORS[operator]
    return Test(lambda batch: _sure(compare(_values(batch, name).cast(pa.int64()), pa.scalar(number, pa.int64()))))


def _accepts(kind: Kind, name: str, value: str) -> Callable[[Any], bool]:
    if kind is Kind.IP:
        return _network(value)
    if kind is Kind.MAC:
        try:
            packed = bytes.fromhex(value.replace(":", "").replace("-", ""))
        except ValueError:
            raise ValueError(f"{value!r} is no hardware address such as 02:00:5e:10:00:01") from None
        return packed.__eq__
    if kind is Kind.BOOL:
        if value not in ("true", "false"):
            raise ValueError(f"{name} is true or false, not {value!r}")
        return (value == "true").__eq__
    if kind is Kind.WORD and value not in schema.BY_NAME[name].words:
        raise ValueError(f"{name} is one of {', '.join(schema.BY_NAME[name].words)}, not {value!r}")
    return _pattern(value)


def _network(value: str) -> Callable[[bytes], bool]:
    try:
        network = ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise ValueError(f"{value!r} is no address or network such as 10.0.0.1, 10.0.0.0/8, fd00::/8") from None
    packed = int.from_bytes(text.address_bytes(str(network.network_address)), "big")
    free_bits = network.max_prefixlen - network.prefixlen
    return lambda address: int.from_bytes(address, "big") >> free_bits == packed >> free_bits


def _ports(value: str) -> range:
    first, dash, last = value.partition("-")
    return range(_integer(first, 65535, "port"), _integer(last if dash else first, 65535, "port") + 1)


def _integer(value: str, highest: int, what: str) -> int:
    try:
        number = int(value, 0)
    except ValueError:
        raise ValueError(f"{value!r} is no number for {what}") from None
    if not 0 <= number <= highest:
        raise ValueError(f"{what} is 0 to {highest}, not {value}")
    return number


def _pattern(value: str) -> Callable[[str], bool]:
    """Return whether a text equals the value, in which ``*`` stands for any letters."""
    compiled = re.compile(".*".join(re.escape(part) for part in value.split("*")), re.DOTALL)
    return lambda found: compiled.fullmatch(found) is not None
