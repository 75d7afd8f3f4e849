"""Logging: structlog to standard error, JSON unless on a terminal; one line a batch or file, never one a packet."""

from __future__ import annotations

import logging
import sys
import time
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from streamgauge.settings import LogSettings

Logger = structlog.stdlib.BoundLogger


def set_up(settings: LogSettings, **context: str) -> None:
    """Configure logging for this process once; ``context`` (service, node) stands in every line."""
    console = settings.format == "console" or (settings.format == "auto" and sys.stderr.isatty())
    renderer: Any = structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer()
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.dict_tracebacks if not console else structlog.processors.StackInfoRenderer(),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        # Looked up anew for each logger: whoever redirects standard error later is obeyed.
        logger_factory=lambda *_names: structlog.PrintLogger(sys.stderr),
    )
    structlog.contextvars.bind_contextvars(**context)
    libraries = max(level, logging.WARNING)
    logging.basicConfig(level=libraries, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("asyncio").addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    # asyncio says it at the end of each of nats-py's TLS connections, and nobody can do anything about it.
    return "returning true from eof_received" not in record.msg


def get(component: str) -> Logger:
    """Return the logger of one component."""
    return structlog.get_logger(component=component)  # type: ignore[no-any-return]


class Sampled:
    """Lets a repeating error through once an interval and says how many were held back; the metric counts them all."""

    def __init__(self, logger: Logger, interval: float = 60.0) -> None:
        self._logger = logger
        self._interval = interval  # seconds
        self._next: dict[str, float] = {}
        self._held: dict[str, int] = {}

    def warning(self, event: str, **values: Any) -> None:
        """Log a warning unless the same event was logged within the interval."""
        now = time.monotonic()
        if now < self._next.get(event, 0.0):
            self._held[event] = self._held.get(event, 0) + 1
            return
        self._next[event] = now + self._interval
        self._logger.warning(event, held_back=self._held.pop(event, 0), **values)
