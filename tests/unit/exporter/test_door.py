"""When the door's certificate ends, read from a real TLS server."""

from __future__ import annotations

import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from services.exporter import door
from services.exporter.door import DoorWatch
from streamgauge.embedded import free_ports
from streamgauge.errors import ConfigurationError
from streamgauge.lifecycle import Failure
from streamgauge.metrics import Metrics
from tests.support.waiting import eventually


def write_certificate(path, end):
    """Write a certificate of nobody's authority with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "door")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(end - timedelta(days=30))
        .not_valid_after(end)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + secret)


@pytest.fixture(name="serve")
def _serve(tmp_path):
    """Return a function that starts a TLS server whose certificate ends then; it gives host:port."""
    listeners, threads = [], []

    def serve(end):
        write_certificate(tmp_path / "door.pem", end)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "door.pem")
        listener = socket.create_server(("127.0.0.1", 0))

        def answer():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection, context.wrap_socket(connection, server_side=True):
                    pass

        listeners.append(listener)
        threads.append(threading.Thread(target=answer))
        threads[-1].start()
        return f"127.0.0.1:{listener.getsockname()[1]}"

    yield serve
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("days", [40, -3])
async def test_the_end_of_the_certificate_in_use_is_a_metric(serve, days):
    """Of one that has ended as well: nobody's trust is needed to read it."""
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)
    metrics = Metrics()
    watch = DoorWatch(serve(end), metrics, Failure())
    assert b"\nstreamgauge_door_certificate" not in metrics.render()
    await watch.start()
    line = f"streamgauge_door_certificate_not_after_timestamp_seconds {end.timestamp()}\n".encode()
    await eventually(lambda: line in metrics.render() and b"\nstreamgauge_door_up 1" in metrics.render())
    await watch.stop()


async def test_a_door_that_does_not_answer_keeps_the_end_seen_last(serve, monkeypatch):
    """The alert on the certificate must not go silent because the door is down too."""
    monkeypatch.setattr(door, "INTERVAL", 0.01)
    metrics = Metrics()
    watch = DoorWatch(serve(datetime.now(UTC) + timedelta(days=1)), metrics, Failure())
    await watch.start()
    await eventually(lambda: b"\nstreamgauge_door_up 1" in metrics.render())
    watch._task.cancel()
    watch._door = ("127.0.0.1", free_ports(1)[0])
    await watch.start()
    await eventually(lambda: b"\nstreamgauge_door_up 0" in metrics.render())
    assert b"not_after_timestamp_seconds 1" in metrics.render()
    await watch.stop()


async def test_without_an_address_it_looks_at_nothing():
    """And then there is no series that could be wrong."""
    metrics = Metrics()
    watch = DoorWatch("", metrics, Failure())
    await watch.start()
    assert b"\nstreamgauge_door_up" not in metrics.render()
    await watch.stop()


@pytest.mark.parametrize("address", ["nginx", "nginx:", ":443", "nginx:0", "nginx:99999", "https://nginx"])
def test_what_is_no_address_is_refused_in_one_line(address):
    """The name of the setting is in the words."""
    with pytest.raises(ConfigurationError, match="STREAMGAUGE_EXPORTER_DOOR"):
        DoorWatch(address, Metrics(), Failure())
