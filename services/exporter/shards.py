"""The shard of a node as NATS computes it (``partition(n, 1)`` in the stream's subject transform).

Ledger subjects carry no shard, and a replica must account for the same nodes whose summaries it counts.
"""

from __future__ import annotations

from typing import Final

_FNV_OFFSET: Final = 0x811C9DC5
_FNV_PRIME: Final = 0x01000193


def shard_of(node_token: str, shards: int) -> int:
    """Return the shard of a node's token in a stream of so many shards: its 32-bit FNV-1a hash, modulo."""
    value = _FNV_OFFSET
    for byte in node_token.encode():
        value = ((value ^ byte) * _FNV_PRIME) & 0xFFFFFFFF
    return value % shards
