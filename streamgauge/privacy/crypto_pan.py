"""Crypto-PAn: addresses become other addresses, and whoever shares a prefix goes on sharing one of the same length.

J. Xu, J. Fan, M. Ammar, S. Moon: Prefix-Preserving IP Address Anonymization (ICNP 2002), with AES-128 as in their
implementation; IPv6 as in the implementations that followed. RFC 6235 places the technique (4.1.3, and 4.1.4 for IPv6).
It is a permutation of the addresses: two never become one, and with the key it can be undone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

if TYPE_CHECKING:
    from collections.abc import Callable

#: Bytes of a key: an AES key and the block from which the pad is made.
KEY_BYTES: Final = 32
#: Addresses that are computed at once: an IPv6 address takes 128 blocks of 16 bytes.
_AT_ONCE: Final = 4096

_Words = npt.NDArray[np.uint64]


class CryptoPan:
    """One key. Instances keep no addresses; who asks repeatedly remembers the answers."""

    def __init__(self, key: bytes) -> None:
        """Take the 32 bytes of a key.

        Raises:
            ValueError: they are not 32.

        """
        if len(key) != KEY_BYTES:
            raise ValueError(f"a key has {KEY_BYTES} bytes, not {len(key)}")
        # One block a bit, each independent: this is what the method is made of, not a way to encrypt data.
        self._encrypt: Callable[[Any], bytes] = Cipher(algorithms.AES(key[:16]), modes.ECB()).encryptor().update  # noqa: S305
        self._pad = np.frombuffer(self._encrypt(key[16:]), ">u8").astype(np.uint64)

    def ipv4(self, addresses: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
        """Return the pseudonyms of IPv4 addresses (as numbers), element by element."""
        high = addresses.astype(np.uint64) << np.uint64(32)
        return (self._mapped(high, np.zeros_like(high), 32)[0] >> np.uint64(32)).astype(np.uint32)

    def ipv6(self, high: _Words, low: _Words) -> tuple[_Words, _Words]:
        """Return the pseudonyms of IPv6 addresses (the two halves as numbers), element by element."""
        return self._mapped(high, low, 128)

    def _mapped(self, high: _Words, low: _Words, bits: int) -> tuple[_Words, _Words]:
        out_high, out_low = high.copy(), low.copy()
        for first in range(0, len(high), _AT_ONCE):
            part = slice(first, first + _AT_ONCE)
            flip_high, flip_low = self._flips(high[part], low[part], bits)
            out_high[part] ^= flip_high
            out_low[part] ^= flip_low
        return out_high, out_low

    def _flips(self, high: _Words, low: _Words, bits: int) -> tuple[_Words, _Words]:
        """Return which bits of each address are turned over: bit i depends on the i bits before it, and the key."""
        masks_high, masks_low = _MASKS[0][:bits], _MASKS[1][:bits]
        blocks = np.empty((len(high), bits, 2), ">u8")
        blocks[:, :, 0] = (high[:, None] & masks_high) | (self._pad[0] & ~masks_high)
        blocks[:, :, 1] = (low[:, None] & masks_low) | (self._pad[1] & ~masks_low)
        encrypted = np.frombuffer(self._encrypt(blocks.reshape(-1).view(np.uint8)), np.uint8).reshape(
            len(high), bits, 16
        )
        packed = np.zeros((len(high), 16), np.uint8)
        packed[:, : bits // 8] = np.packbits(encrypted[:, :, 0] >> 7, axis=1)
        words = packed.view(">u8").astype(np.uint64)
        return words[:, 0], words[:, 1]


def _masks() -> tuple[_Words, _Words]:
    """Return, for each length of a prefix from 0 to 127 bits, the mask of its two halves."""
    every = (1 << 128) - 1
    masks = [every ^ (every >> length) for length in range(128)]
    return (
        np.array([mask >> 64 for mask in masks], np.uint64),
        np.array([mask & ((1 << 64) - 1) for mask in masks], np.uint64),
    )


_MASKS: Final = _masks()
