"""What is hidden in rows, under which rule."""

from __future__ import annotations

import doctest
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr, ValidationError

from streamgauge import privacy
from streamgauge.demo import packets
from streamgauge.encode import to_arrow
from streamgauge.errors import ConfigurationError
from streamgauge.flows.community_id import community_id
from streamgauge.privacy import texts
from streamgauge.privacy.addresses import Addresses
from streamgauge.privacy.crypto_pan import CryptoPan
from streamgauge.privacy.policy import Networks, Policy
from streamgauge.rows import Rows
from streamgauge.schema import Present
from streamgauge.settings import CollectorSettings, PrivacySettings
from streamgauge.text import address_bytes, address_text, readable
from tests.support.rows import ORIGIN, decoded
from tests.unit.privacy.making import KEY, dns, hidden, request, tcp, udp

if TYPE_CHECKING:
    from pathlib import Path


def test_nothing_is_done_unless_asked_for() -> None:
    """No key, no cost."""
    assert privacy.make(PrivacySettings(), CollectorSettings()) is None


def test_the_rules_that_are_shipped_ask_for_nothing(tmp_path: Path) -> None:
    """`make secrets` writes them, compose always names them: with everything off nothing is done to any row."""
    from streamgauge.secrets.generate import _NO_RULES

    path = tmp_path / "privacy-rules.toml"
    path.write_text(_NO_RULES)
    settings = {"key": KEY, "policy": path}

    assert privacy.make(PrivacySettings.model_validate(settings), CollectorSettings(frame_bytes=96)) is None
    assert privacy.make(PrivacySettings.model_validate({**settings, "names": "drop"}), CollectorSettings()) is not None


def test_outside_addresses_alone() -> None:
    """What is inside stays: pods are still told apart by name, the world is not."""
    (row,) = hidden([udp()], addresses="outside")

    assert row["src_ip"] == "10.0.0.1"
    assert row["dst_ip"] not in ("198.51.100.7", "10.0.0.1")
    assert (row["src_port"], row["bytes"], row["ip_protocol"]) == (4000, 43, 17)


@pytest.mark.parametrize("ends", [("10.0.0.1", "198.51.100.7"), ("2001:db8::1", "2001:db8::2"), ("fe80::1", "fc00::1")])
def test_all_addresses(ends: tuple[str, str]) -> None:
    """Both sides; hardware addresses go, since they tell the same."""
    (row,) = hidden([udp(*ends)], addresses="all")

    assert row["src_ip"] not in ends
    assert row["dst_ip"] not in ends
    assert (row["src_mac"], row["dst_mac"]) == (None, None)
    assert row["eth_type"] == (0x86DD if ":" in ends[0] else 0x0800)


def test_the_same_address_has_one_pseudonym_and_networks_hold_together() -> None:
    """In either place, in every block of rows."""
    rows = hidden(
        [udp("203.0.113.1", "203.0.113.200"), udp("203.0.113.200", "203.0.113.1"), udp("9.9.9.9", "203.0.113.1")],
        addresses="all",
    )
    networks = {row[side].rpartition(".")[0] for row in rows[:2] for side in ("src_ip", "dst_ip")}

    assert (rows[0]["src_ip"], rows[0]["dst_ip"]) == (rows[1]["dst_ip"], rows[1]["src_ip"])
    assert rows[2]["dst_ip"] == rows[0]["src_ip"]
    assert len(networks) == 1


def test_special_addresses_stay() -> None:
    """They name no host: loopback, multicast, broadcast, none."""
    special = ["127.0.0.1", "224.0.0.251", "255.255.255.255", "0.0.0.0"]
    rows = hidden([udp(one, "239.1.2.3") for one in special], addresses="all")

    assert [row["src_ip"] for row in rows] == special
    assert hidden([udp("::", "ff02::1")], addresses="all")[0]["dst_ip"] == "ff02::1"


