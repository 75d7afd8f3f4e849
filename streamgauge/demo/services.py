"""The three services as processes of their own, configured by environment variables as anywhere else."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import orjson

from streamgauge.demo.scrape import Page, PageError, fetch
from streamgauge.errors import ConfigurationError, StreamgaugeError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Where the folder ``services`` is: the checkout this library is used from.
CHECKOUT: Final = Path(__file__).parents[2]

#: Seconds until a service answers; on a fresh machine it compiles its kernels first.
START_TIMEOUT: Final = 180.0
#: Seconds a service may take to finish the work in hand.
STOP_TIMEOUT: Final = 40.0
_POLL: Final = 0.05  # seconds


def require_services() -> None:
    """Check that the services can be started.

    Raises:
        ConfigurationError: they are not part of this installation.

    """
    if not (CHECKOUT / "services" / "collector" / "__main__.py").is_file():
        raise ConfigurationError(
            "the services are not part of the installed package; run the demo from a checkout of the project: make demo"
        )


class ServiceProcess:
    """One service: started, asked for its numbers, stopped by SIGTERM."""

    def __init__(self, name: str, environment: Mapping[str, str], *, port: int, folder: Path) -> None:
        """Prepare ``python -m services.<name>``; its log goes to ``folder``, its page to ``port``."""
        self.name = name
        self.port = port
        self.log = folder / f"{name}.log"
        self._environment = dict(environment) | {f"STREAMGAUGE_{name.upper()}_PORT": str(port)}
        self.process: subprocess.Popen[bytes] | None = None
        #: Whether it was ready once.
        self.is_ready = False
        self._output: IO[bytes] | None = None

    def configure(self, settings: Mapping[str, str]) -> None:
        """Add settings before the start."""
        self._environment.update(settings)

    @property
    def url(self) -> str:
        """Where its metrics are."""
        return f"http://127.0.0.1:{self.port}/metrics"

    def start(self) -> None:
        """Start the process; ``ready`` waits for it."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._output = self.log.open("ab")
        # The shell of the user may hold settings of another system; only ours count here.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("STREAMGAUGE_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"services.{self.name}"],
            cwd=CHECKOUT,
            env={**inherited, "PYTHONPATH": str(CHECKOUT), "STREAMGAUGE_LOG_FORMAT": "json", **self._environment},
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    async def ready(self) -> None:
        """Return when the service is ready, or has ended well already.

        Raises:
            StreamgaugeError: it ended with an error, or is not ready in time; says what it wrote last.

        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + START_TIMEOUT
        reason = ""
        while self.running and loop.time() < deadline:
            try:
                await asyncio.to_thread(fetch, f"http://127.0.0.1:{self.port}/readyz")
            except PageError as error:
                reason = str(error)
                await asyncio.sleep(_POLL)
            else:
                self.is_ready = True
                return
        if self.running:
            raise StreamgaugeError(f"the {self.name} is not ready after {START_TIMEOUT:.0f} s: {reason}")
        if self.exit_code:
            told = self.how_it_ended() if (self.exit_code or 0) < 0 else self.last_words()
            raise StreamgaugeError(f"the {self.name} does not start: {told}")

    async def page(self) -> Page | None:
        """Return the metrics as they are now; None when the service does not answer."""
        try:
            return Page(await asyncio.to_thread(fetch, self.url))
        except PageError:
            return None

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self.process is not None and self.process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """What the process ended with, None while it runs."""
        return None if self.process is None else self.process.poll()

    async def ended(self) -> None:
        """Return when the process is gone."""
        while self.running:  # noqa: ASYNC110 a process is no event
            await asyncio.sleep(_POLL)

    async def stop(self) -> None:
        """Ask the process to end and wait for it.

        Raises:
            StreamgaugeError: it did not end in time and was killed, or it ended with an error.

        """
        if self.process is None:
            return
        if self.running:
            self.process.terminate()
        try:
            await asyncio.wait_for(self.ended(), STOP_TIMEOUT)
        except TimeoutError as error:
            self.kill()
            raise StreamgaugeError(f"the {self.name} did not end within {STOP_TIMEOUT:.0f} s") from error
        self.kill()
        if self.exit_code:
            raise StreamgaugeError(self.how_it_ended())

    def kill(self) -> None:
        """End the process at once and close its log."""
        if self.process is not None:
            if self.running:
                self.process.kill()
            self.process.wait()
        if self._output is not None:
            self._output.close()
            self._output = None

    def how_it_ended(self) -> str:
        """Return in words how the process ended, for a message; a signal by its name."""
        code = self.exit_code or 0
        if code >= 0:
            return f"the {self.name} ended with status {code}: {self.last_words()}"
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        why = "; out of memory?" if name == "SIGKILL" else ""
        return f"the {self.name} was ended by {name}{why}: the last it said: {self.last_words()}"

    def last_words(self) -> str:
        """Return the last line of the log that says something, for a message."""
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        if not lines:
            return "it wrote nothing"
        try:
            entry = orjson.loads(lines[-1])
        except orjson.JSONDecodeError:
            return lines[-1].removeprefix("streamgauge: ")
        return str(entry.get("error") or entry.get("event"))
