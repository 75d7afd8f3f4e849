"""nats-py's client, kept to TLS where TLS was asked for, and to deliveries where a header looks like the server's word.

nats-py encrypts only if the server's greeting says that it has to: whoever sits between and takes that word out is
given the password, and all that follows, in the clear. So is whoever answers for a server whose TLS was forgotten.

It also takes a message with a header ``Status`` for what the server says about a request, and drops it. Anybody who may
publish may send that header: a reader that must not miss a message would ask for it again for ever.

And it stops reading at a subject or header that is no text, until the server takes the connection for dead; then such a
message is delivered again. Here it is a message like any other, which its reader can put aside.
"""

from __future__ import annotations

import re
from typing import Any, Final

import nats.protocol.parser
from nats.aio.client import Client as NatsClient
from nats.errors import Error as NatsError

#: Where a message of a stream is acknowledged; nothing the server says itself is.
_DELIVERED: Final = b"$JS.ACK."

_WORD: Final = rb"([^ \t\r\n]+)[ \t]+"
# Words of a line are parted by blanks and tabs alone. nats-py parts them at form feeds and vertical tabs as well, and
# so does not know a message whose subject has one.
nats.protocol.parser.MSG_RE = re.compile(rb"\AMSG[ \t]+" + _WORD * 2 + b"(" + _WORD + rb")?(\d+)\r\n")
nats.protocol.parser.HMSG_RE = re.compile(rb"\AHMSG[ \t]+" + _WORD * 2 + b"(" + _WORD + rb")?(\d+)[ \t]+(\d+)\r\n")


class NotEncryptedError(NatsError):
    """TLS was asked for and the server does not insist on it."""

    def __str__(self) -> str:
        """Return it as words."""
        return "the server, or somebody in its place, offers no TLS"


class Client(NatsClient):
    """A client that says nothing to a server without TLS if the URL is ``tls://`` or it was given certificates."""

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        if initial_connection and self._is_to_encrypt() and not self._will_encrypt(info):
            raise NotEncryptedError
        await super()._process_info(info, initial_connection)

    def _build_message(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> Any:
        if headers and reply.startswith(_DELIVERED):
            headers.pop("Status", None)
        try:
            return super()._build_message(sid, subject, reply, data, headers)
        except UnicodeDecodeError:
            return super()._build_message(sid, _as_text(subject), _as_text(reply), data, headers)

    async def _process_headers(self, headers: bytes) -> dict[str, str] | None:
        try:
            return await super()._process_headers(headers)
        except (UnicodeDecodeError, IndexError):
            # Cut off, or no text: without headers its reader knows it for none of ours.
            return None

    @property
    def _scheme(self) -> str:
        server = self._current_server
        return server.uri.scheme if server is not None else ""

    def _is_to_encrypt(self) -> bool:
        return self._scheme == "tls" or self.options.get("tls") is not None

    def _will_encrypt(self, info: dict[str, Any]) -> bool:
        # With wss the transport below has done it; with ws nothing does, whatever the server says.
        return self._scheme == "wss" or (self._scheme != "ws" and bool(info.get("tls_required")))


def _as_text(name: bytes) -> bytes:
    """Return a subject with U+FFFD in the place of what is no UTF-8."""
    return name.decode(errors="replace").encode()
