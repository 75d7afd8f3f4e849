"""Crypto-PAn against what others published, and against what the method promises."""

from __future__ import annotations

import ipaddress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.privacy.crypto_pan import CryptoPan

#: The key of the sample trace in the authors' distribution; raw and sanitized addresses of that trace.
SAMPLE_KEY = bytes.fromhex("1522178d33a4cf80130a5b1649907d10d8988f837979652762574c2d2a842202")
SAMPLE_TEXT = """
128.11.68.132 135.242.180.132  129.118.74.4 134.136.186.123   130.132.252.244 133.68.164.234
141.223.7.43 141.167.8.160     152.163.225.39 151.140.114.167 156.29.3.236 147.225.12.42
165.247.96.84 162.9.99.234     192.102.249.13 252.138.62.131  198.51.77.238 249.18.186.254
204.29.20.4 243.33.20.123      216.254.18.172 235.7.16.162    24.0.250.221 100.15.198.226
4.3.88.225 124.60.155.63       64.14.118.196 0.255.183.58     10.185.25.118 117.161.29.118
"""
#: IPv6 under the same key, as the Go implementation by Y. Angel has it.
SAMPLE_IPV6_TEXT = """
::1 78ff:f001:9fc0:20df:8380:b1f1:704:ed     ::2 78ff:f001:9fc0:20df:8380:b1f1:704:ef
::ffff 78ff:f001:9fc0:20df:8380:b1f1:704:f838
2001:db8::1 4401:2bc:603f:d91d:27f:ff8e:e6f1:dc1e   2001:db8::2 4401:2bc:603f:d91d:27f:ff8e:e6f1:dc1c
"""
#: From the documentation of yacryptopan.
OTHER_KEY = b"32-char-str-for-AES-key-and-pad."


def pairs(text: str) -> list[tuple[str, str]]:
    words = text.split()
    return list(zip(words[::2], words[1::2], strict=True))


PAIRS = [
    *((SAMPLE_KEY, *pair) for text in (SAMPLE_TEXT, SAMPLE_IPV6_TEXT) for pair in pairs(text)),
    (OTHER_KEY, "192.0.2.1", "192.0.125.244"),
    (OTHER_KEY, "2001:db8::1", "27fe:8bc7:fee:1e:1e1f:f0fe:f0e1:83fd"),
]


def pseudonym(key: bytes, address: str) -> str:
    one = ipaddress.ip_address(address)
    if one.version == 4:
        return str(ipaddress.ip_address(int(CryptoPan(key).ipv4(np.array([int(one)], np.uint32))[0])))
    high, low = CryptoPan(key).ipv6(*halves([int(one)]))
    return str(ipaddress.IPv6Address(int(high[0]) << 64 | int(low[0])))


def halves(addresses: list[int]) -> tuple[np.ndarray, np.ndarray]:
    low = (1 << 64) - 1
    return np.array([one >> 64 for one in addresses], np.uint64), np.array([one & low for one in addresses], np.uint64)


def shared(one: int, other: int, bits: int) -> int:
    """Return the length of the prefix that two addresses share."""
    return bits - (one ^ other).bit_length()


@pytest.mark.parametrize(("key", "address", "wanted"), PAIRS)
def test_published_vectors(key: bytes, address: str, wanted: str) -> None:
    """Who has the key can compare with what any other implementation made."""
    assert pseudonym(key, address) == wanted


@given(st.lists(st.integers(0, 2**32 - 1), min_size=2, max_size=20, unique=True), st.binary(min_size=32, max_size=32))
def test_ipv4_keeps_prefixes_and_nothing_else(addresses: list[int], key: bytes) -> None:
    """Two pseudonyms share a prefix exactly as long as the addresses do; so no two are the same."""
    mapped = CryptoPan(key).ipv4(np.array(addresses, np.uint32)).tolist()

    assert all(
        shared(addresses[0], one, 32) == shared(mapped[0], other, 32)
        for one, other in zip(addresses[1:], mapped[1:], strict=True)
    )


@given(st.lists(st.integers(0, 2**128 - 1), min_size=2, max_size=8, unique=True))
def test_ipv6_keeps_prefixes_and_nothing_else(addresses: list[int]) -> None:
    """As IPv4 does."""
    high, low = CryptoPan(SAMPLE_KEY).ipv6(*halves(addresses))
    mapped = [int(h) << 64 | int(lo) for h, lo in zip(high, low, strict=True)]

    assert all(
        shared(addresses[0], one, 128) == shared(mapped[0], other, 128)
        for one, other in zip(addresses[1:], mapped[1:], strict=True)
    )


def test_many_at_once_are_the_same_as_one_by_one() -> None:
    """Across the size of a piece, too."""
    cipher = CryptoPan(SAMPLE_KEY)
    many = np.random.default_rng(1).integers(0, 1 << 32, 5000).astype(np.uint32)

    assert cipher.ipv4(many)[[0, 4095, 4096, 4999]].tolist() == [
        int(cipher.ipv4(many[at : at + 1])[0]) for at in (0, 4095, 4096, 4999)
    ]
    assert len(cipher.ipv4(many[:0])) == 0


def test_a_short_key_is_refused() -> None:
    """Rather than stretched."""
    with pytest.raises(ValueError, match="a key has 32 bytes, not 16"):
        CryptoPan(bytes(16))
