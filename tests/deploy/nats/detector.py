"""The shipped NATS with the user of a durable reader, added as docs/22-subscribe.md tells to."""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from streamgauge.secrets.__main__ import main as make_secrets
from tests.deploy.nats.conftest import Stand, bootstrap
from tests.support import require
from tests.support.nats_stand import ShippedNats

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = (Path(__file__).parents[3] / "docs" / "22-subscribe.md").read_text(encoding="utf-8")


class NatsWithDetector(ShippedNats):
    """The shipped configuration with the page's user in its list."""

    def command(self) -> list[str]:
        """Put the user in front of the others, and return the command line."""
        command = super().command()
        (user,) = re.findall(r"```\n( +\{\n +user: detector\n.*?)```", PAGE, re.DOTALL)
        file = self.folder / "root" / "etc" / "nats" / "users.conf"
        text = file.read_text()
        assert text.count("users: [\n") == 1
        file.write_text(text.replace("users: [\n", f"users: [\n{user}"))
        return command


@contextmanager
def detector_stand() -> Iterator[Stand]:
    """Yield a server that knows the user, with keys as `make secrets` makes them."""
    require.program("nats-server")
    folder = Path(tempfile.mkdtemp(prefix="sg-nats-"))
    try:
        # As on the page: the user comes to an installation that is there.
        assert make_secrets(["--folder", str(folder / "keys")]) == 0
        (arguments,) = re.findall(r'\$ make secrets ARGS="(--nats-user .*)"', PAGE)
        assert make_secrets(["--folder", str(folder / "keys"), *arguments.split()]) == 0
        with NatsWithDetector(folder, folder / "keys") as server:
            stand = Stand(server, folder / "keys")
            asyncio.run(bootstrap(stand))
            yield stand
    finally:
        shutil.rmtree(folder, ignore_errors=True)
