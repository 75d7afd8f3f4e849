"""`streamgauge decode`."""

from __future__ import annotations

import csv
import gzip
import io
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

from streamgauge import schema
from streamgauge.cli.main import main
from streamgauge.demo import packets

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Run = Callable[..., tuple[int, str, str]]

START = 1_764_079_200_123_456_789
ENDS = ("10.0.0.1", "10.0.0.53")
FRAMES = [
    packets.ethernet(packets.ipv4(packets.udp(packets.dns_query(7, "www.example.com"), 4000, 53), *ENDS, 17)),
    packets.ethernet(
        packets.ipv6(packets.tcp(b"", 4000, 443, flags=2, seq=9), "fd00::1", "2001:db8::2", 6), 0x86DD, vlan=12
    ),
    packets.ethernet(packets.arp(*ENDS), 0x0806),
    packets.ethernet(packets.ipv4(packets.udp(b"", 1, 2), *ENDS, 17)[:24]),
]
CAPTURE = packets.pcap((START + number * 1000, frame) for number, frame in enumerate(FRAMES))


@pytest.fixture(name="run")
def _run(capfd: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str | Path) -> tuple[int, str, str]:
        status = main(["decode", *map(str, arguments)])
        written = capfd.readouterr()
        return status, written.out, written.err

    return run


@pytest.fixture(name="capture")
def _capture(tmp_path: Path) -> Path:
    path = tmp_path / "small.pcap"
    path.write_bytes(CAPTURE)
    return path


