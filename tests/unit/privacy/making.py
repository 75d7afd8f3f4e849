"""Frames for the tests of privacy, and rows of them as they leave the node."""

from __future__ import annotations

from typing import Any

from streamgauge import privacy
from streamgauge.demo import packets
from streamgauge.encode import to_arrow
from streamgauge.settings import CollectorSettings, PrivacySettings
from streamgauge.text import readable
from tests.support.rows import ORIGIN, decoded

KEY = "8d" * 32


def hidden(frames: list[bytes], *, collector: dict[str, Any] | None = None, **options: Any) -> list[dict[str, Any]]:
    """Return the rows of frames as they leave the node."""
    settings = PrivacySettings.model_validate({"key": KEY, **options})
    own = CollectorSettings.model_validate(collector or {})
    rows = decoded(frames)
    if own.community_id:
        from streamgauge.flows.community_id import CommunityIds

        CommunityIds().fill(rows, 0)
    made = privacy.make(settings, own)
    if made is not None:
        made.apply(rows)
    return readable(to_arrow(rows, ORIGIN)).to_pylist()  # type: ignore[no-any-return]


def udp(source: str = "10.0.0.1", target: str = "198.51.100.7", payload: bytes = b"x", port: int = 4000) -> bytes:
    ip, kind = (packets.ipv6, 0x86DD) if ":" in source else (packets.ipv4, 0x0800)
    return packets.ethernet(ip(packets.udp(payload, 4000, port), source, target, packets.UDP), kind)


def dns(name: str, **ends: str) -> bytes:
    return udp(payload=packets.dns_query(1, name), port=53, **ends)


def tcp(payload: bytes, port: int, source: str = "10.0.0.1") -> bytes:
    return packets.ethernet(packets.ipv4(packets.tcp(payload, 4000, port), source, "198.51.100.7", packets.TCP))


def request(target: str, host: str) -> bytes:
    return tcp(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode(), 80)
