"""Names and paths: hashed under the key, or replaced by a fixed word; each distinct one is computed once, bounded."""

from __future__ import annotations

import hashlib
import ipaddress
import re
import socket
from typing import Final

from streamgauge.privacy.policy import Treatment

#: Stands where something was and is not told.
DROPPED: Final = b"(dropped)"
#: What a hash begins with: no DNS name and no path does.
_MARK: Final = b"~"
#: Bytes of a hash: of a million names two are the same with a chance of 1 in 37 million.
_HASH_BYTES: Final = 8
_REMEMBERED: Final = 1 << 16
_REVERSE: Final = (b"in-addr.arpa", b"ip6.arpa")
#: Four numbers: nip.io and its like, lists of senders of spam, Kubernetes' names of pods, Amazon's of machines.
_QUAD: Final = re.compile(
    rb"(?<![0-9])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![0-9])|(?<![0-9])(?:[0-9]{1,3}-){3}[0-9]{1,3}(?![0-9])"
)


class Texts:
    """The texts of one key."""

    def __init__(self, key: bytes | None) -> None:
        """``key`` may be missing where nothing is hashed."""
        self._key = key
        self._hashes: dict[bytes, bytes] = {}

    def treated(self, text: bytes, treatment: Treatment) -> bytes:
        """Return what becomes of a text."""
        if treatment is Treatment.KEEP:
            return text
        return DROPPED if treatment is Treatment.DROP else self._hash(text)

    def _hash(self, text: bytes) -> bytes:
        found = self._hashes.get(text)
        if found is None:
            if len(self._hashes) >= _REMEMBERED:
                self._hashes.clear()
            assert self._key is not None
            digest = hashlib.blake2b(text, digest_size=_HASH_BYTES, key=self._key, person=b"streamgauge text")
            found = self._hashes[text] = _MARK + digest.hexdigest().encode()
        return found


def holds_an_address(name: bytes) -> bool:
    """Return whether a name is an address written otherwise, or has one in it: a reverse zone, a literal with a port.

    >>> [holds_an_address(name) for name in (b"1.0.0.10.in-addr.arpa", b"10.0.0.1:80", b"[2001:db8::1]", b"a.example")]
    [True, True, True, False]
    >>> [holds_an_address(name) for name in (b"10-0-0-1.shop.pod.cluster.local", b"10.0.0.1.nip.io", b"0xa000001:80")]
    [True, True, True]
    """
    name = name.lower().rstrip(b".")
    if name.endswith(_REVERSE) or _QUAD.search(name):
        return True
    text = name.decode("ascii", "replace")
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return _is_a_number(text)
    return True


def _is_a_number(text: str) -> bool:
    """Return whether programs take a text for an IPv4 address all the same: ``167772161``, ``0xa.1``, ``012.0.0.1``."""
    if not text[:1].isdigit() or not text.isascii() or " " in text:
        return False
    try:
        socket.inet_aton(text)
    except OSError:
        return False
    return True


def is_origin_form(target: bytes) -> bool:
    """Return whether a request target is a path; others (RFC 9112, 3.2) name a host."""
    return target.startswith(b"/") or target == b"*"
