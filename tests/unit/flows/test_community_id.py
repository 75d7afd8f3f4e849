"""Community ID v1 against the vectors that its specification publishes."""

from __future__ import annotations

import ipaddress

import pytest

from streamgauge.flows.community_id import CommunityIds, community_id
from streamgauge.rows import Rows
from tests.support.decoding import as_dictionaries
from tests.support.packets import dns
from tests.support.rows import decoded
from tests.support.segments import datagram

HOME, GOOGLE = "2001:470:e5bf:dead:4957:2174:e82c:4887", "2607:f8b0:400c:c03::1a"

#: https://github.com/corelight/community-id-spec, baseline/baseline_deflt.json: protocol, addresses, ports, identifier.
VECTORS = [
    (58, "fe80::200:86ff:fe05:80da", "fe80::260:97ff:fe07:69ea", 135, 136, "1:dGHyGvjMfljg6Bppwm3bg0LO8TY="),
    (58, "fe80::260:97ff:fe07:69ea", "fe80::200:86ff:fe05:80da", 136, 135, "1:dGHyGvjMfljg6Bppwm3bg0LO8TY="),
    (58, "fe80::260:97ff:fe07:69ea", "fe80::200:86ff:fe05:80da", 135, 136, "1:zavyT/cezQr1fmImYCwYnMXbgck="),
    (58, "fe80::200:86ff:fe05:80da", "fe80::260:97ff:fe07:69ea", 136, 135, "1:zavyT/cezQr1fmImYCwYnMXbgck="),
    (58, "3ffe:501:1800:2345::2", "3ffe:507:0:1:200:86ff:fe05:80da", 3, 0, "1:2ObVBgIn28oZvibYZhZMBgh7WdQ="),
    (58, "3ffe:501:410:0:2c0:dfff:fe47:33e", "3ffe:507:0:1:200:86ff:fe05:80da", 1, 4, "1:hLZd0XGWojozrvxqE0dWB1iM6R0="),
    (58, "3ffe:507:0:1:200:86ff:fe05:80da", "3ffe:501:0:1001::2", 128, 129, "1:+TW+HtLHvV1xnGhV1lv7XoJrqQg="),
    (58, "3ffe:501:0:1001::2", "3ffe:507:0:1:200:86ff:fe05:80da", 129, 128, "1:+TW+HtLHvV1xnGhV1lv7XoJrqQg="),
    (58, "fe80::200:86ff:fe05:80da", "ff02::2", 133, 134, "1:hO+sN4H+MG5MY/8hIrXPqc4ZQz0="),
    (58, "fe80::260:97ff:fe07:69ea", "ff02::1", 134, 133, "1:pkvHqCL88/tg1k4cPigmZXUtL00="),
    (1, "192.168.0.89", "192.168.0.1", 8, 0, "1:X0snYXpgwiv9TZtqg64sgzUn6Dk="),
    (1, "192.168.0.1", "192.168.0.89", 0, 8, "1:X0snYXpgwiv9TZtqg64sgzUn6Dk="),
    (1, "10.0.0.1", "10.0.0.2", 11, 0, "1:YHxtAirCG//0OzkcVAukqKQN9xM="),
    (6, HOME, GOOGLE, 63943, 25, "1:/qFaeAR+gFe1KYjMzVDsMv+wgU4="),
    (6, GOOGLE, HOME, 25, 63943, "1:/qFaeAR+gFe1KYjMzVDsMv+wgU4="),
    (132, "192.168.170.8", "192.168.170.56", 7, 7, "1:MP2EtRCAUIZvTw6MxJHLV7N7JDs="),
    (132, "192.168.170.56", "192.168.170.8", 7, 7, "1:MP2EtRCAUIZvTw6MxJHLV7N7JDs="),
    (6, "128.232.110.120", "66.35.250.204", 34855, 80, "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
    (6, "66.35.250.204", "128.232.110.120", 80, 34855, "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
    (17, "192.168.1.52", "8.8.8.8", 54585, 53, "1:d/FP5EW3wiY1vCndhwleRRKHowQ="),
    (17, "8.8.8.8", "192.168.1.52", 53, 54585, "1:d/FP5EW3wiY1vCndhwleRRKHowQ="),
    (46, "10.1.12.1", "10.1.12.2", None, None, "1:KHlLkgoJW7ifUTyTSgyVfkFHzKw="),
    (46, "10.1.12.2", "10.1.12.1", None, None, "1:KHlLkgoJW7ifUTyTSgyVfkFHzKw="),
]  # fmt: skip


@pytest.mark.parametrize(("protocol", "src", "dst", "first", "second", "expected"), VECTORS)
def test_published_vectors(protocol, src, dst, first, second, expected):
    """Each flow of the baseline has the published identifier; of ICMP the vectors give type and counterpart."""
    packed = [ipaddress.ip_address(address).packed for address in (src, dst)]
    ports = None if first is None else (first, second)

    assert expected == community_id(*packed, protocol, ports)


def test_rows_of_both_directions_share_it_and_the_pool_grows():
    """The column is filled for every row with an IP header, however small the text pool is."""
    rows = decoded(
        [
            datagram(dns(), src="192.168.1.52", dst="8.8.8.8", source=54585, target=53),
            datagram(dns(), src="8.8.8.8", dst="192.168.1.52", source=53, target=54585),
        ]
    )
    small = Rows(2, pool_bytes=40)
    for name in ("u8", "u4", "u2", "u1", "state"):
        getattr(small.buffers, name)[:] = getattr(rows.buffers, name)
    CommunityIds().fill(small, 0)

    assert [row["community_id"] for row in as_dictionaries(small)] == [b"1:d/FP5EW3wiY1vCndhwleRRKHowQ="] * 2
