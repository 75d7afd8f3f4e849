"""Addresses as SQL sees them, beside Python's ipaddress."""

from __future__ import annotations

import ipaddress
import random
from typing import TYPE_CHECKING

import pytest

from streamgauge.errors import ConfigurationError
from streamgauge.inside import ALWAYS
from streamgauge.query import Folder, Query, addresses

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ODD = ["::", "::1", "1::", "::ffff:10.0.0.1", "1:2:3:4:5:6:7:8", "2001:db8::1:0:0:1", "0.0.0.0", "255.255.255.255"]


def some_addresses() -> list[str]:
    chance = random.Random(7)
    four = [str(ipaddress.IPv4Address(chance.getrandbits(32))) for _ in range(200)]
    # Groups of zeros, so that they are left out in the text.
    six = [
        str(ipaddress.IPv6Address(sum(chance.choice((0, chance.getrandbits(16))) << (16 * at) for at in range(8))))
        for _ in range(200)
    ]
    return [*ODD, *four, *six]


@pytest.fixture(name="query", scope="module")
def _query(folder: Path) -> Iterator[Query]:
    with Query(Folder(folder)) as query:
        yield query


def test_numbers(query: Query) -> None:
    """IPv4 of 32 bits, IPv6 of 128, whichever way zeros are left out."""
    sql = (
        "SELECT ip, ipv4_number(ip)::VARCHAR AS four, ipv6_number(ip)::VARCHAR AS six FROM (SELECT unnest($ips) AS ip)"
    )
    rows = query.run(sql, {"ips": some_addresses()}).read_all().to_pylist()

    assert len(rows) == len(some_addresses())
    for row in rows:
        address = ipaddress.ip_address(row["ip"])
        wanted = (str(int(address)), None) if address.version == 4 else (None, str(int(address)))
        assert (row["four"], row["six"]) == wanted, row


def test_networks(query: Query) -> None:
    """A network of each length holds what Python says it holds."""
    chance = random.Random(8)
    cases = []
    for text in some_addresses():
        address = ipaddress.ip_address(text)
        length = chance.randrange(address.max_prefixlen + 1)
        network = ipaddress.ip_network(f"{address}/{length}", strict=False)
        other = ipaddress.ip_address(int(address) ^ (1 << chance.randrange(address.max_prefixlen)))
        if other.version == address.version:
            cases += [(text, str(network)), (str(other), str(network))]
    sql = "SELECT in_network(c[1], c[2]) AS found FROM (SELECT unnest($cases) AS c)"
    rows = query.run(sql, {"cases": [list(case) for case in cases]}).read_all().to_pylist()
    wanted = [ipaddress.ip_address(ip) in ipaddress.ip_network(network) for ip, network in cases]

    assert [row["found"] for row in rows] == wanted
    assert {True, False} == set(wanted)


def test_families_do_not_mix(query: Query) -> None:
    """An IPv6 address is in no network of IPv4."""
    (row,) = (
        query.run("SELECT in_network('::1', '0.0.0.0/0') AS a, in_network('1.2.3.4', '::/0') AS b")
        .read_all()
        .to_pylist()
    )

    assert row == {"a": False, "b": False}


def test_inside(folder: Path) -> None:
    """The networks that are given, and those that never leave a network."""
    ips = ["192.0.2.1", "192.0.3.1", "10.0.0.1", "2001:db8::5", "2001:db9::5", "224.0.0.1", "fe80::1", "::1"]
    with Query(Folder(folder), inside="192.0.2.0/24, 2001:db8::/32") as query:
        rows = query.run("SELECT is_inside(ip) AS found FROM (SELECT unnest($ips) AS ip)", {"ips": ips}).read_all()

    assert rows["found"].to_pylist() == [True, False, False, True, False, True, True, True]


def test_a_network_that_is_none_is_told() -> None:
    """Host bits are a mistake, too."""
    with pytest.raises(ConfigurationError, match=r"'10\.0\.0\.1/8' is no network such as 10\.0\.0\.0/8"):
        addresses.networks("10.0.0.1/8")


def test_inside_of_networks_of_each_length(query: Query) -> None:
    """By text or by number, as Python says; tested at both edges of a network and beyond them."""
    chance = random.Random(9)
    always = [ipaddress.ip_network(each) for each in ALWAYS]
    for most, lengths in ((32, range(33)), (128, (0, 7, 10, 16, 17, 64, 127, 128))):
        for length in lengths:
            address = ipaddress.ip_address(chance.getrandbits(most) | 1 << (most - 1))
            network = ipaddress.ip_network(f"{address}/{length}", strict=False)
            edges = (int(network.network_address), int(network.broadcast_address))
            near = [edge + step for edge in edges for step in (-1, 0, 1)]
            ips = [type(address)(number) for number in near if 0 <= number < 2**most]
            sql = f"SELECT {addresses.in_duckdb(str(network))} AS found FROM (SELECT unnest($ips) AS ip)"
            found = query.run(sql, {"ips": [str(ip) for ip in ips]}).read_all()["found"].to_pylist()

            assert found == [any(ip in one for one in (network, *always)) for ip in ips], network
