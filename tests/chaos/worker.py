"""A service as a supervised process: whatever ends it, it comes back, as under Kubernetes or systemd."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

from streamgauge.lifecycle import cancel, spawn

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Mapping

CHECKOUT: Final = Path(__file__).parents[2]

#: Seconds until a process that ended is started again: the first time, and at the most.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 2.0
#: Seconds a process may take to end when told to.
_STOP_TIMEOUT: Final = 60.0


class Worker:
    """One process; started, killed, hung, told to stop, each by its own process id."""

    def __init__(self, name: str, module: str, environment: Mapping[str, str], folder: Path) -> None:
        """Prepare ``python -m module``; its log and its clock's offset are files in ``folder``."""
        self.name = name
        self.log = folder / f"{name}.log"
        self._module = module
        self._clock = folder / f"{name}.clock"
        self._environment = dict(environment)
        self._process: Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._ending = asyncio.Event()
        self._leaving = False
        self._killed: set[int] = set()
        #: How often it ended by itself, by exit status.
        self.ended: Counter[int] = Counter()

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if self._process is not None and running else None

    def start(self) -> None:
        """Start the process, and start it again whenever it ends."""
        self._ending.clear()
        self._leaving = False
        self._task = spawn(self._keep(), name=self.name)

    def kill(self) -> None:
        """End the process with SIGKILL; it is started again."""
        if self._process is not None:
            self._killed.add(self._process.pid)
        self._signal(signal.SIGKILL)

    def restart(self) -> None:
        """Tell the process to end; it is started again."""
        self._signal(signal.SIGTERM)

    def hang(self) -> None:
        """Halt the process."""
        self._signal(signal.SIGSTOP)

    def wake(self) -> None:
        """Let a halted process go on."""
        self._signal(signal.SIGCONT)

    def step_clock(self, seconds: int) -> None:
        """Set how far the process' clock is off."""
        self._clock.write_text(str(seconds))
        self._signal(signal.SIGUSR1)

    async def stop(self) -> int:
        """Tell the process to end, for good; return its status (killed when it does not end in time: -9)."""
        self._ending.set()
        self._leaving = True
        self.wake()
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_STOP_TIMEOUT):
                return await self.finished()
        except TimeoutError:
            self._signal(signal.SIGKILL)
            return await self.finished()

    async def finished(self) -> int:
        """Wait until the process has ended, without another start; return its status."""
        self._ending.set()
        if self._task is not None:
            # Not awaited itself: a deadline of the caller would cancel it, and the process go on without an owner.
            await asyncio.wait([self._task])
        return 0 if self._process is None else self._process.returncode or 0

    async def abandon(self) -> None:
        """End everything at once: the run is over."""
        self._ending.set()
        self._signal(signal.SIGKILL)
        if self._process is not None:
            await self._process.wait()
        await cancel(self._task)

    def last_words(self) -> str:
        """Return the last line of the log."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return lines[-1] if lines else "it wrote nothing"

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def _keep(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            status = await self._run_once()
            if self._ending.is_set():
                return
            if status not in (0, -signal.SIGUSR1, -signal.SIGTERM) and not self._was_killed():
                self.ended[status] += 1
                pause = min(pause * 2, _LONGEST_PAUSE)
            else:
                pause = _FIRST_PAUSE
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._ending.wait()
            if self._ending.is_set():
                return

    def _was_killed(self) -> bool:
        return self._process is not None and self._process.pid in self._killed

    async def _run_once(self) -> int:
        self._clock.write_text("0")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("STREAMGAUGE_")}
        own = {"PYTHONPATH": str(CHECKOUT), "STREAMGAUGE_LOG_FORMAT": "json", "CHAOS_CLOCK": str(self._clock)}
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.chaos.process", self._module),
                cwd=CHECKOUT,
                env=inherited | own | self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if self._leaving:  # told to end while it was being started
            self._signal(signal.SIGTERM)
        return await self._process.wait()
