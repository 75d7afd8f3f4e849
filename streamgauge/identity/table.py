"""Who had an address when: built once of many bindings, then asked for whole batches.

    table = IdentityTable(bindings)
    owners = table.resolve(addresses, times)      # positions in table.owners, -1: nobody known

*Rules.* A pod that uses its node's address leaves the address to the node. Of two pods that had the same address, the
one that began later has it from then on. A pod goes before a node, a node before a service, an address before the
networks of a labels file, a longer network before a shorter. Where nobody else has an address, a binding is taken to
hold ``GRACE`` longer on both sides: clocks of nodes differ, and the last packets of a pod outlive it.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from streamgauge import text
from streamgauge.identity.table_kernels import enter_keys, resolve_rows

if TYPE_CHECKING:
    import ipaddress
    from collections.abc import Iterable, Sequence

    from streamgauge.identity.events import Binding

#: ns by which a binding is stretched where nobody else has the address.
GRACE: Final = 5 * 10**9

#: The end of what has not ended.
FOREVER: Final = (1 << 63) - 1

_RANKS: Final = {"service": 0, "node": 1, "pod": 2}


class Owner(NamedTuple):
    """Whom an address belongs to."""

    #: Empty for a node.
    namespace: str
    workload: str
    workload_kind: str
    #: Where it runs, if it runs on one node.
    node: str
    #: A service's address stands for one of its pods, before the address is translated.
    is_service: bool = False


class Network(NamedTuple):
    """A network of a labels file and whom it belongs to."""

    network: ipaddress.IPv4Network | ipaddress.IPv6Network
    owner: Owner


class Arrays(NamedTuple):
    """What the kernels see: keys (an address or network) by hash, and the spans of each key in order of time."""

    places: npt.NDArray[np.int32]  # key + 1 by hash, 0 where free; a power of two
    #: [k, 8] address as it lies in memory, bits of the network (128: an address), its first span and behind its last,
    #: and of the latest span start, end and owner: all that most look-ups need, in one line of the cache.
    keys: npt.NDArray[np.uint64]
    lengths: npt.NDArray[np.int64]  # [l] the lengths there are, longest first
    masks: npt.NDArray[np.uint64]  # [l, 2]
    starts: npt.NDArray[np.int64]  # [s] ns UTC
    ends: npt.NDArray[np.int64]  # [s] ns UTC, not included
    owners: npt.NDArray[np.int32]  # [s]
    seed: npt.NDArray[np.uint64]  # [1]


class _Span(NamedTuple):
    start: int
    end: int
    owner: int


class IdentityTable:
    """Immutable; any thread may ask."""

    def __init__(self, bindings: Iterable[Binding] = (), networks: Sequence[Network] = ()) -> None:
        """Build the table; a hundred thousand bindings take about a second."""
        self.owners: list[Owner] = []
        self._positions: dict[Owner, int] = {}
        found: dict[str, list[tuple[int, int, int, int]]] = {}
        for each in bindings:
            if each.object == "pod" and each.host_network:
                continue
            owner = self._position(
                Owner(each.namespace, each.workload, each.workload_kind, each.node, each.object == "service")
            )
            end = FOREVER if each.valid_to is None else each.valid_to
            found.setdefault(each.ip, []).append((_RANKS[each.object], each.valid_from, end, owner))
        spans = {(text.address_bytes(ip), 128): _spans(claims) for ip, claims in found.items()}
        for network, owner_of in reversed(networks):
            packed, length = _packed(network)
            spans.setdefault((packed, length), []).append(_Span(0, FOREVER, self._position(owner_of)))
        self._arrays = _arrays(spans)
        enter_keys(self._arrays)

    def resolve(self, addresses: npt.NDArray[np.uint64], times: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """Return who had each address at its time.

        Args:
            addresses: ``[n, 2]``, the 16 bytes of an address (IPv4 mapped) as two words as they lie in memory.
            times: ``[n]`` in ns UTC.

        Returns:
            ``[n]`` positions in ``owners``; -1 where nobody is known.

        """
        out = np.empty(len(times), np.int32)
        resolve_rows(_frozen(addresses), _frozen(times), self._arrays, out)
        return out

    def resolve_text(self, addresses: Iterable[str], times: Iterable[int]) -> list[Owner | None]:
        """Return who had each address, as text, at its time in ns UTC; None where nobody is known.

        Raises:
            ValueError: a text is no address.

        """
        packed = _words(b"".join(map(text.address_bytes, addresses)))
        found = self.resolve(packed, np.fromiter(times, np.int64))
        return [self.owners[position] if position >= 0 else None for position in found.tolist()]

    def _position(self, owner: Owner) -> int:
        position = self._positions.get(owner)
        if position is None:
            position = self._positions[owner] = len(self.owners)
            self.owners.append(owner)
        return position


def _spans(claims: list[tuple[int, int, int, int]]) -> list[_Span]:
    """Return who has one address when; claims are (rank, from, to, owner)."""
    if len(claims) > 1:
        claims = sorted(claims)
        spans: list[_Span] = []
        for (rank, start, until, owner), follower in zip(claims, [*claims[1:], None], strict=True):
            end = min(until, follower[1]) if follower is not None and follower[0] == rank else until
            if start < end:
                spans = [*_cut(spans, start, end), _Span(start, end, owner)]
        spans.sort()
    else:
        ((_, start, end, owner),) = claims
        spans = [_Span(start, end, owner)]
    stretched: list[_Span] = []
    for number, span in enumerate(spans):
        start, end = max(0, span.start - GRACE), span.end
        if stretched:
            start = min(max(start, stretched[-1].end), span.start)
        if number + 1 < len(spans):
            end = min(end + GRACE, spans[number + 1].start)
        elif end != FOREVER:
            end += GRACE
        stretched.append(_Span(start, end, span.owner))
    return stretched


def _cut(spans: list[_Span], start: int, end: int) -> list[_Span]:
    """Return what is left of spans outside ``start`` to ``end``."""
    left = []
    for span in spans:
        if span.start < min(span.end, start):
            left.append(span._replace(end=min(span.end, start)))
        if max(span.start, end) < span.end:
            left.append(span._replace(start=max(span.start, end)))
    return left


def _packed(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> tuple[bytes, int]:
    length = network.prefixlen + (96 if network.version == 4 else 0)
    return text.address_bytes(str(network.network_address)), length


def _arrays(spans: dict[tuple[bytes, int], list[_Span]]) -> Arrays:
    lengths = sorted({128, *(length for _, length in spans)}, reverse=True)
    masks = b"".join(((1 << 128) - (1 << (128 - length))).to_bytes(16, "big") for length in lengths)
    every = [span for of_key in spans.values() for span in of_key]
    counts = np.fromiter(map(len, spans.values()), np.int64, len(spans))
    ends = np.cumsum(counts)
    starts = np.fromiter((span.start for span in every), np.int64, len(every))
    stops = np.fromiter((span.end for span in every), np.int64, len(every))
    owners = np.fromiter((span.owner for span in every), np.int32, len(every))
    words = np.empty(8 * (len(spans) + 1), np.uint64)
    first = -words.ctypes.data % 64 // 8
    keys = words[first : first + 8 * len(spans)].reshape(-1, 8)
    keys[:, :2] = _words(b"".join(packed for packed, _ in spans))
    keys[:, 2] = [length for _, length in spans]
    keys[:, 3], keys[:, 4] = ends - counts, ends
    for word, values in ((5, starts), (6, stops), (7, owners)):
        keys[:, word] = values[ends - 1]
    # At most half of the places are taken, so that a search ends soon.
    places = np.zeros(1 << max(4, (2 * len(spans)).bit_length()), np.int32)
    return Arrays(
        places=places,
        keys=_frozen(keys),
        lengths=np.array(lengths, np.int64),
        masks=_frozen(_words(masks)),
        starts=starts,
        ends=stops,
        owners=owners,
        seed=np.array([secrets.randbits(64)], np.uint64),
    )


def _frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return an array as the kernels know it: a kernel is compiled anew for each combination of such properties."""
    same = np.ascontiguousarray(array).view()
    same.flags.writeable = False
    return same


def _words(packed: bytes) -> npt.NDArray[np.uint64]:
    """Return packed addresses as ``[n, 2]``."""
    return np.frombuffer(packed, np.uint64).reshape(-1, 2) if packed else np.zeros((0, 2), np.uint64)
