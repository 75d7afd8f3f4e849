"""When the certificate of the door ends, read as a browser would: over TLS, from the door itself.

So it is the certificate in use, not a file that NGINX has not loaded yet; and it needs no right to read secrets.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import TYPE_CHECKING, Final

from streamgauge.errors import ConfigurationError
from streamgauge.lifecycle import Failure, cancel, spawn
from streamgauge.logs import Sampled, get

if TYPE_CHECKING:
    from streamgauge.metrics import Metrics

_log = get("door")

#: Seconds between two looks, and for one.
INTERVAL: Final = 60.0
_PATIENCE: Final = 5.0


def parse(address: str) -> tuple[str, int] | None:
    """Read ``host:port``; None for an empty setting.

    Raises:
        ConfigurationError: it is neither.

    """
    if not address:
        return None
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise ConfigurationError(f"STREAMGAUGE_EXPORTER_DOOR={address}: not host:port, such as nginx:8443")
    return host.strip("[]"), int(port)


class DoorWatch:
    """Looks at the door's certificate once a minute; a component of the service, idle without an address."""

    def __init__(self, address: str, metrics: Metrics, failure: Failure) -> None:
        """``address`` is ``host:port``, or empty.

        Raises:
            ConfigurationError: it is neither.

        """
        self._door = parse(address)
        self._failure = failure
        self._sampled = Sampled(_log)
        self._task: asyncio.Task[None] | None = None
        self._end: float | None = None
        self._answers: bool | None = None
        self._ends = metrics.levels(
            "door_certificate_not_after_timestamp_seconds",
            "When the certificate that the door shows ends, Unix time; what was seen last.",
        )
        self._up = metrics.levels("door_up", "1 if the door answered with TLS at the last look, else 0.")
        metrics.before_scrape(self.publish)

    def publish(self) -> None:
        """Copy what was seen; nothing before the first look."""
        for family, value in ((self._ends, self._end), (self._up, self._answers)):
            family.publish([] if value is None else [()], [] if value is None else [float(value)])

    async def start(self) -> None:
        """Begin to look."""
        if self._door is not None:
            self._task = spawn(self._work(*self._door), name="door", failure=self._failure)

    async def stop(self) -> None:
        """Stop looking."""
        await cancel(self._task)

    async def _work(self, host: str, port: int) -> None:
        while True:
            try:
                self._end = await asyncio.to_thread(read_end, host, port)
                self._answers = True
            except (OSError, ValueError) as error:
                self._answers = False
                self._sampled.warning("the door does not answer", host=host, port=port, error=str(error))
            await asyncio.sleep(INTERVAL)


def read_end(host: str, port: int) -> float:
    """Return the Unix time at which the certificate ends that this server shows.

    Raises:
        OSError: it does not answer, or not with TLS.
        ValueError: what it shows is no certificate.

    """
    from cryptography import x509

    # An expired certificate is to be read, not refused: nothing is sent, nothing it says is believed.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection((host, port), _PATIENCE) as connection,
        context.wrap_socket(connection, server_hostname=host) as secure,
    ):
        shown = secure.getpeercert(binary_form=True)
    return x509.load_der_x509_certificate(shown or b"").not_valid_after_utc.timestamp()
