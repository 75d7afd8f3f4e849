"""The last hop: the shipped nginx, with certificates and logins that are right, over, or somebody else's."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from streamgauge.bus import Bus
from streamgauge.doctor import pages, walk
from streamgauge.secrets import authority
from streamgauge.secrets.__main__ import main as make_secrets
from streamgauge.settings import DoctorSettings, NatsSettings
from tests.live.doctor.conftest import finding
from tests.support import require
from tests.support.door import Door
from tests.support.nats_stand import ShippedNats
from tests.support.recorder import Recorder, Upstream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamgauge.doctor import Finding

pytestmark = [pytest.mark.live, pytest.mark.timeout(240)]


@pytest.fixture(name="keys", scope="module")
def _keys() -> Iterator[Path]:
    """Return a folder that `make secrets` has filled."""
    folder = Path(tempfile.mkdtemp(prefix="sg-keys-"))
    assert make_secrets(["--folder", str(folder)]) == 0
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(name="door", scope="module")
def _door(keys: Path) -> Iterator[Door]:
    require.program("nginx")
    with (
        Upstream("exporter", Recorder()) as live,
        Door(keys / "nginx", {"exporter": f"http://{live.address}"}) as door,
    ):
        yield door


def judge(door: Door, keys: Path, **settings: object) -> Finding:
    """Return what is found of a door, whose authority is trusted unless ``settings`` say otherwise."""
    given = {"door": door.url, "door_ca": keys / "nginx" / "ca.crt", **settings}
    return asyncio.run(pages.look_at_door(DoctorSettings.model_validate(given)))


def present(door: Door, keys: Path, monkeypatch: pytest.MonkeyPatch, *, days: float) -> None:
    """Let the door present a certificate that is good for so many days."""
    monkeypatch.setattr(authority, "_CERTIFICATE_DAYS", days)
    signer = authority.Pair((keys / "authority" / "ca.crt").read_bytes(), (keys / "authority" / "ca.key").read_bytes())
    pair = authority.make_certificate(signer, ["localhost"])
    door.stop()
    (keys / "nginx" / "tls.crt").write_bytes(pair.certificate)
    (keys / "nginx" / "tls.key").write_bytes(pair.key)
    door.write()
    assert door.start()


def test_door_in_order(door: Door, keys: Path) -> None:
    """It asks for a login, and takes the right one."""
    login = dict(line.split(": ") for line in (keys / "login.txt").read_text().splitlines())
    told = judge(door, keys, door_user=login["user"], door_password=SecretStr(login["password"]))

    assert (told.state, told.evidence) == ("ok", "certificate good for 397 days, asks for a login")


def test_door_refuses_the_credentials(door: Door, keys: Path) -> None:
    """Where the right ones are."""
    told = judge(door, keys, door_user="admin", door_password=SecretStr("not-the-right-one"))

    assert (told.state, told.evidence) == ("broken", "credentials refused for admin")
    assert "secrets/login.txt" in told.remedy


def test_door_is_not_trusted(door: Door, keys: Path) -> None:
    """Whose authority nobody has told us about."""
    told = judge(door, keys, door_ca=None)

    assert told.state == "broken"
    assert told.evidence.startswith("certificate not trusted: ")
    assert "--door-ca" in told.remedy


def test_certificate_expires(door: Door, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Soon is a warning; over is broken, whoever trusts it."""
    present(door, keys, monkeypatch, days=5.01)
    soon = judge(door, keys)
    present(door, keys, monkeypatch, days=-0.02)
    over = judge(door, keys)

    assert soon.state == "warning"
    assert soon.evidence.startswith("certificate expires in 5 days, on 20")
    assert over.state == "broken"
    assert over.evidence.startswith("certificate expired 29 min ago, on 20")
    assert "--rotate certificates" in over.remedy


def test_nobody_at_the_door() -> None:
    """What starts it."""
    told = asyncio.run(pages.look_at_door(DoctorSettings(door="https://127.0.0.1:9")))

    assert (told.state, told.evidence) == ("broken", "no answer from https://127.0.0.1:9: Connection refused")


async def test_each_user_of_the_shipped_nats_sees_what_it_may(keys: Path, scratch: Path) -> None:
    """The operator may ask everything that is asked; the collector's user is told what it may not."""

    def settings(user: str) -> NatsSettings:
        password = SecretStr((keys / user / "nats-password").read_text())
        ca = keys / user / "ca.crt"
        return NatsSettings(url=server.url, user=user, password=password, tls_ca=ca, max_bytes=64 << 20)

    with ShippedNats(scratch, keys) as server:
        bus = Bus(settings("bootstrap"), "bootstrap")
        await bus.start()
        await bus.ensure_stream()
        await bus.stop()
        operator = await walk(settings("operator"), None, DoctorSettings(), everything=True)
        collector = await walk(settings("collector"), None, DoctorSettings(), everything=True)

    assert finding(operator, "NATS").state == "ok"
    assert finding(operator, "capture").evidence.startswith("no collector has ever reported")
    assert finding(operator, "backup").evidence.endswith("it has never run")
    assert "user collector" in finding(collector, "NATS").evidence
