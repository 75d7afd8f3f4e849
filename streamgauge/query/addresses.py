"""Networks in SQL. Addresses are text at rest (``10.0.0.1``, ``2001:db8::1``), so one address is a plain filter.

For networks an address becomes a number, of 32 bits or of 128: ``engines/duckdb.sql``.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

from streamgauge.errors import ConfigurationError
from streamgauge.inside import ALWAYS

if TYPE_CHECKING:
    from collections.abc import Iterable

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Of one group of an IPv6 address.
_GROUP_BITS: Final = 16


def networks(text: str) -> list[Network]:
    """Return comma-separated networks, and those that never leave a network.

    Raises:
        ConfigurationError: one of them is none.

    """
    found = []
    for name in (*filter(None, map(str.strip, text.split(","))), *ALWAYS):
        try:
            found.append(ipaddress.ip_network(name))
        except ValueError as error:
            raise ConfigurationError(f"{name!r} is no network such as 10.0.0.0/8: {error}") from error
    return found


def in_duckdb(text: str) -> str:
    """Return SQL of DuckDB that tells whether the address ``ip`` is inside."""
    # By its text where that is enough: to make a number of an address takes ten times as long. A CASE does not try
    # what stands behind the first that holds; an OR does.
    every = networks(text)
    four = _any(_four(network) for network in every if isinstance(network, ipaddress.IPv4Network))
    six = _any(_six(network) for network in every if isinstance(network, ipaddress.IPv6Network))
    return f"CASE WHEN contains(ip, ':') THEN {six} ELSE {four} END"


def _any(tests: Iterable[str]) -> str:
    return f"CASE {' '.join(f'WHEN {test} THEN TRUE' for test in tests)} ELSE FALSE END"


def _four(network: ipaddress.IPv4Network) -> str:
    whole, bits = divmod(network.prefixlen, 8)
    first, last = network.network_address.packed, network.broadcast_address.packed
    head = ".".join(map(str, first[:whole]))
    if whole == len(first):
        return f"ip = '{head}'"
    tests = [f"starts_with(ip, '{head}.')"] if whole else []
    if bits or not whole:
        tests.append(f"CAST(split_part(ip, '.', {whole + 1}) AS UTINYINT) BETWEEN {first[whole]} AND {last[whole]}")
    return " AND ".join(tests)


def _six(network: ipaddress.IPv6Network) -> str:
    first, last = int(network.network_address), int(network.broadcast_address)
    if network.prefixlen == network.max_prefixlen:
        return f"ip = '{network.network_address}'"
    if network.prefixlen <= _GROUP_BITS:
        # The group before the first colon: empty in ::1.
        below = network.max_prefixlen - _GROUP_BITS
        return f"CAST('0x0' || split_part(ip, ':', 1) AS UINTEGER) BETWEEN {first >> below} AND {last >> below}"
    return f"ipv6_number(ip) BETWEEN {first}::UHUGEINT AND {last}::UHUGEINT"


def in_spark(text: str) -> str:
    """Return SQL of Spark that tells whether the address ``ip`` is inside."""
    # The address stands there once: Spark writes it out anew wherever it is used, and gives up past 64 KB of code.
    return f"address_bits(ip) RLIKE '^({'|'.join(map(_prefix, networks(text)))})'"


def _prefix(network: Network) -> str:
    """Return the family and the bits of a network as ``address_bits`` writes an address."""
    width = 32 if network.version == 4 else 128
    return f"{network.version}:" + f"{int(network.network_address):0{width}b}"[: network.prefixlen]


def in_trino(text: str) -> str:
    """Return SQL of Trino that tells whether the address ``ip`` is inside."""
    return "\n  OR ".join(f"contains('{network}', CAST(ip AS IPADDRESS))" for network in networks(text))
