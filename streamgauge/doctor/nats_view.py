"""NATS as the doctor sees it: one connection that asks JetStream and says in words why it is not answered."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import orjson
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from streamgauge.bus import Bus
from streamgauge.errors import BusError, StreamgaugeError
from streamgauge.lifecycle import cancel, spawn

if TYPE_CHECKING:
    from streamgauge.settings import NatsSettings

#: Code of JetStream's error for a stream that is not there.
_NO_STREAM: Final = 10059
#: Seconds to wait for one answer.
_PATIENCE: Final = 5.0
#: Seconds between two looks at what the server says beside.
_LOOK: Final = 0.05


class RefusedError(StreamgaugeError):
    """JetStream does not answer a question: says why, as far as that is known."""


class NotAllowedError(RefusedError):
    """This user may not ask that."""


class NoStreamError(RefusedError):
    """There is no such stream."""


class NatsView:
    """One connection; ``connect`` first, ``close`` at the end."""

    def __init__(self, settings: NatsSettings) -> None:
        self.settings = settings
        self.stream = settings.stream
        self._bus = Bus(settings, "doctor")
        #: Why there is no connection; None once there is one.
        self.refusal: BusError | None = None
        #: Seconds the server's clock is ahead of ours, as its last answer showed; NaN before.
        self.ahead = float("nan")
        #: Seconds a round trip took.
        self.round_trip = 0.0

    async def connect(self) -> None:
        """Connect; what keeps from it is left in ``refusal``."""
        try:
            await self._bus.start()
        except BusError as error:
            self.refusal = error
            return
        with contextlib.suppress(NatsError, TimeoutError):
            self.round_trip = await self._bus.client.rtt()

    async def close(self) -> None:
        """Close the connection."""
        await self._bus.stop()

    @property
    def bus(self) -> Bus:
        """The connection."""
        return self._bus

    @property
    def server(self) -> str:
        """Name and version of the server."""
        version = self._bus.client.connected_server_version
        return f"nats-server {version.major}.{version.minor}.{version.patch}"

    @property
    def now(self) -> float:
        """The time by the server's clock, in seconds; by ours as long as it told none."""
        return time.time() + (0.0 if math.isnan(self.ahead) else self.ahead)

    async def ask(self, subject: str, **question: Any) -> dict[str, Any]:
        """Ask JetStream's API and return its answer.

        Args:
            subject: behind ``$JS.API.``.
            question: sent as JSON; nothing is sent without one.

        Raises:
            NoStreamError: the stream is missing.
            NotAllowedError: the user may not ask that.
            RefusedError: for any other reason there is no answer.

        """
        payload = orjson.dumps(question) if question else b""
        began = time.time()
        asking = spawn(self._bus.client.request(f"$JS.API.{subject}", payload, timeout=_PATIENCE), name="ask")
        try:
            # What is not allowed is not answered; the server tells it beside.
            while not (await asyncio.wait({asking}, timeout=_LOOK))[0]:
                if self._may_not(subject):
                    raise NotAllowedError(f"user {self.settings.user} may not ask $JS.API.{subject}")
            answer: dict[str, Any] = orjson.loads(asking.result().data)
        except NoRespondersError as error:
            raise RefusedError("JetStream is off") from error
        except (NatsError, TimeoutError) as error:
            raise RefusedError(f"no answer within {_PATIENCE:.0f} s") from error
        finally:
            await cancel(asking)
        self._note_clock(answer.get("ts"), began)
        if "error" in answer:
            self._raise(answer["error"])
        return answer

    def _may_not(self, subject: str) -> bool:
        said = self._bus.said.lower()
        # A service's user hears answers on inboxes of its own name only.
        return "permissions violation" in said and (f"$js.api.{subject}".lower() in said or "_inbox_doctor" in said)

    def _raise(self, error: dict[str, Any]) -> None:
        if error.get("err_code") == _NO_STREAM:
            raise NoStreamError(f"stream {self.stream} does not exist")
        raise RefusedError(str(error.get("description", "refused")))

    def _note_clock(self, stamp: str | None, began: float) -> None:
        if stamp is None:
            return
        then = seconds(stamp)
        ended = time.time()
        # A stamp between question and answer fits; else the nearer end tells the least the clocks differ.
        self.ahead = max(then - ended, 0.0) + min(then - began, 0.0)


def seconds(stamp: str) -> float:
    """Return JetStream's time stamp (RFC 3339) as Unix time; 0 for its "never"."""
    return max(datetime.fromisoformat(stamp).timestamp(), 0.0) if not stamp.startswith("0001-") else 0.0
