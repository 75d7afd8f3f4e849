"""MinIO as the S3 server of the tests: `make test-minio`, or TEST_S3_SERVER=minio where its program is on PATH."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import urllib3

from streamgauge.embedded import Server, free_ports
from tests.support import require

if TYPE_CHECKING:
    from pathlib import Path

_LOOPBACK = "127.0.0.1"


class MinioServer(Server):
    """One MinIO on loopback; keeps its port over restarts."""

    name = "minio"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.port, self._console = free_ports(2)
        self.access_key = "test-" + os.urandom(6).hex()
        self.secret_key = os.urandom(16).hex()

    @property
    def endpoint(self) -> str:
        """The S3 endpoint, host:port."""
        return f"{_LOOPBACK}:{self.port}"

    def command(self) -> list[str]:
        """Return the command line."""
        return [
            *("env", f"MINIO_ROOT_USER={self.access_key}", f"MINIO_ROOT_PASSWORD={self.secret_key}"),
            *(require.program("minio"), "server", "--quiet", "--address", f"{_LOOPBACK}:{self.port}"),
            *("--console-address", f"{_LOOPBACK}:{self._console}", str(self.folder / "data")),
        ]

    def answers(self) -> bool:
        """Return whether objects can be written."""
        url = f"http://{self.endpoint}/minio/health/cluster"
        try:
            return urllib3.PoolManager(timeout=2, retries=False).request("GET", url).status == 200
        except urllib3.exceptions.HTTPError:
            return False
