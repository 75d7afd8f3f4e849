"""One door for all tests of this folder, with a recording stand-in behind each path."""

from __future__ import annotations

import base64
import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from streamgauge.secrets.__main__ import main as make_secrets
from tests.support import require
from tests.support.door import PARTS, Door
from tests.support.recorder import Recorder, Upstream

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class House:
    """A door, what is behind it, and the right login."""

    door: Door
    recorder: Recorder
    upstreams: dict[str, Upstream]
    login: str


def basic(user: str, password: str) -> str:
    """Return the value of an Authorization header."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture(name="keys", scope="session")
def _keys() -> Iterator[Path]:
    """Return a folder that `make secrets` has filled."""
    require.program("nginx")
    folder = Path(tempfile.mkdtemp(prefix="sg-keys-"))
    assert make_secrets(["--folder", str(folder)]) == 0
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(name="login", scope="session")
def _login(keys: Path) -> str:
    """Return the Authorization header of the user that `make secrets` has made."""
    lines = dict(line.split(": ") for line in (keys / "login.txt").read_text().splitlines())
    return basic(lines["user"], lines["password"])


@pytest.fixture(name="house_of_all", scope="session")
def _house_of_all(keys: Path, login: str) -> Iterator[House]:
    recorder = Recorder()
    with ExitStack() as stack:
        minio = Upstream("minio", recorder, (keys / "minio" / "public.crt", keys / "minio" / "private.key"))
        upstreams = {part: Upstream(part, recorder) for part in PARTS if part != "minio"} | {"minio": minio}
        for upstream in upstreams.values():
            stack.enter_context(upstream)
        urls = {part: f"http://{upstream.address}" for part, upstream in upstreams.items()}
        # By the name in its certificate, which nginx must find right.
        urls["minio"] = "https://minio"
        group = f"upstream minio {{ server {minio.address}; }}"
        door = stack.enter_context(Door(keys / "nginx", urls, extra=group))
        yield House(door, recorder, upstreams, login)


@pytest.fixture(name="house")
def _house(house_of_all: House) -> House:
    """Return the house with nothing recorded yet."""
    house_of_all.recorder.take()
    return house_of_all
