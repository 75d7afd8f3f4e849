"""The shipped nginx configuration, started as it is on free ports of loopback.

Changed are, and only: the port numbers and ``/tmp`` in the files, and ``environment.conf``, which names the upstreams
and is another one in each environment anyway.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from streamgauge.embedded import free_ports
from tests.support import require
from tests.support.waiting import eventually_sync

if TYPE_CHECKING:
    from collections.abc import Mapping

SOURCE = Path(__file__).parents[2] / "nginx"
PARTS = ("exporter", "grafana", "prometheus", "alertmanager", "dashboard", "minio", "oauth2")


@dataclass(frozen=True)
class Answer:
    """An answer read to its end."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """Return the first value of a header."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


class Door:
    """A running nginx."""

    def __init__(self, keys: Path, upstreams: Mapping[str, str], *, login: str = "htpasswd", extra: str = "") -> None:
        """``upstreams`` maps parts to URLs; those not named are absent. ``keys`` holds what `make secrets` makes."""
        self.folder = Path(tempfile.mkdtemp(prefix="sg-door-"))
        # nginx's workers are another user than root, and must get in; in a container they are the only user.
        self.folder.chmod(0o755)
        self._take_ports()
        self._keys = keys
        self._upstreams = upstreams
        self._login = login
        self._extra = extra
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        for _attempt in range(5):
            self.write()
            if self.start():
                return self
            # Another program took a port between the look and the start.
            self._take_ports()
        raise AssertionError(f"nginx did not start: {self.log()}")

    def _take_ports(self) -> None:
        self.https, self.http, self.inside, self._check, self._roles, absent = free_ports(6)
        self._absent = f"http://127.0.0.1:{absent}"

    def __exit__(self, *_error: object) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def write(self) -> None:
        """Lay the configuration out as compose and Kubernetes mount it."""
        for path in [SOURCE / "nginx.conf", *sorted((SOURCE / "door").glob("*.conf"))]:
            self._copy(path, path.relative_to(SOURCE))
        self._copy(SOURCE / "login" / f"{self._login}.conf", Path("login.conf"))
        shutil.copytree(self._keys, self.folder / "keys", dirs_exist_ok=True)
        lines = [f'map "" $upstream_{part} {{ default {self._upstreams.get(part, self._absent)}; }}' for part in PARTS]
        lines += ["resolver 127.0.0.1:9 valid=1s;", "resolver_timeout 1s;", self._extra]
        lines += [f'map "" $https_port_suffix {{ default ":{self.https}"; }}']
        (self.folder / "environment.conf").write_text("\n".join(lines) + "\n")
        (self.folder / "tmp").mkdir(exist_ok=True)
        (self.folder / "tmp").chmod(0o777)
        (self.folder / "keys").chmod(0o755)
        for path in (self.folder / "keys").iterdir():
            path.chmod(0o644)

    def _copy(self, path: Path, target: Path) -> None:
        text = path.read_text()
        ports = {"8443": self.https, "8080": self.http, "8081": self.inside, "8082": self._check, "8083": self._roles}
        text = re.sub(r"\b(8443|8080|8081|8082|8083)\b", lambda match: str(ports[match[0]]), text)
        text = text.replace(" /tmp/", f" {self.folder}/tmp/")
        (self.folder / target).parent.mkdir(exist_ok=True)
        (self.folder / target).write_text(text)

    def command(self, *options: str) -> list[str]:
        """Return a command line of nginx with this configuration."""
        return [require.program("nginx"), "-p", str(self.folder), "-c", str(self.folder / "nginx.conf"), *options]

    def start(self) -> bool:
        """Start and wait until nginx serves; return whether it does."""
        with (self.folder / "log").open("ab") as log:
            # A regular file as standard output, opened anew by nginx: it must be append-only, as a container's log is.
            self._process = subprocess.Popen(
                self.command("-g", "daemon off;"),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        process = self._process
        eventually_sync(lambda: process.poll() is not None or self._listening(), within=15)
        if process.poll() is None:
            return True
        if "Address already in use" not in self.log():
            raise AssertionError(f"nginx did not start: {self.log()}")
        return False

    def stop(self) -> None:
        """Stop nginx and wait for its end."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def log(self) -> str:
        """Return all that nginx has said, accesses included."""
        return (self.folder / "log").read_text(errors="replace")

    def _listening(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.https), 1):
                return True
        except OSError:
            return False

    @property
    def url(self) -> str:
        """The door's address for clients."""
        return f"https://localhost:{self.https}"

    def tls(self) -> ssl.SSLContext:
        """Return a context that trusts this installation's authority and nobody else."""
        return ssl.create_default_context(cafile=self._keys / "ca.crt")

    def connect(self, timeout: float = 10.0, *, source: str = "127.0.0.1") -> ssl.SSLSocket:
        """Open a TLS connection; ``source`` may be any address of loopback, each is a client of its own."""
        plain = socket.create_connection(("127.0.0.1", self.https), timeout, (source, 0))
        return self.tls().wrap_socket(plain, server_hostname="localhost")

    def send(self, request: bytes, *, source: str = "127.0.0.1", timeout: float = 10.0) -> bytes:
        """Send bytes as they are and return all that comes back until the door closes or the time is over."""
        with self.connect(timeout, source=source) as connection:
            # The door may refuse and close before it has read all.
            with contextlib.suppress(OSError):
                connection.sendall(request)
            return read_all(connection)

    def get(
        self,
        target: str,
        *,
        login: str | None = None,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        source: str = "127.0.0.1",
    ) -> Answer:
        """Send one request, its target unchanged, and return the answer."""
        lines = [f"{method} {target} HTTP/1.1"]
        sent = {"Host": f"localhost:{self.https}", "Connection": "close", **(headers or {})}
        if login is not None:
            sent["Authorization"] = login
        if body:
            sent["Content-Length"] = str(len(body))
        lines += [f"{name}: {value}" for name, value in sent.items()]
        return parse(self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body, source=source))


def read_all(connection: socket.socket) -> bytes:
    """Read an answer: until the other side closes or breaks off, or to the answer's end where the connection stays."""
    received = b""
    while not _complete(received):
        try:
            chunk = connection.recv(65536)
        except (OSError, ssl.SSLError):
            break
        if not chunk:
            break
        received += chunk
    return received


def _complete(received: bytes) -> bool:
    head, end, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"\ncontent-length: *(\d+)", head.lower())
    return bool(end and length and b"\nconnection: keep-alive" in head.lower() and len(body) >= int(length[1]))


def parse(answer: bytes) -> Answer:
    """Take an answer apart."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = tuple((name, value.strip()) for name, _, value in (line.partition(":") for line in lines))
    status = int(first.split(" ")[1]) if first.startswith("HTTP/") else 0
    return Answer(status, headers, body)
