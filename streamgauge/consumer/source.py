"""What a subscription takes its messages from: one class each for live, replay and durable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamgauge.consumer.gaps import Tracker


@dataclass(frozen=True, slots=True)
class Message:
    """One message, wherever it came from."""

    subject: str
    headers: Mapping[str, str]
    data: bytes
    stream_sequence: int | None = None
    #: What a durable subscription acknowledges it by.
    reply: str = ""


class Source(Protocol):
    """Gives messages one by one, at the pace they are asked for."""

    async def start(self) -> None:
        """Begin.

        Raises:
            BusError: the server refuses, or lacks the stream.

        """

    async def next(self, wait: float) -> Message | None:
        """Return the next message, None if there was none within ``wait`` seconds.

        Raises:
            EndOfStreamError: there will be no more.

        """

    async def explain(self, tracker: Tracker) -> None:
        """Tell the tracker of a cause for what is missing before the last message, if one is known."""

    def disconnected(self) -> None:
        """Know that the connection was lost."""

    async def done(self, message: Message) -> None:
        """Know that a message has been dealt with."""

    async def refuse(self, message: Message) -> None:
        """Know that a message cannot be read and is not wanted again."""

    async def stop(self) -> None:
        """Give back what was not dealt with."""


class EndOfStreamError(Exception):
    """The replay has reached its end."""
