"""The images: what the Dockerfile promises, checked in its text; and in built images where there is an engine."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from streamgauge import __version__, probe

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "Dockerfile").read_text()
SERVICES = ("collector", "backup", "exporter")


def stage(name: str) -> str:
    return TEXT.partition(f" AS {name}\n")[2].partition("\nFROM ")[0]


def versions(path: Path) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==(\S+)", path.read_text(), re.MULTILINE))


def test_the_base_image_has_a_digest_and_is_named_once() -> None:
    assert re.search(r"^ARG PYTHON_IMAGE=python:3\.13-slim-trixie@sha256:[0-9a-f]{64}$", TEXT, re.MULTILINE)
    assert set(re.findall(r"^FROM (\S+)", TEXT, re.MULTILINE)) == {"${PYTHON_IMAGE}", "service"}


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_is_a_target_with_a_user_a_health_check_and_no_shell(name: str) -> None:
    text = stage(name)

    assert re.findall(r"^USER (\S+)$", text, re.MULTILINE) == (["0:0"] if name == "collector" else ["10001:10001"])
    assert f'CMD ["python", "-m", "streamgauge.probe", "{name}"]' in text
    assert text.rstrip().endswith(f'CMD ["python", "-m", "services.{name}"]') or f'"services.{name}"]\n' in text
    assert "RUN" not in text


def test_packages_are_locked_and_hashed() -> None:
    assert TEXT.count("--require-hashes") == 2
    for name in ("requirements-images.lock", "requirements-build.lock"):
        lines = (ROOT / name).read_text().splitlines()
        pinned = [line for line in lines if re.match(r"[\w.-]+==", line)]
        assert pinned
        assert len(pinned) <= sum("--hash=sha256:" in line for line in lines)


def test_images_have_the_versions_that_are_tested() -> None:
    everything = versions(ROOT / "requirements.lock")
    images = versions(ROOT / "requirements-images.lock")

    assert {name: everything.get(name) for name in images} == images
    # Neither the tests' tools nor a program under the GPL.
    assert not {"pytest", "scapy", "ruff", "mypy"} & set(images)


def test_only_what_is_copied_gets_into_the_context() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    wanted = {line[1:] for line in lines if line.startswith("!")}
    copied = {
        source.split("/")[0]
        for line in re.findall(r"^COPY (?!--from)(.+)$", TEXT, re.MULTILINE)
        for source in line.split()[:-1]
    }

    assert lines[0] == "*"
    assert copied == wanted
    assert not {"secrets", ".git", ".env"} & wanted


def test_the_version_is_the_library_s() -> None:
    assert f'org.opencontainers.image.version="{__version__}"' in TEXT


@pytest.mark.parametrize(
    ("environment", "address"),
    [
        ({}, "http://127.0.0.1:9102/readyz"),
        ({"STREAMGAUGE_BACKUP_HOST": "0.0.0.0", "STREAMGAUGE_BACKUP_PORT": "1"}, "http://127.0.0.1:1/readyz"),
        ({"STREAMGAUGE_BACKUP_HOST": "172.30.83.1"}, "http://172.30.83.1:9102/readyz"),
        ({"STREAMGAUGE_BACKUP_HOST": "fd00::1"}, "http://[fd00::1]:9102/readyz"),
    ],
)
def test_the_health_check_asks_where_the_service_listens(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], address: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert probe.address("backup") == address


def test_no_answer_is_no_health(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("STREAMGAUGE_BACKUP_PORT", "9")

    assert probe.main(["backup"]) == 1
    assert "no answer" in capsys.readouterr().out
    assert probe.main([]) == 2


@pytest.mark.docker
@pytest.mark.parametrize("name", SERVICES)
def test_a_built_image_starts_read_only_with_its_kernels(name: str) -> None:
    """Needs `make images`. All kernels come from the image: none is compiled at start, whatever the processor."""
    program = (
        "from streamgauge.decode import warm_up, packet_kernels as kernels; warm_up(); "
        "stats = kernels.decode_packets.stats; assert stats.cache_hits and not stats.cache_misses, stats"
    )
    options = ["--rm", "--read-only", "--tmpfs", "/tmp", "--network", "none", "--cap-drop", "ALL"]
    run = subprocess.run(
        ["docker", "run", *options, f"streamgauge/{name}:{__version__}", "python", "-c", program],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert run.returncode == 0, run.stderr
