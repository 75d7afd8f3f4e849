"""Networks in SQL. Addresses are text at rest (``10.0.0.1``, ``2001:db8::1``), so one address is a plain filter.

For networks an address becomes a number, of 32 bits or of 128: ``engines/duckdb.sql``.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from streamgauge.errors import ConfigurationError
from streamgauge.inside import ALWAYS

if TYPE_CHECKING:
    from collections.abc import Sequence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


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
    every = networks(text)
    four = _between("ipv4_number(ip)", "UBIGINT", [network for network in every if network.version == 4])
    six = _between("ipv6_number(ip)", "UHUGEINT", [network for network in every if network.version == 6])
    return f"CASE WHEN contains(ip, ':') THEN {six} ELSE {four} END"


def _between(number: str, kind: str, among: Sequence[Network]) -> str:
    bounds = ((int(network.network_address), int(network.broadcast_address)) for network in among)
    tests = " OR ".join(f"n BETWEEN {first}::{kind} AND {last}::{kind}" for first, last in bounds)
    # The list of one is a name for the number: a macro would work it out anew for each network (a fifth of the time).
    return f"list_transform([{number}], lambda n: {tests})[1]"


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
