"""`streamgauge demo` as a person runs it: a process, its lines, its exit status, and nothing left behind."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from streamgauge.demo import packets, sample, source
from tests.support import require
from tests.support.waiting import eventually_sync

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.live, pytest.mark.timeout(240)]

#: Without the right to capture, whoever runs the tests.
WITHOUT_CAPTURE = ("setpriv", "--bounding-set=-net_raw", "--inh-caps=-all", "--no-new-privs")


class DemoProcess:
    """A demo with its scratch folder below ``folder``; everything it starts inherits TMPDIR and is found by it."""

    def __init__(self, folder: Path, *arguments: str, prefix: tuple[str, ...] = ()) -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "streamgauge.cli.main", "demo", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(folder)},
        )
        self._lines: list[str] = []

    def read_until(self, words: str) -> None:
        """Read lines until one holds these words."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.append(line)
            if words in line:
                return
        raise AssertionError(f"it ended before it said {words!r}: {self.end()}")

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end(self) -> tuple[int, str, list[str]]:
        """Wait for the end: status, all of standard output, lines of standard error."""
        out, err = self._process.communicate(timeout=200)
        return self._process.returncode, "".join(self._lines) + out, err.splitlines()

    def left_behind(self) -> list[int]:
        """Return the processes that still run, other than itself."""
        mark = f"TMPDIR={self._folder}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                variables = (entry / "environ").read_bytes().split(b"\0") if entry.name.isdecimal() else []
                if any(variable.startswith(mark) for variable in variables):
                    found.append(int(entry.name))
        return found

    def kill(self) -> None:
        """End whatever is left, however the test went."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()
        for process_id in self.left_behind():
            with contextlib.suppress(OSError):
                os.kill(process_id, signal.SIGKILL)


class Demos:
    """Starts demos in one scratch folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[DemoProcess] = []

    def __call__(self, *arguments: str, prefix: tuple[str, ...] = ()) -> DemoProcess:
        self._started.append(DemoProcess(self._folder, *arguments, prefix=prefix))
        return self._started[-1]

    def nothing_is_left(self) -> bool:
        """Return whether neither processes nor files are left."""
        return not any(demo.left_behind() for demo in self._started) and not list(self._folder.iterdir())

    def close(self) -> None:
        for demo in self._started:
            demo.kill()


@pytest.fixture(name="demos")
def _demos(scratch: Path) -> Iterator[Demos]:
    require.program("nats-server")
    require.program("weed")
    demos = Demos(scratch)
    yield demos
    demos.close()


def counts(out: str) -> dict[str, int]:
    """Return the packets of each stage of the final table."""
    found = re.findall(r"^ *[\d.]+ s  (\w+): ([\d,]+) packets.*\((.*)\)$", out, re.MULTILINE)
    return {f"{stage} {origin}": int(number.replace(",", "")) for stage, number, origin in found}


def test_live_traffic_is_captured_stored_and_counted(demos: Demos) -> None:
    """On loopback with its own traffic: every packet is accounted for, and nothing stays."""
    if source._refusal() is not None:
        require.missing("the right to capture")
    status, out, err = demos("--duration", "4", "--rate", "300").end()
    found = counts(out)

    assert (status, err) == (0, [])
    assert "capturing lo, without the demo's own ports" in out
    assert len(found) == 5
    assert len(set(found.values())) == 1
    assert found["captured ledger"] > 200
    assert "every packet accounted for" in out.splitlines()[-1]
    assert demos.nothing_is_left()


def test_silent_interface_is_told(demos: Demos) -> None:
    """Whoever chose the wrong interface hears of it while looking on; the end does not call nothing a difference."""
    require.root()
    made = 'ip link set lo up && ip link add quiet0 type veth peer name quiet1 && exec "$@"'
    demo = demos("--interface", "quiet0", prefix=("unshare", "--net", "sh", "-c", made, "sh"))
    demo.read_until("no packet yet; `ip -s link` shows which interfaces have traffic")
    demo.send(signal.SIGINT)
    status, out, err = demo.end()

    assert (status, err) == (1, [])
    assert out.splitlines()[-1].endswith("nothing was captured")


