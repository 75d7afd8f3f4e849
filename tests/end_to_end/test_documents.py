"""Every command in the README and the tutorial is run as it stands there, but for names that are the reader's own.

What needs a Docker engine or a cluster, or takes minutes, is only looked at: the verb exists and the shell can read it.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from streamgauge.demo import sample, source
from tests.support import require

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = ("README.md", "docs/00-first-ten-minutes.md")
#: Only looked at, each with the reason.
LOOKED_AT: Final = {
    "make up": "needs a Docker engine",
    "make deploy OVERLAY=dev": "needs a cluster",
    ".venv/bin/streamgauge doctor --kubernetes": "needs a cluster; tests/live/doctor/test_kubernetes.py has one",
    "make bench": "takes minutes",
    "make test": "it is what runs this",
}
_BLOCK: Final = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands(page: str) -> list[str]:
    """Return the lines of a page that a reader types."""
    blocks = _BLOCK.findall((ROOT / page).read_text())
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


ALL: Final = list(dict.fromkeys(command for page in PAGES for command in commands(page)))
DEMOS: Final = [each for each in ALL if each.startswith("make demo")]
#: In a second terminal, beside the demo that captures.
BESIDE: Final = [each for each in ALL if each not in DEMOS and each not in LOOKED_AT]


class Folder:
    """A folder in which a reader's own files are, and the checkout's programs under the names of the pages."""

    def __init__(self, folder: Path) -> None:
        self.path = folder
        self.settings = ""
        sample.write(folder / "capture.pcapng", count=300)
        (folder / ".venv" / "bin").mkdir(parents=True)
        program = folder / ".venv" / "bin" / "streamgauge"
        program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m streamgauge.cli.main "$@"\n')
        program.chmod(0o755)

    def run(self, command: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a line in a shell that has read the demo's settings."""
        line = re.sub(r"/tmp/streamgauge-demo-\w+/settings.sh", self.settings, command)
        before = f". {self.settings} && " if self.settings else ""
        return subprocess.run(
            ["bash", "-o", "pipefail", "-c", before + line],
            cwd=self.path,
            env={**os.environ, "TMPDIR": str(self.path)},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def of_make(self, command: str) -> list[str]:
        """Return the command line that a demo's verb of the Makefile ends in, with this machine's interface."""
        told = subprocess.run(
            ["bash", "-c", f"{command} --dry-run"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        line = next(line for line in reversed(told.stdout.splitlines()) if "streamgauge demo" in line)
        return ["bash", "-c", f"exec {line.strip().removeprefix('@').replace('eth0', 'lo')} --no-open --rate 200"]


@pytest.fixture(name="folder", scope="module")
def _folder() -> Iterator[Folder]:
    path = Path(tempfile.mkdtemp(prefix="sg-docs-"))
    yield Folder(path)
    shutil.rmtree(path, ignore_errors=True)


def test_there_are_commands() -> None:
    """The rules below are not kept by finding none."""
    assert len(DEMOS) == 3
    assert len(BESIDE) >= 12
    assert set(LOOKED_AT) <= set(ALL)


@pytest.mark.parametrize("command", LOOKED_AT)
def test_what_is_only_looked_at_can_be_read(command: str) -> None:
    """A verb that does not exist, or a quote that does not end, is found."""
    if command.startswith("make "):
        subprocess.run(["bash", "-c", f"{command} --dry-run"], cwd=ROOT, capture_output=True, check=True)
    subprocess.run(["bash", "-n", "-c", command], capture_output=True, check=True)


def test_an_old_python_is_told_in_one_line(tmp_path: Path) -> None:
    """Not by what pip finds missing; and no environment of it stays for the next try."""
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    old = tmp_path / "python3.9"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    # Not as a part of the make that may run this test: that one says which folder it enters.
    environment = {
        name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    }
    made = subprocess.run(
        ["make", "setup", f"PYTHON={old}"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (made.returncode, made.stdout) == (2, "")
    assert made.stderr.startswith("Python 3.11 or later is needed; another one: make PYTHON=python3.12 setup\n")
    assert not (tmp_path / ".venv").exists()


def test_a_file_is_replayed(folder: Folder) -> None:
    """`make demo` with a capture file."""
    (command,) = [each for each in DEMOS if "--pcap" in each]
    ran = subprocess.run(folder.of_make(command), cwd=folder.path, capture_output=True, text=True, check=False)

    assert (ran.returncode, ran.stderr) == (0, "")
    assert "every packet accounted for: 300 captured = published = stored = counted" in ran.stdout


def test_own_traffic_and_everything_beside_it(folder: Folder) -> None:
    """The tutorial from its second section on, with loopback for the reader's interface; Ctrl-C at the end."""
    if source._refusal() is not None:
        require.missing("the right to capture")
    (command,) = [each for each in DEMOS if "--interface" in each]
    demo = subprocess.Popen(
        folder.of_make(command), cwd=folder.path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert demo.stdout is not None
    try:
        written = []
        for line in demo.stdout:
            written.append(line)
            found = re.search(r" settings: (\S+)", line)
            folder.settings = found[1] if found else folder.settings
            if re.search(r"  stored [1-9]", line):
                break
        assert folder.settings, "".join(written)
        outcomes = {each: folder.run(each) for each in BESIDE}
        demo.send_signal(signal.SIGINT)
        written.append(demo.communicate(timeout=120)[0])
    finally:
        folder.settings = ""
        if demo.poll() is None:
            demo.kill()
            demo.communicate()

    failed = {each: (ran.returncode, ran.stderr) for each, ran in outcomes.items() if ran.returncode}
    assert failed == {}
    silent = [each for each, ran in outcomes.items() if not ran.stdout and "--output" not in each and each[0] != "."]
    # Nobody fails to resolve a name in the demo at every moment.
    assert set(silent) <= {each for each in BESIDE if "dns-failures" in each}
    assert "no broken hop" in outcomes[".venv/bin/streamgauge doctor"].stdout
    assert "every packet accounted for" in written[-1]
    assert (folder.path / "capture.parquet").stat().st_size > 1000


def test_every_page_is_in_the_index_and_every_link_leads_somewhere() -> None:
    """docs/README.md lists all pages; relative links of all pages name files that are there."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    index = (ROOT / "docs" / "README.md").read_text()
    unlisted = [path.name for path in (ROOT / "docs").glob("[0-9]*.md") if f"({path.name})" not in index]
    broken = [
        f"{path.relative_to(ROOT)}: {target}"
        for path in pages
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text())
        if "://" not in target and not (path.parent / target).exists()
    ]

    assert unlisted == []
    assert broken == []
