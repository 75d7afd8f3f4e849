"""Wait for something to become true: poll up to a deadline, never sleep for a guessed time."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

_INTERVAL = 0.02  # seconds


async def eventually(probe: Callable[[], T | Awaitable[T]], *, within: float = 10.0) -> T:
    """Return what ``probe`` (a function or coroutine function) returns once that is true.

    An AssertionError of the probe counts as "not yet"; the last one is raised when the time is over.
    """
    deadline = time.monotonic() + within
    while True:
        failure: AssertionError | None = None
        try:
            outcome = probe()
            value = await outcome if inspect.isawaitable(outcome) else outcome
            if value:
                return value
        except AssertionError as error:
            failure = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not true within {within} s: {_name(probe)}") from failure
        await asyncio.sleep(_INTERVAL)


def eventually_sync(probe: Callable[[], T], *, within: float = 10.0) -> T:
    """Do as ``eventually`` does, for tests without an event loop."""
    deadline = time.monotonic() + within
    pause = threading.Event()
    while True:
        failure: AssertionError | None = None
        try:
            value = probe()
            if value:
                return value
        except AssertionError as error:
            failure = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not true within {within} s: {_name(probe)}") from failure
        pause.wait(_INTERVAL)


def _name(probe: Callable[..., object]) -> str:
    return getattr(probe, "__qualname__", repr(probe))
