"""What the live page is sent: plain data, every list bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from services.exporter import words
from services.exporter.optional import TIME_BUCKETS
from streamgauge import text

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from services.exporter.aggregate import Counts
    from services.exporter.consumer import Progress
    from services.exporter.health import Health
    from services.exporter.ledger_book import LedgerBook
    from services.exporter.recent import Recent, Second, Window

#: Windows the page can choose from, in minutes.
WINDOWS: Final = (1, 15)
#: Of times: the median, and what is slow.
QUANTILES: Final = (0.5, 0.95)
#: Rows of a table on the page, and nodes in the table of losses.
_ROWS: Final = 12
_NODES: Final = 100
#: Seconds of lag past which a node replays an old capture rather than lags.
_REPLAYED: Final = 86_400.0

_PORT_PROTOCOLS: Final = {6: "tcp", 17: "udp", 132: "sctp"}


def points(seconds: Sequence[Second]) -> list[list[int]]:
    """Return seconds as [time, packets, bytes]."""
    return [list(second) for second in seconds]


def snapshot(recent: Recent, book: LedgerBook, health: Health, progress: Progress, now: float) -> dict[str, Any]:
    """Return everything but the history."""
    return {
        "time": now,
        "windows": {str(minutes): _window(recent.window(minutes, _ROWS)) for minutes in WINDOWS},
        "ledger": _ledger(book, health, now),
        "hops": [
            {"name": each.hop, "state": each.state.value, "words": each.evidence, "remedy": each.remedy}
            for each in health.judge(now)
        ],
        "lag": max((lag for lag in list(progress.lag_by_node.values()) if lag < _REPLAYED), default=None),
    }


def _window(window: Window) -> dict[str, Any]:
    counts = window.counts
    return {
        "packets": int(counts.traffic[..., 0].sum()),
        "bytes": int(counts.traffic[..., 1].sum()),
        "protocols": _protocols(counts),
        "directions": _named(words.DIRECTIONS, counts.traffic[..., 1].sum(axis=(0, 1))),
        "pairs": [
            {
                "source": text.address_text(pair[:16]),
                "destination": text.address_text(pair[16:]),
                "packets": p,
                "bytes": b,
            }
            for pair, (p, b) in window.pairs
        ],
        "ports": [
            {"name": f"{port}/{_PORT_PROTOCOLS.get(protocol, protocol)}", "packets": p, "bytes": b}
            for (protocol, port), (p, b) in window.ports
        ],
        "domains": [domain._asdict() for domain in window.domains],
        "flags": _named(words.FLAGS, counts.flags),
        "unanswered": int(counts.unanswered.sum()),
        "troubles": counts.troubles.tolist(),
        "times": [[_quantile(row[:-1].tolist(), part) for part in QUANTILES] for row in counts.times],
        "silent": int(counts.silent.sum()),
        "queries": _named(words.QTYPES, counts.queries),
        "rcodes": _named(words.RCODES, counts.responses.sum(axis=0)),
        "statuses": _named(words.STATUSES, counts.status),
    }


def _quantile(buckets: Sequence[int], part: float) -> float | None:
    """Return the seconds below which this part lies, as Prometheus' histogram_quantile does; None of nothing."""
    wanted = part * sum(buckets)
    if not wanted:
        return None
    below, lower = 0, 0.0
    for count, upper in zip(buckets, TIME_BUCKETS, strict=False):
        if below + count >= wanted:
            return lower + (upper - lower) * (wanted - below) / count
        below, lower = below + count, upper
    return lower


def _protocols(counts: Counts) -> list[dict[str, Any]]:
    """Return packets and bytes by protocol and application, heaviest first."""
    sums = counts.traffic.sum(axis=2)
    rows: list[tuple[int, int, str]] = [
        (size, packets, _protocol_name(protocol, app))
        for protocol, by_app in enumerate(sums.tolist())
        for app, (packets, size) in enumerate(by_app)
        if packets
    ]
    return [
        {"name": name, "packets": packets, "bytes": size} for size, packets, name in sorted(rows)[: -_ROWS - 1 : -1]
    ]


def _protocol_name(protocol: int, app: int) -> str:
    return words.PROTOCOLS[protocol] if app == 0 else f"{words.APPS[app]} over {words.PROTOCOLS[protocol]}"


def _named(names: tuple[str, ...], values: npt.NDArray[np.int64]) -> dict[str, int]:
    """Return the values that are not 0 by name, largest first."""
    found = [(name, value) for name, value in zip(names, values.tolist(), strict=True) if value]
    return dict(sorted(found, key=lambda item: -item[1]))


def _ledger(book: LedgerBook, health: Health, now: float) -> dict[str, Any]:
    accounts = sorted(book.accounts(now), key=lambda item: (-item[1].lost, item[0]))
    return {
        "received": sum(account.total("kernel_received") for _, account in accounts),
        "lost": sum(account.lost for _, account in accounts),
        "lost_recently": health.lost_recently,
        "nodes": len(accounts),
        "accounts": [
            {
                "node": node,
                "interface": interface,
                "received": account.total("kernel_received"),
                "dropped": account.total("kernel_dropped"),
                "evicted": account.total("evicted"),
                "spooled": account.latest.spooled,
                "imbalance": account.latest.unpublished,
                "heard": round(now - account.heard, 1),
                "ended": account.latest.reason == "stop",
            }
            for (node, interface), account in accounts[:_NODES]
        ],
    }
