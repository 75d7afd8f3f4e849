"""Stand-ins for what is behind the door: servers on loopback that record each request as its bytes arrived.

An HTTP library would tidy up what a door let through, so nothing is parsed but the request line and the headers.
``/…/events`` answers with server-sent events, ``Upgrade: websocket`` with an echo, everything else with a line of JSON.
"""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import socketserver
import ssl
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path

_WEBSOCKET_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


@dataclass(frozen=True)
class Received:
    """One request as an upstream saw it."""

    upstream: str
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""

    def header(self, name: str) -> list[str]:
        """Return every value of a header."""
        return [value for key, value in self.headers if key.lower() == name.lower()]


@dataclass
class Recorder:
    """All requests that reached any upstream."""

    requests: list[Received] = field(default_factory=list)
    #: Connections that were opened, with or without a request in them.
    connections: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, request: Received) -> None:
        """Note a request."""
        with self._lock:
            self.requests.append(request)

    def connected(self) -> None:
        """Note a connection."""
        with self._lock:
            self.connections += 1

    def take(self) -> list[Received]:
        """Return what came since the last call."""
        with self._lock:
            taken, self.requests = self.requests, []
            return taken


class _Handler(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        self.server.recorder.connected()
        line = self.rfile.readline(65536).decode("latin-1").strip()
        if not line:
            return
        headers: list[tuple[str, str]] = []
        while text := self.rfile.readline(65536).decode("latin-1").rstrip("\r\n"):
            name, _, value = text.partition(":")
            headers.append((name, value.strip()))
        lengths = [int(value) for name, value in headers if name.lower() == "content-length" and value.isdecimal()]
        body = self.rfile.read(lengths[0]) if lengths else b""
        method, _, rest = line.partition(" ")
        request = Received(self.server.name, method, rest.rpartition(" ")[0], tuple(headers), body)
        self.server.recorder.add(request)
        self._answer(request)

    def _answer(self, request: Received) -> None:
        keys = request.header("Sec-WebSocket-Key")
        if keys and "websocket" in request.header("Upgrade"):
            self._echo(keys[0])
        elif request.target in self.server.pages:
            body = self.server.pages[request.target].encode()
            head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(body)}\r\n\r\n"
            self.wfile.write(head.encode() + body)
        elif request.target.partition("?")[0].endswith("/events"):
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n\r\n")
            self.wfile.write(b"id: 1\ndata: one\n\n")
            self.wfile.flush()
            # The second event comes only when the test has read the first: a door that buffers would never show it.
            self.server.next_event.wait(10)
            self.wfile.write(b"id: 2\ndata: two\n\n")
        else:
            body = json.dumps({"upstream": request.upstream, "target": request.target}).encode() + b"\n"
            head = (
                f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nServer: upstream\r\nContent-Length: {len(body)}"
            )
            plain = b"" if request.method == "HEAD" else body
            self.wfile.write(f"{head}\r\nX-Powered-By: stand-in\r\n\r\n".encode() + plain)
            self._note_rest(request)

    def _note_rest(self, request: Received) -> None:
        """Note bytes that follow the request on its connection: a second request, smuggled in the first."""
        self.wfile.flush()
        if isinstance(self.connection, ssl.SSLSocket) or request.header("Transfer-Encoding"):
            return
        self.connection.shutdown(socket.SHUT_WR)
        self.connection.settimeout(5)
        if rest := self.rfile.read():
            self.server.recorder.add(Received(request.upstream, "SMUGGLED", rest.decode("latin-1"), ()))

    def _echo(self, key: str) -> None:
        accept = base64.b64encode(hashlib.sha1(key.encode() + _WEBSOCKET_GUID).digest()).decode()
        self.wfile.write(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
        )
        start = self.rfile.read(2)
        if len(start) == 2:
            length = start[1] & 127
            mask, data = self.rfile.read(4), self.rfile.read(length)
            plain = bytes(byte ^ mask[index % 4] for index, byte in enumerate(data))
            self.wfile.write(bytes([0x81, len(plain)]) + plain + bytes([0x88, 0]))


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, name: str, recorder: Recorder, tls: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.name = name
        self.recorder = recorder
        self.next_event = threading.Event()
        self.pages: dict[str, str] = {}
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def handle_error(self, *_arguments: object) -> None:
        """Say nothing: clients of the tests break off on purpose."""


class Upstream:
    """One stand-in; ``next_event`` lets its streams of events go on."""

    def __init__(self, name: str, recorder: Recorder, certificate: tuple[Path, Path] | None = None) -> None:
        tls = None
        if certificate is not None:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(*certificate)
        self._server = _Server(name, recorder, tls)
        self.next_event = self._server.next_event
        #: HTML by target.
        self.pages = self._server.pages
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