def test_capture_file_is_replayed_once(demos: Demos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends by itself with exactly the packets of the file; asked to, it opens the live page in a browser."""
    browser = tmp_path / "browser"
    browser.write_text(f"#!/bin/sh\necho $1 > {tmp_path}/opened\n")
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", f"{browser} %s")
    path = tmp_path / "sample.pcap"
    sample.write(path, count=3_210)
    status, out, err = demos("--pcap", str(path), "--open").end()

    assert (status, err) == (0, [])
    assert f"live page: {(tmp_path / 'opened').read_text()}" in out
    assert set(counts(out).values()) == {3_210}
    assert demos.nothing_is_left()


@pytest.mark.parametrize(
    ("number", "option", "words"),
    [(signal.SIGINT, "--loop", "captured "), (signal.SIGTERM, "--stay", "the file is read; everything stays up")],
)
def test_signal_ends_it_with_the_audit(
    demos: Demos, tmp_path: Path, *, number: signal.Signals, option: str, words: str
) -> None:
    """Ctrl-C in the middle of a replay without end, or of questions about a file that is read."""
    path = tmp_path / "sample.pcap"
    sample.write(path, count=500)
    demo = demos("--pcap", str(path), option)
    demo.read_until(words)
    if option == "--stay":
        demo.read_until("captured 500 packets")
    demo.send(number)
    status, out, err = demo.end()

    assert (status, err) == (0, [])
    assert "every packet accounted for" in out.splitlines()[-1]
    assert demos.nothing_is_left()


def test_killed_demo_leaves_nothing_behind(demos: Demos, tmp_path: Path) -> None:
    """Not even SIGKILL leaves servers and services running, or the folder."""
    path = tmp_path / "sample.pcap"
    sample.write(path, count=500)
    demo = demos("--pcap", str(path), "--loop")
    demo.read_until("everything runs")
    assert len(demo.left_behind()) >= 6
    demo.send(signal.SIGKILL)
    demo.end()

    eventually_sync(demos.nothing_is_left, within=20)


def test_without_the_right_to_capture_it_replays_a_sample(demos: Demos) -> None:
    """One line says why, and how to give it the right."""
    require.root()
    require.program("setpriv")
    status, out, err = demos("--duration", "2", prefix=WITHOUT_CAPTURE).end()

    assert (status, err) == (0, [])
    assert "  replaying a sample capture; starting NATS" in out
    assert "  live capture is refused: Operation not permitted; the capability CAP_NET_RAW is missing" in out
    assert "every packet accounted for" in out.splitlines()[-1]
    assert demos.nothing_is_left()


def test_kept_folder_has_logs_and_objects(demos: Demos, scratch: Path, tmp_path: Path) -> None:
    """What happened can be looked at afterwards."""
    path = tmp_path / "one.pcap"
    path.write_bytes(packets.pcap([(1_764_079_200_000_000_000, packets.ethernet(b"", 0x88CC))]))
    status, out, _ = demos("--pcap", str(path), "--keep").end()
    (kept,) = scratch.iterdir()

    assert status == 0
    assert f"kept: {kept}" in out
    assert {file.stem for file in (kept / "logs").iterdir()} == {"collector", "backup", "exporter"}


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("--pcap", "/no/such.pcap"), 1, "/no/such.pcap: cannot be opened: No such file"),
        (("--pcap", "/etc/passwd"), 1, "/etc/passwd: not a capture file"),
        (("--interface", "nosuch0"), 1, "no interface nosuch0; there are: any (all of them), "),
        (("--interface", "lo", "--pcap", "a.pcap"), 2, "--pcap replays a file and --interface captures: give one"),
        (("--loop",), 2, "--loop repeats a file: name one with --pcap FILE"),
        (("--duration", "0"), 2, "Invalid value for '--duration'"),
    ],
)
def test_wrong_input_is_one_line(demos: Demos, *, arguments: tuple[str, ...], status: int, words: str) -> None:
    """What is wrong, and nothing left behind."""
    if "--interface" in arguments and source._refusal() is not None:
        require.missing("the right to capture")
    ended, _, err = demos(*arguments).end()

    assert ended == status
    assert len(err) == 1
    assert err[0].startswith(f"streamgauge: {words}")
    assert demos.nothing_is_left()


def test_interface_without_the_right_to_capture(demos: Demos) -> None:
    """Asked for an interface, it does not show something else instead."""
    require.root()
    require.program("setpriv")
    status, _, err = demos("--interface", "lo", prefix=WITHOUT_CAPTURE).end()

    assert status == 1
    assert len(err) == 1
    assert err[0].startswith("streamgauge: interface lo cannot be captured: Operation not permitted; the capability")


def test_damaged_capture_is_audited_as_far_as_it_is_good(demos: Demos, tmp_path: Path) -> None:
    """Nothing of what could be read is lost; the exit status says that something could not."""
    path = tmp_path / "cut.pcap"
    sample.write(path, count=100)
    path.write_bytes(path.read_bytes()[:-1])
    status, out, err = demos("--pcap", str(path)).end()

    assert status == 1
    assert len(err) == 1
    assert "breaks off inside a packet" in err[0]
    assert set(counts(out).values()) == {99}
    assert demos.nothing_is_left()
