"""What could tell in spite of everything: groups, hardware addresses, columns that nobody thought of, stray bytes."""

from __future__ import annotations

import ipaddress

import pytest

from streamgauge import codec, privacy
from streamgauge.demo import packets
from streamgauge.encode import to_arrow
from streamgauge.schema import COLUMNS, Kind
from streamgauge.settings import CollectorSettings, PrivacySettings
from tests.support.rows import ORIGIN, decoded
from tests.unit.privacy.making import KEY, hidden, request, tcp, udp

SOLICITED = "ff02::1:ffad:beef"


def test_groups_that_hold_an_address_are_hidden() -> None:
    """The group that a neighbour is asked for by holds 24 bits of its address; RFC 3306 and 6034 hold networks."""
    groups = [SOLICITED, "ff3e:40:2001:db8:77:66:0:1", "ff7e:140:2001:db8:77:66:0:1", "ff02::1:ff00:1"]
    made = [hidden([udp("2001:db8::1", group)], addresses="all")[0]["dst_ip"] for group in groups]

    assert set(made).isdisjoint(groups)
    assert len(set(made)) == len(groups)
    # Groups they stay, for the same purpose.
    assert [one[:4] for one in made] == ["ff02", "ff3e", "ff7e", "ff02"]
    assert made[0].startswith("ff02::1:ff")
    assert "2001:db8" not in str(made)
    assert hidden([udp("198.51.100.1", "234.203.0.113")], addresses="outside")[0]["dst_ip"] != "234.203.0.113"
    assert hidden([udp("2001:db8::1", SOLICITED)], names="drop")[0]["dst_ip"] == SOLICITED


@pytest.mark.parametrize("addresses", ["all", "outside"])
@pytest.mark.parametrize("ends", [("0.0.0.0", "255.255.255.255"), ("::", SOLICITED), ("0.0.0.0", "224.0.0.1")])
def test_hardware_addresses_of_hosts_without_an_address_go_too(addresses: str, ends: tuple[str, str]) -> None:
    """DHCP, duplicate address detection: nothing in the row says that the sender may be shown."""
    (row,) = hidden([udp(*ends)], addresses=addresses)

    assert (row["src_mac"], row["dst_mac"]) == (None, None)


def test_every_column_that_could_tell_is_decided_on() -> None:
    """A column that is added is hidden, or named here with the reason why not; docs/23-privacy.md says so, too."""
    hidden_ones = {"src_ip", "dst_ip", "outer_src_ip", "outer_dst_ip", "src_mac", "dst_mac"}
    hidden_ones |= {"dns_name", "tls_sni", "http_host", "http_path", "community_id"}
    refused = {"frame"}
    # What a program is, not who; the method is one of a list.
    shown = {"ja4", "tls_alpn", "http_method"}
    telling = {column.name for column in COLUMNS if column.kind in (Kind.IP, Kind.MAC, Kind.TEXT, Kind.BYTES)}

    assert telling == hidden_ones | refused | shown


CANARY = ("10.77.66.55", "203.0.113.77", "2001:db8:dead:beef:abad:1dea:c0de:77", "fd00:dead:beef:6:abad:cafe:d00d:99")


def canaries() -> list[bytes]:
    """Return the packed forms of every address and name in the frames below, and their halves."""
    packed = [ipaddress.ip_address(one).packed for one in CANARY]
    return [
        *packed, *(one[::-1] for one in packed), *(one[:8] for one in packed if len(one) == 16),
        *(one[8:][::-1] for one in packed if len(one) == 16), *(one.encode() for one in CANARY),
        b"secretname", packets.ethernet(b"")[:6], packets.ethernet(b"")[6:12],
        packets.ethernet(b"")[:6][::-1], packets.ethernet(b"")[6:12][::-1],
    ]  # fmt: skip


@pytest.mark.parametrize("content_type", [codec.ARROW, codec.NDJSON])
def test_no_byte_of_a_batch_tells_wherever_a_packet_ends(content_type: str) -> None:
    """Packets cut at every length, whole and in tunnels: also what lies below a null is looked at."""
    four, six = CANARY[:2], CANARY[2:]
    inner = udp(*four, payload=packets.dns_query(1, "secretname.example"), port=53)
    whole = [
        inner,
        udp(*six, payload=packets.dns_query(1, "secretname.example"), port=53),
        tcp(packets.client_hello("secretname.example"), 443, source=four[0]),
        request("/secretname", "secretname.example"),
        packets.ethernet(packets.ipv4(packets.udp(b"\x08\0\0\0\0\0\x07\0" + inner, 5, 4789), *four, packets.UDP)),
        packets.ethernet(packets.arp(*four), 0x0806),
        packets.ethernet(packets.ipv6(packets.udp(b"x", 1, 2), "::", "ff02::1:ffad:beef", packets.UDP), 0x86DD),
    ]
    settings = PrivacySettings.model_validate({"key": KEY, "addresses": "all", "names": "hash", "paths": "drop"})
    own = CollectorSettings.model_validate({"community_id": True})
    made = privacy.make(settings, own)
    assert made is not None
    clear = b""
    cut = [frame[:end] for frame in whole for end in range(len(frame) + 1)]
    for first in range(0, len(cut), 16):
        rows = decoded(cut[first : first + 16])
        clear += codec.encode(to_arrow(rows, ORIGIN), content_type, compression="none")
        made.apply(rows)
        told = codec.encode(to_arrow(rows, ORIGIN), content_type, compression="none")

        assert [canary for canary in canaries() if canary in told] == []
    assert sum(canary in clear for canary in canaries()) >= 5
