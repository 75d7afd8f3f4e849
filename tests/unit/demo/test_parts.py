"""Parts of the demo that need no server: pages, audit, view, source, packets."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from streamgauge.demo import beside, packets, sample, source, view
from streamgauge.demo.audit import Audit, Stage
from streamgauge.demo.figures import Figures, Talker, Talkers
from streamgauge.demo.scrape import Page
from streamgauge.demo.services import ServiceProcess, require_services
from streamgauge.errors import CaptureError, ConfigurationError
from streamgauge.metrics import Metrics

GOOD = Audit(
    (
        Stage("captured", "ledger", 10),
        Stage("published", "ledger", 10, 9, 700),
        Stage("stored", "2 objects read back", 10, 9, 700),
        Stage("counted", "metrics of the exporter", 10, None, 700),
    ),
    dropped=0,
    evicted=0,
    objects=2,
)


def changed(position: int, **values: Any) -> Audit:
    """Return the good audit with one stage that says something else."""
    stages = list(GOOD.stages)
    old = stages[position]
    fields = {name: getattr(old, name) for name in ("name", "source", "packets", "rows", "bytes")}
    stages[position] = Stage(**{**fields, **values})
    return Audit(tuple(stages), GOOD.dropped, GOOD.evicted, GOOD.objects)


def test_audit_is_balanced_when_all_stages_agree() -> None:
    """A stage that does not count something has no say in it."""
    assert GOOD.balanced
    assert view.verdict(GOOD) == "every packet accounted for: 10 captured = published = stored = counted"


@pytest.mark.parametrize(
    ("position", "values"), [(0, {"packets": 11}), (1, {"rows": 8}), (2, {"bytes": 699}), (3, {"packets": 9})]
)
def test_any_difference_is_told(position: int, values: dict[str, int]) -> None:
    """One packet, row or byte is enough."""
    audit = changed(position, **values)

    assert not audit.balanced
    assert view.verdict(audit).startswith("the stages DIFFER: captured ")


def test_nothing_at_all_is_not_balanced() -> None:
    """A demo that captured nothing has shown nothing."""
    nothing = Audit((Stage("captured", "ledger", 0), Stage("stored", "", 0, 0, 0)), 0, 0, 0)

    assert not nothing.balanced
    assert view.verdict(nothing) == "nothing was captured"


def test_losses_are_itemised() -> None:
    """Packets the kernel dropped were never captured, and are told beside what was."""
    assert "; 7 more were dropped by the kernel" in view.verdict(Audit(GOOD.stages, 7, 0, 2))


def test_page_is_read_as_it_is_written() -> None:
    """Totals by name and labels, with awkward label values."""
    metrics = Metrics({"node": "n"})
    family = metrics.counter("things_total", "Things.", "kind")
    family.add(3, 'a "quoted", thing')
    family.add(4, "plain")
    metrics.gauge("level", "Level.").set(0.25)
    page = Page(metrics.render().decode())

    assert page.total("things_total") == 7
    assert page.total("things_total", kind="plain", node="n") == 4
    assert page.total("things_total", kind="other") == 0
    assert page.highest("level") == 0.25
    assert page.highest("no_such") == 0.0


@pytest.mark.parametrize(
    ("value", "words"),
    [(0, "0 "), (7, "7 "), (999, "999 "), (1000, "1 k"), (1234, "1.23 k"), (5.6e6, "5.6 M"), (7e13, "70 T")],
)
def test_amounts_have_three_digits(value: float, words: str) -> None:
    """Rates of any size fit their column."""
    assert view.amount(value) == words


def test_sparkline_reaches_from_bottom_to_top() -> None:
    """The highest value fills its cell; nothing at all is flat."""
    assert view.sparkline([0, 4, 8]) == "▁▅█"
    assert view.sparkline([0, 0]) == "▁▁"
    assert view.sparkline([]) == ""


def test_terminal_view_shows_the_numbers_and_the_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a person sees: rates, the way of a packet, talkers, protocols, pages."""
    shown = view._TerminalView([("collector", "http://127.0.0.1:1234/metrics")])
    shown._console = Console(width=130, record=True, force_terminal=True)
    shown._live.console = shown._console
    figures = Figures(
        captured=12_345,
        published=12_000,
        stored=11_000,
        dropped=3,
        packets_per_second=980,
        bits_per_second=4.2e6,
        talkers=(Talker("10.0.0.1", "10.0.0.2", 1000),),
        kinds=(("dns", 77),),
        history=(1, 2, 3),
    )
    shown._console.print(shown._picture(figures))
    shown.finish(GOOD)
    text = re.sub(r"\s+", " ", shown._console.export_text())

    for words in ("980 packets/s", "4.2 Mbit/s", "captured 12,345", "published 12,000", "10.0.0.1 → 10.0.0.2 8 k"):
        assert words in text
    for words in ("dns 77", "http://127.0.0.1:1234/metrics", "2 objects read back", "every packet accounted for"):
        assert words in text


