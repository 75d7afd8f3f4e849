"""An ephemeral pull consumer of the stream that notices when it lost something.

Nothing is acknowledged: what the exporter counted lives in its memory, so a restart begins anew anyway. Instead the
consumer's own numbering must be gapless; where it is not, or the consumer is gone (server restarted, stream deleted),
``LostPlace`` tells the owner to open again behind the last sequence it handled.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, Final

from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from streamgauge.errors import StreamgaugeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nats.aio.msg import Msg

    from streamgauge.bus import Bus

#: Seconds after which the server removes a consumer that nobody asks.
_INACTIVE: Final = 60.0
#: Seconds without a message after which the server is asked whether the consumer still exists.
_CHECK_AFTER: Final = 5.0


class LostPlace(StreamgaugeError):  # noqa: N818 it names what happened
    """The consumer skipped a message or is gone: open again behind the last sequence handled."""


class Puller:
    """One consumer; opened and closed by its owner, as often as needed."""

    def __init__(self, bus: Bus, stream: str, filters: Sequence[str]) -> None:
        self._bus = bus
        self._stream = stream
        self._filters = list(filters)
        self._subscription: Any = None
        self._expected = 1
        self._checked = 0.0

    async def open_behind(self, sequence: int, *, headers_only: bool = False) -> None:
        """Begin with the first message behind a stream sequence."""
        config = ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=sequence + 1)
        await self._open(config, headers_only=headers_only)

    async def open_last(self) -> None:
        """Begin with the last message of each subject."""
        await self._open(ConsumerConfig(deliver_policy=DeliverPolicy.LAST_PER_SUBJECT))

    async def _open(self, config: ConsumerConfig, *, headers_only: bool = False) -> None:
        await self.close()
        config.ack_policy = AckPolicy.NONE
        config.filter_subjects = self._filters
        config.headers_only = headers_only
        config.inactive_threshold = _INACTIVE
        config.description = "streamgauge exporter"
        jetstream = self._bus.jetstream
        info = await jetstream.add_consumer(self._stream, config)
        self._subscription = await jetstream.pull_subscribe_bind(info.name, self._stream)
        self._expected = 1
        self._checked = time.monotonic()

    async def close(self) -> None:
        """Give the consumer up; the server removes it when nobody asks it any more."""
        if self._subscription is not None:
            with contextlib.suppress(NatsError, TimeoutError):
                await self._subscription.unsubscribe()
            self._subscription = None

    async def fetch(self, count: int, timeout: float) -> list[Msg]:  # noqa: ASYNC109 nats-py's own
        """Return up to ``count`` messages, none if nothing came within ``timeout`` seconds.

        Raises:
            LostPlace: a message is missing before these, or the consumer is gone.

        """
        try:
            messages: list[Msg] = await self._subscription.fetch(count, timeout=timeout)
        except TimeoutError:
            await self._check()
            return []
        except NatsError as error:
            raise LostPlace(f"cannot fetch from stream {self._stream}: {error}") from error
        for message in messages:
            if message.metadata.sequence.consumer != self._expected:
                raise LostPlace(f"a message before {message.metadata.sequence.stream} did not arrive")
            self._expected += 1
        self._checked = time.monotonic()
        return messages

    async def _check(self) -> None:
        if time.monotonic() - self._checked < _CHECK_AFTER:
            return
        try:
            await self._subscription.consumer_info()
        except (NatsError, TimeoutError) as error:
            raise LostPlace(f"the consumer of stream {self._stream} is gone: {error}") from error
        self._checked = time.monotonic()
