"""One connection to NATS for a subscription: the options a program of one's own needs, and errors in one line."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from streamgauge.errors import BusError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from nats.aio.client import Client

_PING_INTERVAL: Final = 10  # seconds
_PINGS_UNANSWERED: Final = 3
_SCHEMES: Final = ("nats", "tls", "ws", "wss")


@dataclass(frozen=True, slots=True)
class Login:
    """How to reach NATS and who asks."""

    servers: str
    user: str | None = None
    password: str | None = None
    token: str | None = None
    credentials: str | Path | None = None
    tls: ssl.SSLContext | str | Path | None = None
    timeout: float = 10.0
    inbox_prefix: str = "_INBOX"

    def check(self) -> None:
        """Look at the URLs, which nats-py would only stumble over, or take for the name of a host.

        Raises:
            ConfigurationError: one is none.

        """
        if not isinstance(self.servers, str):
            raise ConfigurationError("servers is one text; write several URLs in it, separated by commas")
        for url in self.servers.split(","):
            try:
                parsed = urlsplit(url.strip() if "://" in url else f"nats://{url.strip()}")
                right = parsed.scheme in _SCHEMES and bool(parsed.hostname) and parsed.port != 0
            except ValueError:
                right = False
            if not right:
                raise ConfigurationError(
                    f"{_without_login(url.strip())!r} is no URL of NATS: write nats://host:4222, or tls://host:4222"
                )

    def options(self) -> dict[str, Any]:
        """Return the options of ``nats.connect``.

        Raises:
            ConfigurationError: a file cannot be read, or a package is missing.

        """
        options: dict[str, Any] = {"user": self.user, "password": self.password, "token": self.token}
        if self.credentials is not None:
            path = Path(self.credentials).expanduser()
            if not path.is_file():
                raise ConfigurationError(f"credentials {path}: no such file")
            try:
                import nkeys  # type: ignore[import-not-found] # noqa: F401
            except ModuleNotFoundError as error:
                raise ConfigurationError("a credentials file needs nkeys: pip install 'nats-py[nkeys]'") from error
            options["user_credentials"] = str(path)
        if isinstance(self.tls, ssl.SSLContext):
            options["tls"] = self.tls
        elif self.tls is not None:
            try:
                options["tls"] = ssl.create_default_context(cafile=str(self.tls))
            except OSError as error:
                raise ConfigurationError(f"tls={self.tls}: cannot be read as certificates: {error}") from error
        return options

    @property
    def shown(self) -> str:
        """The servers without what is secret in their URLs."""
        return ", ".join(_without_login(url.strip()) for url in self.servers.split(","))


def _without_login(url: str) -> str:
    scheme, separator, rest = url.rpartition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


async def connect(
    login: Login,
    *,
    disconnected: Callable[[], None],
    refused: Callable[[str], None],
    closed: Callable[[str], None],
) -> Client:
    """Connect; later losses are repaired in the background, for ever.

    Args:
        login: Where and who.
        disconnected: Called whenever the connection is lost.
        refused: Called with the server's words when this user may not do something; the connection stays.
        closed: Called with the reason when it is lost for good: the server no longer takes the login.

    Raises:
        BusError: no server answers, or it refuses.
        ConfigurationError: an option is wrong.

    """
    from nats.errors import Error as NatsError

    from streamgauge.nats_client import Client

    said = ""

    async def on_error(error: Exception) -> None:
        nonlocal said
        # A server that refuses a login closes at once, and a later attempt may see no more than the closing.
        if "authorization" not in said.lower():
            said = str(error).removeprefix("nats: ").strip("'") or type(error).__name__
        if "permissions violation" in said.lower():
            refused(said)

    async def on_disconnect() -> None:
        disconnected()

    async def on_close() -> None:
        closed(said)

    options = login.options()
    client = Client()
    try:
        async with asyncio.timeout(login.timeout):
            await client.connect(
                servers=[url.strip() for url in login.servers.split(",")],
                name="streamgauge consumer",
                connect_timeout=max(1, int(login.timeout)),
                max_reconnect_attempts=-1,
                reconnect_time_wait=0.5,  # type: ignore[arg-type]
                ping_interval=_PING_INTERVAL,
                max_outstanding_pings=_PINGS_UNANSWERED,
                inbox_prefix=login.inbox_prefix.encode(),
                error_cb=on_error,
                disconnected_cb=on_disconnect,
                closed_cb=on_close,
                **options,
            )
    except (NatsError, OSError, TimeoutError) as error:
        reason = said or str(error) or "no answer"
        raise BusError(
            f"cannot reach NATS at {login.shown}: {reason}; start the server or correct the URL and the login"
        ) from error
    finally:
        # Given up, or cancelled: it would go on trying.
        if not client.is_connected:
            await client.close()
    return client


async def close(client: Client) -> None:
    """Close a connection, whatever state it is in."""
    from nats.errors import Error as NatsError

    if client.is_closed:
        return
    transport = client._transport
    try:
        with contextlib.suppress(NatsError, OSError, TimeoutError):
            if client.is_connected:
                await client.flush(timeout=2)
    finally:
        try:
            await client.close()
        finally:
            # Also if the loop ends meanwhile and takes its tasks with it.
            if transport is not None:
                transport.close()  # type: ignore[no-untyped-call]