def test_line_view_writes_whole_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """For a log file: no colours, no cursor movements."""
    shown = view.make([("nats", "nats://127.0.0.1:4222")])
    shown.say("everything runs")
    with shown.running():
        shown.show(Figures(captured=5))
        shown.show(Figures(captured=6))
    shown.finish(GOOD)
    lines = capsys.readouterr().out.splitlines()

    assert all(re.match(r" *\d+\.\d s  ", line) for line in lines)
    assert [line[10:] for line in lines if "captured 5 packets" in line or "captured 6 packets" in line] == [
        "captured 5 packets (0 /s, 0 bit/s)  published 0  stored 0  counted 0  lag 0.00 s"
    ]
    assert "\x1b" not in "".join(lines)


def test_loopback_is_captured_without_the_demo_itself(tmp_path: Path) -> None:
    """Otherwise each batch would be captured, published, captured again, for ever."""
    if source._refusal() is not None:
        pytest.skip("no right to capture")
    chosen = source.choose(pcap=None, interface=None, loop=False, scratch=tmp_path, own_ports={9, 7})

    assert chosen.settings["STREAMGAUGE_COLLECTOR_FILTER"] == "not (tcp and (port 7 or port 9))"
    assert chosen.makes_traffic
    assert "without the demo's own ports" in chosen.words


def test_other_interface_is_captured_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo's own traffic does not pass there, and it makes none."""
    if source._refusal() is not None:
        pytest.skip("no right to capture")
    monkeypatch.setattr(source.socket, "if_nameindex", lambda: [(1, "lo"), (9, "eth7")])
    chosen = source.choose(pcap=None, interface="eth7", loop=False, scratch=tmp_path, own_ports={9})

    assert chosen.settings == {"STREAMGAUGE_COLLECTOR_INTERFACE": "eth7"}
    assert not chosen.makes_traffic


def test_without_the_right_to_capture_a_sample_is_replayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says why, and what to do about it; an interface that was asked for is an error instead."""
    monkeypatch.setattr(source, "_refusal", lambda: "Operation not permitted; run it as root")
    chosen = source.choose(pcap=None, interface=None, loop=False, scratch=tmp_path, own_ports=())

    assert chosen.words == "replaying a sample capture"
    assert chosen.advice == "live capture is refused: Operation not permitted; run it as root"
    assert Path(chosen.settings["STREAMGAUGE_COLLECTOR_FILE"]).is_file()
    assert chosen.settings["STREAMGAUGE_COLLECTOR_FILE_LOOP"] == "0"
    with pytest.raises(CaptureError, match="interface eth0 cannot be captured: Operation not permitted"):
        source.choose(pcap=None, interface="eth0", loop=False, scratch=tmp_path, own_ports=())


def test_interface_is_taken_as_ip_link_writes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One end of a pair is written ``name@peer`` there; a name that is not there is told before a missing right."""
    monkeypatch.setattr(source.socket, "if_nameindex", lambda: [(1, "lo"), (9, "veth7")])
    monkeypatch.setattr(source, "_refusal", lambda: None)
    chosen = source.choose(pcap=None, interface="veth7@if2", loop=False, scratch=tmp_path, own_ports=())
    monkeypatch.setattr(source, "_refusal", lambda: "Operation not permitted; run it as root")

    assert chosen.settings == {"STREAMGAUGE_COLLECTOR_INTERFACE": "veth7"}
    with pytest.raises(CaptureError, match=re.escape("no interface eth0; there are: any (all of them), lo, veth7")):
        source.choose(pcap=None, interface="eth0", loop=False, scratch=tmp_path, own_ports=())


@pytest.mark.parametrize(
    ("user", "words"),
    [
        (0, "the capability CAP_NET_RAW is missing, add it (`docker run --cap-add NET_RAW`)"),
        (
            1000,
            "setpriv --reuid 1000 --regid 100 --init-groups --inh-caps +net_raw --ambient-caps +net_raw demo -i lo",
        ),
    ],
)
def test_remedy_is_a_line_to_copy(monkeypatch: pytest.MonkeyPatch, user: int, words: str) -> None:
    """Root lacks it in a container only; anyone else is given the right for this run, and no other."""
    for name, value in (("geteuid", user), ("getuid", user), ("getgid", 100)):
        monkeypatch.setattr(source.os, name, lambda value=value: value)
    monkeypatch.setattr(source.sys, "argv", ["demo", "-i", "lo"])

    assert source._remedy().endswith(words)


