"""What the doctor calls it when NATS, or the stream, is the hop to mend; each fault produced for real."""

from __future__ import annotations

import asyncio
import subprocess
from typing import TYPE_CHECKING

import pytest

from streamgauge.embedded import NatsServer, free_ports
from streamgauge.secrets import authority
from tests.live.doctor.conftest import finding, first, look, not_ready
from tests.support import require

if TYPE_CHECKING:
    from pathlib import Path

    from tests.live.doctor.conftest import Stand

pytestmark = [pytest.mark.live, pytest.mark.timeout(240)]


async def test_nats_is_away() -> None:
    """The line of the connection, and the setting."""
    url = f"nats://127.0.0.1:{free_ports(1)[0]}"
    broken = first(await look({"STREAMGAUGE_NATS_URL": url, "STREAMGAUGE_NATS_CONNECT_TIMEOUT": "1"}))

    assert (broken.hop, broken.evidence) == ("NATS", f"cannot reach NATS at {url}: Connection refused")
    assert "STREAMGAUGE_NATS_URL" in broken.remedy


async def test_nats_is_away_from_a_collector_too() -> None:
    """The hop to mend is NATS, though the collector before it says that it is not ready."""
    async with not_ready("NATS is away") as collector:
        given = {
            "STREAMGAUGE_NATS_URL": f"nats://127.0.0.1:{free_ports(1)[0]}",
            "STREAMGAUGE_NATS_CONNECT_TIMEOUT": "1",
            "STREAMGAUGE_DOCTOR_COLLECTOR": collector,
        }
        found = await look(given)

    assert finding(found, "capture").evidence == f"{collector} is not ready: NATS is away"
    assert first(found).hop == "NATS"


async def test_nats_refuses_the_credentials(scratch: Path) -> None:
    """Who was refused."""
    users = 'authorization { users: [{user: "operator", password: "right"}] }'
    with NatsServer(scratch, config=users) as server:
        given = {"NATS_URL": server.url, "NATS_USER": "operator", "NATS_PASSWORD": "wrong", "NATS_CONNECT_TIMEOUT": "2"}
        broken = first(await look({f"STREAMGAUGE_{name}": value for name, value in given.items()}))

    assert broken.hop == "NATS"
    assert broken.evidence.startswith("credentials refused for user operator: cannot reach NATS at ")
    assert "STREAMGAUGE_NATS_USER" in broken.remedy


async def test_nats_and_tls_do_not_fit(nats_server: NatsServer, scratch: Path) -> None:
    """A certificate of an authority that nobody told us about; and a server that has none at all."""
    signer = authority.make_authority()
    pair = authority.make_certificate(signer, ["127.0.0.1"])
    for name, content in (("ca.crt", signer.certificate), ("tls.crt", pair.certificate), ("tls.key", pair.key)):
        (scratch / name).write_bytes(content)
    config = f'tls {{ cert_file: "{scratch}/tls.crt", key_file: "{scratch}/tls.key" }}'
    timeout = {"STREAMGAUGE_NATS_CONNECT_TIMEOUT": "2"}
    with NatsServer(scratch, config=config) as server:
        url = server.url.replace("nats:", "tls:")
        stranger = first(await look({"STREAMGAUGE_NATS_URL": url, **timeout}))
        known = await look({"STREAMGAUGE_NATS_URL": url, "STREAMGAUGE_NATS_TLS_CA": f"{scratch}/ca.crt", **timeout})
    plain = first(await look({"STREAMGAUGE_NATS_URL": nats_server.url.replace("nats:", "tls:"), **timeout}))

    assert stranger.hop == plain.hop == "NATS"
    assert stranger.evidence.startswith(f"cannot reach NATS at {url}: certificate not trusted: ")
    assert stranger.remedy == "set STREAMGAUGE_NATS_TLS_CA to the authority: secrets/authority/ca.crt"
    assert finding(known, "NATS").state == "ok"
    assert plain.evidence.endswith("the server, or somebody in its place, offers no TLS")
    assert "`make secrets`" in plain.remedy


async def test_jetstream_is_off(scratch: Path) -> None:
    """A server without JetStream is reached, and stores nothing."""
    (port,) = free_ports(1)
    command = [require.program("nats-server"), "--addr", "127.0.0.1", "--port", str(port)]
    server = await asyncio.create_subprocess_exec(*command, stderr=subprocess.DEVNULL, cwd=scratch)
    try:
        broken = first(await look({"STREAMGAUGE_NATS_URL": f"nats://127.0.0.1:{port}"}))
    finally:
        server.terminate()
        await server.wait()

    assert broken.hop == "NATS"
    assert broken.evidence.endswith("JetStream is off")
    assert "nats-server -js" in broken.remedy


async def test_stream_is_missing(nats_server: NatsServer) -> None:
    """The command that creates it; the capture cannot be known without it."""
    found = await look({"STREAMGAUGE_NATS_URL": nats_server.url})

    assert (first(found).hop, first(found).evidence) == ("stream", "stream TRAFFIC does not exist")
    assert "`streamgauge bootstrap`" in first(found).remedy
    assert finding(found, "capture").state == "not checked"
    assert finding(found, "backup").evidence.startswith("behind the broken hop")


async def test_stream_is_of_another_kind(stand: Stand) -> None:
    """It does not take what collectors publish."""
    from streamgauge.bus import Bus
    from streamgauge.settings import NatsSettings

    bus = Bus(NatsSettings(url=stand.nats.url), "test")
    await bus.start()
    try:
        await bus.jetstream.add_stream(name="OTHER", subjects=["other.>"])
    finally:
        await bus.stop()
    found = await stand.look(nats_stream="OTHER", everything=True)

    assert finding(found, "stream").state == "broken"
    assert finding(found, "stream").evidence.startswith("OTHER does not take traffic.v1.*.*")