def test_hardware_addresses_of_arp_go_too() -> None:
    """Its rows have no IP address to decide by."""
    frame = packets.ethernet(packets.arp("10.0.0.1", "10.0.0.2"), 0x0806)

    assert hidden([frame], addresses="outside")[0]["src_mac"] is None
    assert hidden([frame], names="drop")[0]["src_mac"] is not None


def test_hardware_addresses_of_arp_go_too_where_only_a_rule_hides(tmp_path: Path) -> None:
    """The asker may be one whose address a rule hides: nothing in the row says that it is not."""
    rules = tmp_path / "privacy.toml"
    rules.write_text('[[rule]]\nnetworks = ["10.0.0.0/24"]\naddresses = "all"\n')
    frame = packets.ethernet(packets.arp("10.0.0.1", "10.0.0.2"), 0x0806)

    assert hidden([frame], policy=rules)[0]["src_mac"] is None


@pytest.mark.parametrize("option", ["hash", "drop"])
def test_names_and_paths(option: str) -> None:
    """DNS, TLS and HTTP; everything else of the row stays."""
    frames = [
        dns("secret.example"),
        tcp(packets.client_hello("secret.example"), 443),
        request("/secret", "secret.example"),
    ]
    query, hello, get = hidden(frames, names=option, paths=option)
    names = {query["dns_name"], hello["tls_sni"], get["http_host"]}

    assert len(names) == 1
    assert "secret" not in str([query, hello, get])
    assert (query["dns_type"], get["http_method"], hello["tls_version"]) == (1, "GET", 772)
    assert ({get["http_path"]} == names) == (option == "drop")
    assert names.pop() == "(dropped)" if option == "drop" else get["http_path"].startswith("~")


def test_hashes_depend_on_the_key() -> None:
    """Nobody finds a name by hashing a list of names."""
    one, other = (hidden([dns("a.example")], names="hash", key=key * 32)[0]["dns_name"] for key in ("8d", "8e"))

    assert one != other
    assert len(one) == len(other) == 17


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("9.100.51.198.in-addr.arpa", False),
        ("1.0.0.ip6.arpa", False),
        ("9.100.51.198.zen.spamhaus.org", False),
        ("198-51-100-9.shop.pod.cluster.local", False),
        ("ip-198-51-100-9.ec2.internal", False),
        ("3325256713", False),
        ("0xc6.0x33.0x6409", False),
        ("www.example.com", True),
        ("release-1-2-3.example.com", True),
        ("9gag.example", True),
        ("", True),
    ],
)
def test_names_that_are_addresses_are_hashed_with_them(name: str, kept: bool) -> None:
    """A PTR query would tell what the address column hides."""
    (row,) = hidden([dns(name)], addresses="outside")

    assert (row["dns_name"] == name) == kept


def test_hosts_and_targets_that_are_addresses() -> None:
    """HTTP names a host by its address at times, in the target too."""
    literal, proxied, plain = hidden(
        [
            request("/", "198.51.100.7:8080"),
            request("http://198.51.100.7/x", "a.example"),
            request("/x?y=198.51.100.7", "a.example"),
        ],
        addresses="outside",
    )

    assert literal["http_host"].startswith("~")
    assert proxied["http_path"].startswith("~")
    assert (plain["http_host"], plain["http_path"]) == ("a.example", "/x?y=198.51.100.7")


def test_a_target_that_names_a_host_is_a_name() -> None:
    """Paths are kept here, names are not."""
    (row,) = hidden([request("http://secret.example/", "secret.example")], names="drop")

    assert row["http_path"] == "(dropped)"


def test_outer_addresses_of_tunnels() -> None:
    """VXLAN between two nodes, a packet of two pods inside."""
    inner = udp("10.244.1.5", "10.244.2.6")
    vxlan = b"\x08\0\0\0" + (7).to_bytes(3, "big") + b"\0" + inner
    outer = packets.ethernet(packets.ipv4(packets.udp(vxlan, 5555, 4789), "203.0.113.1", "203.0.113.2", packets.UDP))
    (row,) = hidden([outer], addresses="outside")

    assert row["tunnel"] == "vxlan"
    assert (row["src_ip"], row["dst_ip"]) == ("10.244.1.5", "10.244.2.6")
    assert {row["outer_src_ip"], row["outer_dst_ip"]}.isdisjoint({"203.0.113.1", "203.0.113.2"})


