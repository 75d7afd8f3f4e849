"""Conversations as Zeek's conn.log, read back by a parser that goes by the header alone."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

import pytest

from streamgauge.demo.packets import ACK, FIN, RST, SYN, TCP, UDP, ethernet, ipv4, pcap, tcp, udp
from streamgauge.query import Folder, Query, zeek
from tests.support import archive, incidents
from tests.support.query import START

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

CLIENT, SERVER = "10.0.0.1", "10.0.0.2"


def parse(log: bytes) -> list[dict[str, Any]]:
    """Read a log as its header says: separator, unset field, names and types."""
    lines = log.decode().splitlines()
    assert lines[0] == "#separator \\x09"
    head = {line.split("\t")[0]: line.split("\t")[1:] for line in lines[1:] if line.startswith("#")}
    names, kinds = head["#fields"], head["#types"]
    convert = {"time": float, "interval": float, "count": int, "port": int, "bool": {"T": True, "F": False}.__getitem__}
    rows = []
    for line in lines:
        if line.startswith("#"):
            continue
        cells = line.split("\t")
        assert len(cells) == len(names) == len(kinds)
        rows.append(
            {
                name: None if cell == head["#unset_field"][0] else convert.get(kind, str)(cell)
                for name, kind, cell in zip(names, kinds, cells, strict=True)
            }
        )
    assert "#close" in head
    return rows


def log_of(folder: Path, *, community_id: bool = False) -> list[dict[str, Any]]:
    stream = io.BytesIO()
    with Query(Folder(folder)) as query:
        zeek.write(query.run(zeek.SQL), stream, community_id=community_id)
    return parse(stream.getvalue())


def conversation(tmp_path: Path, frames: Iterable[bytes], **options: bool) -> dict[str, Any]:
    """Return the one line of some frames, a millisecond apart."""
    capture = tmp_path / "one.pcap"
    capture.write_bytes(pcap([(START + number * 1_000_000, frame) for number, frame in enumerate(frames)]))
    archive.Archive(tmp_path).add(archive.messages(capture, node="node-a"))
    (row,) = log_of(tmp_path, **options)
    return row


def segments(*steps: tuple[str, int]) -> list[bytes]:
    """Return segments: ``c`` from the client, ``s`` from the server, with these flags."""
    numbers = {"c": 100, "s": 900}
    made = []
    for side, flags in steps:
        other = "s" if side == "c" else "c"
        ends = (CLIENT, SERVER, 40_000, 80) if side == "c" else (SERVER, CLIENT, 80, 40_000)
        segment = tcp(b"", ends[2], ends[3], flags=flags, seq=numbers[side], ack=numbers[other] if flags & ACK else 0)
        numbers[side] += bool(flags & (SYN | FIN))
        made.append(ethernet(ipv4(segment, ends[0], ends[1], TCP)))
    return made


OPEN = (("c", SYN), ("s", SYN | ACK), ("c", ACK))


@pytest.mark.parametrize(
    ("steps", "state", "history"),
    [
        ((("c", SYN),), "S0", "S"),
        ((("c", SYN), ("s", RST | ACK)), "REJ", "Sr"),
        ((("c", SYN), ("c", RST)), "RSTOS0", "SR"),
        ((("c", SYN), ("c", FIN)), "SH", "SF"),
        ((("s", SYN | ACK), ("s", FIN | ACK)), "SHR", "hf"),
        ((("s", SYN | ACK), ("s", RST)), "RSTRH", "hr"),
        (OPEN, "S1", "ShA"),
        ((*OPEN, ("c", FIN | ACK)), "S2", "ShAF"),
        ((*OPEN, ("s", FIN | ACK)), "S3", "ShAf"),
        ((*OPEN, ("c", FIN | ACK), ("s", FIN | ACK), ("c", ACK)), "SF", "ShAFf"),
        ((*OPEN, ("c", RST | ACK)), "RSTO", "ShAR"),
        ((*OPEN, ("s", RST | ACK)), "RSTR", "ShAr"),
        ((("c", ACK), ("s", ACK)), "OTH", "Aa"),
    ],
)
def test_states(tmp_path: Path, steps: tuple[tuple[str, int], ...], state: str, history: str) -> None:
    """Zeek's conn_state, and the letters of history in the order of the packets."""
    row = conversation(tmp_path, segments(*steps))

    assert (row["conn_state"], row["history"]) == (state, history)
    assert (row["id.orig_h"], row["id.orig_p"], row["id.resp_h"], row["id.resp_p"]) == (CLIENT, 40_000, SERVER, 80)


def test_udp_and_community_id(tmp_path: Path) -> None:
    """Question and answer; the identifier is the published one of these ends (test data of community-id-spec)."""
    frames = [
        ethernet(ipv4(udp(b"question", 54585, 53), "192.168.1.52", "8.8.8.8", UDP)),
        ethernet(ipv4(udp(b"an answer", 53, 54585), "8.8.8.8", "192.168.1.52", UDP)),
    ]
    row = conversation(tmp_path, frames, community_id=True)

    assert row["community_id"] == "1:d/FP5EW3wiY1vCndhwleRRKHowQ="
    assert (row["proto"], row["conn_state"], row["history"]) == ("udp", "SF", "Dd")
    assert (row["orig_bytes"], row["resp_bytes"], row["orig_pkts"], row["resp_pkts"]) == (8, 9, 1, 1)
    assert row["duration"] == pytest.approx(0.001)
    assert (row["local_orig"], row["local_resp"]) == (True, False)
    assert row["missed_bytes"] is row["orig_ip_bytes"] is row["resp_ip_bytes"] is row["tunnel_parents"] is None


def test_a_minute_of_traffic(folder: Path) -> None:
    """Each conversation once although two nodes captured it, each with its own uid, the same in every log."""
    rows = log_of(folder)
    beacons = [row for row in rows if row["id.resp_h"] == incidents.OUTSIDE]
    scanned = [row for row in rows if row["id.orig_h"] == incidents.SCANNER]

    assert [row["conn_state"] for row in beacons] == ["SF"] * incidents.BEACONS * 2
    assert {row["conn_state"] for row in scanned} == {"REJ", "S1"}
    assert len(scanned) == incidents.SCANNED_PORTS * 2
    assert {row["service"] for row in rows} == {"dns", "http", "ssl", None}
    uids = [row["uid"] for row in rows]
    assert len(set(uids)) == len(uids)
    assert all(re.fullmatch(r"C[0-9A-Za-z]{17}", uid) for uid in uids)
    assert uids == [row["uid"] for row in log_of(folder)]
    assert [row["ts"] for row in rows] == sorted(row["ts"] for row in rows)