def test_shell_without_settings_is_told_of_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that answers and that this shell does not use yet; not one whose folder was kept."""
    monkeypatch.setattr(beside.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.delenv("STREAMGAUGE_NATS_URL", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as nats, socket.create_server(("127.0.0.1", 0)) as ended:
        for name, server in (("runs", nats), ("ended", ended)):
            folder = tmp_path / f"streamgauge-demo-{name}"
            folder.mkdir()
            url = f"nats://127.0.0.1:{server.getsockname()[1]}"
            (folder / "settings.sh").write_text(f"export STREAMGAUGE_NATS_URL={url}\n")
        ended.close()
        told = beside.hint()
        monkeypatch.setenv("STREAMGAUGE_NATS_URL", f"nats://127.0.0.1:{nats.getsockname()[1]}")

        assert told == f"a demo runs on this machine; to ask it, first: . {tmp_path}/streamgauge-demo-runs/settings.sh"
        assert beside.hint() == ""


def test_nobody_is_sent_into_a_file_that_others_may_have_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder for temporary files is everybody's: a file in it may be a trap, a link, a pipe that nobody writes."""
    monkeypatch.setattr(beside.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.delenv("STREAMGAUGE_NATS_URL", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as nats:
        text = f"export STREAMGAUGE_NATS_URL=nats://127.0.0.1:{nats.getsockname()[1]}\n"
        elsewhere = tmp_path / "elsewhere.sh"
        elsewhere.write_text(text)
        files = [tmp_path / f"streamgauge-demo-{name}" / "settings.sh" for name in ("open", "link", "pipe", "binary")]
        for file in files:
            file.parent.mkdir()
        files[0].write_text(text)
        files[0].parent.chmod(0o777)
        files[1].symlink_to(elsewhere)
        os.mkfifo(files[2])
        files[3].write_bytes(b"\xff" + text.encode())
        (tmp_path / "streamgauge-demo-linked").symlink_to(files[0].parent)
        of_all = beside.hint()
        files[0].parent.chmod(0o755)
        of_ours = beside.hint()
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)

        assert of_all == ""
        assert of_ours.endswith(f" {files[0]}")
        assert beside.hint() == ""


def test_sample_is_the_same_traffic_each_time(tmp_path: Path) -> None:
    """Only the times differ."""
    for name in ("a", "b"):
        sample.write(tmp_path / name, count=500)
    first, second = (_without_times((tmp_path / name).read_bytes()) for name in ("a", "b"))

    assert len(first) == 500
    # A ClientHello has random bytes.
    assert [len(frame) for frame in first] == [len(frame) for frame in second]


def _without_times(capture: bytes) -> list[bytes]:
    frames, at = [], 24
    while at < len(capture):
        length = int.from_bytes(capture[at + 8 : at + 12], "little")
        frames.append(capture[at + 16 : at + 16 + length])
        at += 16 + length
    return frames


def test_checksums_verify() -> None:
    """A sum over a packet with its checksum is all ones, for IPv4 and IPv6."""
    segment = packets.tcp(b"odd", 1, 2)
    packet = packets.ipv4(segment, "10.0.0.1", "10.0.0.2", packets.TCP)
    pseudo = packet[12:20] + bytes([0, packets.TCP]) + (len(packet) - 20).to_bytes(2, "big")

    assert packets._checksum(packet[:20]) == b"\0\0"
    assert packets._checksum(pseudo + packet[20:]) == b"\0\0"


async def test_talkers_are_the_heaviest_of_the_last_seconds() -> None:
    """A damaged message is left out; what was long ago is forgotten."""
    from types import SimpleNamespace

    from streamgauge import codec
    from tests.support.rows import batch_from

    talkers = Talkers()
    row = {"ip_version": 4, "src_ip": "10.0.0.1", "dst_ip": "10.0.0.2", "bytes": 500}
    batch = batch_from([row, row, {**row, "src_ip": "10.0.0.9", "bytes": 1}, {"bytes": 9_999}])
    for data in (codec.encode(batch), b"damaged"):
        await talkers.take(SimpleNamespace(data=data, headers=None))  # type: ignore[arg-type]

    assert talkers.turn() == (Talker("10.0.0.1", "10.0.0.2", 1000.0), Talker("10.0.0.9", "10.0.0.2", 1.0))
    for _ in range(10):
        last = talkers.turn()
    assert last == ()


def test_services_that_are_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The wheel holds the library alone; the message says where the demo can be run."""
    monkeypatch.setattr("streamgauge.demo.services.CHECKOUT", tmp_path)
    with pytest.raises(ConfigurationError, match="run the demo from a checkout of the project: make demo"):
        require_services()


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("", "it wrote nothing"),
        ('{"event": "listening"}\nstreamgauge: no interface x\n\n', "no interface x"),
        ('{"event": "cannot stop cleanly", "error": "boom"}\n', "boom"),
        ('{"event": "stopped"}\n', "stopped"),
    ],
)
def test_last_words_of_a_service(tmp_path: Path, log: str, words: str) -> None:
    """The line that tells why it ended, whatever form it has."""
    service = ServiceProcess("collector", {}, port=1, folder=tmp_path)
    service.log.write_text(log)

    assert service.last_words() == words


def test_death_by_signal_is_named(tmp_path: Path) -> None:
    """A killed service is told from one that ended, and how."""
    service = ServiceProcess("backup", {}, port=1, folder=tmp_path)
    service.log.write_text('{"event": "object stored"}\n')
    service.process = subprocess.Popen([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"])
    service.process.wait()
    killed = service.how_it_ended()
    service.process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    service.process.wait()

    assert killed == "the backup was ended by SIGKILL; out of memory?: the last it said: object stored"
    assert service.how_it_ended() == "the backup ended with status 3: object stored"