def test_community_id_is_that_of_the_pseudonyms() -> None:
    """Made of clear addresses it could be undone by trying all of them."""
    (row,) = hidden([udp()], addresses="all", collector={"community_id": True})
    ends = [address_bytes(row[side])[-4:] for side in ("src_ip", "dst_ip")]

    assert row["community_id"] == community_id(*ends, 17, (4000, 4000))


POLICY = """
[[rule]]
namespace = "payments"
networks = ["10.1.0.0/16"]
addresses = "all"
names = "drop"

[[rule]]
namespace = "public"
networks = ["10.1.7.0/24", "fc00:7::/64"]
addresses = "off"
names = "keep"
"""


def test_rules_for_networks(tmp_path: Path) -> None:
    """The most specific network decides for an address, the stricter side for names."""
    path = tmp_path / "policy.toml"
    path.write_text(POLICY)
    pay, public, other = "10.1.2.3", "10.1.7.3", "10.2.0.1"
    rows = hidden(
        [dns("a.example", source=one, target=two) for one, two in ((pay, public), (public, other), (other, public))],
        policy=str(path),
        names="hash",
    )

    assert rows[0]["src_ip"] != pay
    assert [row["dst_ip"] for row in rows] == [public, other, public]
    assert rows[0]["dns_name"] == "(dropped)"
    assert rows[1]["dns_name"] == rows[2]["dns_name"] != "a.example"
    (both,) = hidden([dns("a.example", source=public, target="10.1.7.4")], policy=str(path), names="hash")
    assert both["dns_name"] == "a.example"
    assert [row["src_mac"] is None for row in rows] == [True, False, False]


def test_a_pseudonym_never_looks_like_an_address_of_ours() -> None:
    """Else a stranger would be taken for a pod; and still no two are the same."""
    policy = Policy.of(PrivacySettings.model_validate({"addresses": "outside", "key": KEY}))
    addresses = Addresses(policy, CryptoPan(bytes.fromhex(KEY)))
    import numpy as np

    drawn = np.unique(np.random.default_rng(7).integers(0, 1 << 32, 40_000).astype(np.uint64) | np.uint64(0xFFFF << 32))
    clear = [int(one) for one in drawn if policy.hides(int(one))]
    found = addresses.find(np.zeros(len(clear), np.uint64), np.array(clear, np.uint64))
    made = found.low.tolist()

    assert len(set(made)) == len(clear)
    assert all(policy.hides(one) for one in made)
    networks = {one >> 8 for one in clear}
    assert len({one >> 8 for one in made}) == len(networks)


def test_a_hidden_network_among_clear_ones_ends(tmp_path: Path) -> None:
    """There are few hidden addresses, and a pseudonym may look like anyone outside."""
    path = tmp_path / "policy.toml"
    path.write_text('[[rule]]\nnetworks = ["10.9.9.0/30"]\naddresses = "all"\n')
    rows = hidden([udp("10.9.9.1", "10.9.9.2"), udp("10.8.0.1", "1.2.3.4")], policy=str(path))

    assert not rows[0]["src_ip"].startswith("10.")
    assert (rows[1]["src_ip"], rows[1]["dst_ip"]) == ("10.8.0.1", "1.2.3.4")