def objects(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_table_is_the_default(run: Run, capture: Path) -> None:
    """One line a packet under a line of names."""
    status, out, err = run(capture)

    assert (status, err) == (0, "")
    assert out.splitlines() == [
        "TIME (UTC)      SOURCE                  DESTINATION           PROTO    BYTES  INFO",
        "14:00:00.123456 10.0.0.1:4000         > 10.0.0.53:53          dns         75  query 0x0007 A www.example.com",
        "14:00:00.123457 [fd00::1]:4000        > [2001:db8::2]:443     tcp         78  [S] seq 9 win 64240 len 0",
        "14:00:00.123458 02:00:5e:00:00:01     > 02:00:5e:00:00:02     arp         42  request",
        "14:00:00.123459 10.0.0.1:1            > 10.0.0.53:2           udp         38  len 0 [malformed]",
    ]


def test_ndjson_has_the_names_of_the_record(run: Run, capture: Path) -> None:
    """Time in nanoseconds, addresses as text, what is not there is left out."""
    status, out, _ = run("--format", "ndjson", capture)
    dns, syn, arp, cut = objects(out)

    assert status == 0
    assert [row["time"] for row in (dns, syn, arp, cut)] == [START + 1000 * number for number in range(4)]
    assert (dns["src_ip"], dns["dns_name"], dns["dns_response"]) == ("10.0.0.1", "www.example.com", False)
    assert (syn["vlan"], syn["eth_type"], syn["dst_ip"], syn["tcp_seq"]) == (12, 0x86DD, "2001:db8::2", 9)
    assert "src_port" not in arp
    assert cut["decode_status"] == "malformed"
    assert {name for row in (dns, syn, arp, cut) for name in row} <= set(schema.NAMES)
    assert (dns["interface"], dns["observation_point"]) == ("small.pcap", "file")


def test_csv_has_all_columns(run: Run, capture: Path) -> None:
    """One line of names, then a line a packet; null is an empty field."""
    status, out, _ = run("-f", "csv", capture)
    rows = list(csv.DictReader(io.StringIO(out)))

    assert status == 0
    assert list(rows[0]) == list(schema.NAMES)
    assert (rows[0]["time"], rows[0]["src_ip"], rows[0]["vlan"]) == (str(START), "10.0.0.1", "")
    assert rows[1]["fragment"] == "false"


def test_parquet_is_readable_by_any_tool(run: Run, capture: Path, tmp_path: Path) -> None:
    """Addresses are text, the time is a timestamp; the suffix decides the format."""
    path = tmp_path / "out.parquet"
    assert run(capture, capture, "--output", path) == (0, "", "")
    table = pq.read_table(path)

    assert table.num_rows == 8
    assert table.schema.names == list(schema.NAMES)
    assert str(table.schema.field("time").type) == "timestamp[ns, tz=UTC]"
    assert table.column("src_ip").to_pylist()[:2] == ["10.0.0.1", "fd00::1"]
    assert table.column("decode_status").to_pylist()[:4] == ["ok", "ok", "ok", "malformed"]


@pytest.mark.parametrize("form", ["table", "ndjson", "csv", "parquet"])
def test_file_without_packets_is_a_file_without_rows(run: Run, tmp_path: Path, form: str) -> None:
    """An empty result still has its names."""
    empty = tmp_path / "empty.pcap"
    empty.write_bytes(packets.pcap([]))
    out = tmp_path / "out"
    assert run("-f", form, "-o", out, empty) == (0, "", "")

    if form == "parquet":
        assert pq.read_table(out).schema.names == list(schema.NAMES)
    else:
        assert len(out.read_text().splitlines()) == (1 if form == "csv" else 0)


@pytest.mark.parametrize("form", ["table", "ndjson", "csv"])
def test_chosen_columns_in_their_order(run: Run, capture: Path, form: str) -> None:
    """The same choice in every format."""
    status, out, _ = run("-f", form, "--columns", "bytes, dst_port", capture)
    wanted = {
        "table": "bytes  dst_port\n75     53\n78     443\n42     -\n38     2\n",
        "ndjson": '{"bytes":75,"dst_port":53}\n{"bytes":78,"dst_port":443}\n{"bytes":42}\n{"bytes":38,"dst_port":2}\n',
        "csv": '"bytes","dst_port"\n75,53\n78,443\n42,\n38,2\n',
    }

    assert (status, out) == (0, wanted[form])


def test_unknown_column_is_told(run: Run, capture: Path) -> None:
    """With the name that was probably meant."""
    assert run("--columns", "srcip", capture) == (
        2,
        "",
        "streamgauge: 'srcip' is no column; did you mean src_ip?\n",
    )


def test_limit_counts_over_all_files(run: Run, capture: Path) -> None:
    """The first N packets in the order of the files."""
    status, out, _ = run("-f", "ndjson", "--limit", "6", capture, capture)

    assert status == 0
    assert [row["time"] for row in objects(out)] == [START + 1000 * (number % 4) for number in range(6)]


def test_standard_input_and_gzip(capture: Path) -> None:
    """`tcpdump -w - | streamgauge decode -`, also compressed."""
    for data in (CAPTURE, gzip.compress(CAPTURE)):
        ran = subprocess.run(
            [sys.executable, "-m", "streamgauge.cli.main", "decode", "-f", "ndjson", "-"],
            input=data,
            capture_output=True,
            check=True,
        )
        assert len(ran.stdout.splitlines()) == len(FRAMES)
        assert json.loads(ran.stdout.splitlines()[0])["interface"] == "-"


def test_outermost_headers_are_accepted_as_a_choice(run: Run, capture: Path) -> None:
    """Scripts that ask for them keep their meaning."""
    assert run("--no-decapsulate", capture)[0] == 0


@pytest.mark.parametrize("form", ["table", "ndjson", "csv"])
def test_damaged_file_gives_what_is_good_and_the_others(run: Run, capture: Path, tmp_path: Path, form: str) -> None:
    """Rows before the damage, then the other files, then a line for each damage and status 1."""
    cut, text = tmp_path / "cut.pcap", tmp_path / "no.pcap"
    cut.write_bytes(CAPTURE[:-10])
    text.write_text("no capture")
    status, out, err = run("-f", form, cut, text, capture)

    assert status == 1
    assert len(out.splitlines()) == 3 + 4 + (form != "ndjson")
    first, second = err.splitlines()
    assert first.startswith(f"streamgauge: {cut}: breaks off inside a packet")
    assert "after packet 3" in first
    assert second.startswith(f"streamgauge: {text}: not a capture file")


def test_unknown_link_type_is_rows_without_headers(run: Run, tmp_path: Path) -> None:
    """One packet, one row, whatever its link type: unsupported, with its time and length."""
    path = tmp_path / "user.pcap"
    path.write_bytes(packets.pcap([(START, b"12345"), (START, b"")], link=147))
    status, out, err = run("-f", "ndjson", path)

    assert (status, err) == (0, "")
    assert [(row["bytes"], row["decode_status"]) for row in objects(out)] == [(5, "unsupported"), (0, "unsupported")]


def test_file_that_is_missing(run: Run) -> None:
    """What, and why."""
    said = "/no/such.pcap: cannot be opened: No such file or directory; check the path and its permissions"

    assert run("/no/such.pcap")[::2] == (1, f"streamgauge: {said}\n")


@pytest.mark.parametrize("form", ["parquet", "csv", "ndjson"])
def test_no_capture_makes_no_output(run: Run, tmp_path: Path, form: str) -> None:
    """Neither a new file nor one in place of an old one; a file that breaks off gives what is good in it."""
    wrong, target = tmp_path / "text", tmp_path / f"x.{form}"
    wrong.write_text("no packets here")
    status, _, err = run(wrong, "--output", target)
    assert (status, err.startswith(f"streamgauge: {wrong}: not a capture file")) == (1, True)
    assert not target.exists()
    target.write_text("kept")
    run(wrong, "/no/such.pcap", "--output", target)

    assert target.read_text() == "kept"


def test_output_that_cannot_be_written(run: Run, capture: Path) -> None:
    """It is told before anything is decoded."""
    assert run(capture, "--output", "/no/such/out.csv") == (
        2,
        "",
        "streamgauge: /no/such/out.csv: cannot be written: No such file or directory; choose another --output\n",
    )


def test_full_disk_names_the_file(run: Run, capture: Path) -> None:
    """Data that did not arrive is no success."""
    assert run(capture, "-f", "csv", "--output", "/dev/full") == (
        1,
        "",
        "streamgauge: /dev/full: No space left on device\n",
    )


def test_input_is_not_overwritten(run: Run, capture: Path) -> None:
    """A slip of the hand must not cost the capture."""
    status, _, err = run(capture, "--output", capture)

    assert (status, err) == (2, f"streamgauge: {capture} is also read; choose another --output\n")
    assert capture.read_bytes() == CAPTURE


def test_text_of_the_traffic_cannot_steer_the_terminal(run: Run, tmp_path: Path) -> None:
    """A path with escape sequences, and one without end."""
    path = tmp_path / "evil.pcap"
    request = b"GET /\x1b[2J" + b"a" * 500 + b" HTTP/1.1\r\nHost: x\r\n\r\n"
    path.write_bytes(packets.pcap([(START, packets.ethernet(packets.ipv4(packets.tcp(request, 1, 80), *ENDS, 6)))]))
    _, out, _ = run(path)

    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) < 260