def test_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever number of addresses passes by, and a block of more than it holds still gets all of its answers."""
    import numpy as np

    monkeypatch.setattr("streamgauge.privacy.addresses._REMEMBERED", 100)
    policy = Policy.of(PrivacySettings.model_validate({"addresses": "all", "key": KEY}))
    addresses = Addresses(policy, CryptoPan(bytes.fromhex(KEY)))
    first = addresses.find(np.zeros(90, np.uint64), np.arange(90, dtype=np.uint64) + np.uint64(0xFFFF << 32 | 1 << 30))
    for start in range(5):
        low = np.arange(150, dtype=np.uint64) + np.uint64(0xFFFF << 32 | 1 << 30 | start * 75)
        again = addresses.find(np.zeros(150, np.uint64), low)
        if not start:
            assert again.low[:90].tolist() == first.low.tolist()

    assert len(addresses._known) <= 150


def test_rows_are_treated_in_place_and_in_any_number() -> None:
    """An empty block, and one whose pool must grow."""
    made = privacy.make(PrivacySettings.model_validate({"names": "hash", "key": KEY}), CollectorSettings())
    assert made is not None
    made.apply(Rows(1))
    rows = decoded([dns(f"n{number}.example") for number in range(3000)])
    made.apply(rows)

    assert len(set(readable(to_arrow(rows, ORIGIN)).column("dns_name").to_pylist())) == 3000
    assert int(rows.column("present")[0]) & Present.DNS_QUESTION


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x", "is not TOML"),
        ("", r"holds no \[\[rule\]\]"),
        ("rules = 1", "rules is not known"),
        ("[[rule]]\naddresses = 'all'", "rule 1: networks is missing"),
        ("[[rule]]\nnetworks = ['10.0.0.1/8']", "'10.0.0.1/8' is no network"),
        ("[[rule]]\nnetworks = ['10.0.0.0/8']\nnames = 'hide'", "names = 'hide' is none of keep, hash, drop"),
        ("[[rule]]\nnetworks = ['10.0.0.0/8']\npods = 1", "pods is none of addresses, names, namespace"),
        ("[[rule]]\nnetworks = ['0.0.0.0/0']\naddresses = 'all'", "more than half of all IPv4"),
    ],
)
def test_a_wrong_policy_is_told(tmp_path: Path, text: str, words: str) -> None:
    """With the file, the rule and what it may be."""
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=words):
        hidden([], policy=str(path))


def test_frames_are_refused() -> None:
    """They hold everything that is hidden."""
    words = "STREAMGAUGE_COLLECTOR_FRAME_BYTES=64 keeps the packets themselves"
    with pytest.raises(ConfigurationError, match=words):
        hidden([], names="drop", collector={"frame_bytes": 64})


@pytest.mark.parametrize("options", [{"addresses": "all"}, {"names": "hash"}, {"paths": "hash"}])
def test_a_key_is_needed(options: dict[str, str]) -> None:
    """Dropping needs none."""
    with pytest.raises(ConfigurationError, match="STREAMGAUGE_PRIVACY_KEY is not set"):
        hidden([], key=None, **options)
    assert hidden([dns("a.example")], key=None, names="drop", paths="drop")[0]["dns_name"] == "(dropped)"


@pytest.mark.parametrize("key", ["8d" * 31, "xy" * 32, ""])
def test_a_wrong_key_is_told_and_not_shown(key: str) -> None:
    """It is a secret even if it is wrong."""
    with pytest.raises(ValidationError, match=r"64 hexadecimal digits|empty") as told:
        PrivacySettings(key=SecretStr(key))

    assert not key or key not in str(told.value)


def test_networks_find_the_most_specific() -> None:
    """Of both versions."""
    networks = Networks([("10.0.0.0/8", 1), ("10.1.0.0/16", 2), ("::/0", 3), ("fc00::/7", 4)])
    found = [networks.find(int.from_bytes(address_bytes(one))) for one in ("10.1.2.3", "10.2.0.0", "fd00::1", "2::")]

    assert found == [2, 1, 4, 3]
    assert address_text(address_bytes("10.1.2.3")) == "10.1.2.3"


def test_examples_are_true() -> None:
    """In the source."""
    assert doctest.testmod(texts) == (0, 2)
