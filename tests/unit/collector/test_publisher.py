"""The publisher against a server that misbehaves in every way nats-py leaves to its caller."""

from __future__ import annotations

import asyncio
from collections import deque

import pytest
from nats.errors import ConnectionClosedError, MaxPayloadError, OutboundBufferLimitError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.errors import APIError, NoStreamResponseError

from services.collector import publisher as publisher_module
from services.collector.account import Account
from services.collector.batcher import HEADER_BYTES
from services.collector.metrics import RETRY_REASONS, CollectorMetrics
from services.collector.pending import Pending
from services.collector.publisher import Publisher, reason_of
from services.collector.spool import Spool
from streamgauge.errors import BusError
from streamgauge.lifecycle import Failure
from streamgauge.settings import CollectorSettings
from tests.unit.collector.making import message

SIZE = HEADER_BYTES + 7
NEVER = object()


class FakeStream:
    """JetStream as the publisher sees it: ``script`` says what becomes of each publish; after it, all is well."""

    def __init__(self) -> None:
        self.script: deque[object] = deque()
        self.sent: list[str] = []
        self.stored: list[str] = []

    @property
    def jetstream(self):
        return self

    async def publish(self, _subject, _payload, *, headers, **_options):
        self.sent.append(headers["Nats-Msg-Id"])
        outcome = self.script.popleft() if self.script else None
        if outcome is NEVER:
            await asyncio.Event().wait()
        if outcome == "stored, ack lost":
            self.stored.append(headers["Nats-Msg-Id"])
            raise NatsTimeoutError
        if isinstance(outcome, Exception):
            raise outcome
        if headers["Nats-Msg-Id"] not in self.stored:
            self.stored.append(headers["Nats-Msg-Id"])


class FakeLink:
    """The way to NATS: up unless told otherwise."""

    def __init__(self) -> None:
        self.up = asyncio.Event()
        self.up.set()
        self.looked = 0
        self.trouble = "NATS is away"

    async def wait(self):
        await self.up.wait()

    def look_for_stream(self):
        self.looked += 1


class Bench:
    """A publisher with everything around it."""

    def __init__(self, *, live=True, bound_bytes=1 << 20, in_flight=3):
        self.stream, self.link, self.account, self.failure = FakeStream(), FakeLink(), Account(), Failure()
        self.pending = Pending(bound_bytes=bound_bytes, in_flight=in_flight)
        settings = CollectorSettings(node="node-a")
        self.spool = Spool(settings, "boot-1", self.account, self.failure, record=lambda: None)
        self.metrics = CollectorMetrics(settings, "boot-1", "eth0")
        self.publisher = Publisher(
            self.stream,
            self.link,
            self.pending,
            self.spool,
            self.account,
            self.metrics,
            self.failure,
            live=live,
            ack_timeout=0.05,
            stop_timeout=0.2,
        )

    async def accept(self, *numbers):
        self.account.decoded(len(numbers))
        await self.publisher.accept([message(n) for n in numbers])


@pytest.fixture(name="bench")
async def _bench(monkeypatch):
    monkeypatch.setattr(publisher_module, "_SHORTEST_PAUSE", 0.001)
    monkeypatch.setattr(publisher_module, "_LONGEST_PAUSE", 0.002)
    bench = Bench()
    await bench.publisher.start()
    yield bench
    await bench.publisher.stop()


def ids(*numbers):
    return [f"node-a/boot-1/{n}" for n in numbers]


async def test_messages_are_sent_in_order_once(bench):
    """When all is well, each message is sent once, in order, and counted."""
    await bench.accept(1, 2, 3, 4, 5)
    await bench.publisher.drained()

    assert bench.stream.sent == ids(1, 2, 3, 4, 5)
    totals = bench.account.totals()
    assert (totals.published, totals.published_messages, totals.spooled) == (5, 5, 0)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (NatsTimeoutError(), "timeout"),
        (TimeoutError(), "timeout"),
        (NoStreamResponseError(), "no_stream"),
        (OutboundBufferLimitError(), "disconnected"),
        (ConnectionClosedError(), "disconnected"),
        (MaxPayloadError(), "too_large"),
        (APIError(code=503, err_code=10077, description="maximum bytes exceeded"), "refused"),
        (BusError("not started"), "disconnected"),
        (ConnectionResetError(), "disconnected"),
    ],
)
async def test_whatever_happens_the_message_is_sent_again(bench, error, reason):
    """Every failure keeps the message, counts a retry by reason, and ends with the message stored once."""
    bench.stream.script.extend([error, error])
    await bench.accept(1)
    await bench.publisher.drained()

    assert bench.stream.sent == ids(1, 1, 1)
    assert bench.stream.stored == ids(1)
    assert reason_of(error) == reason in RETRY_REASONS
    page = bench.metrics.registry.render().decode()
    assert f'reason="{reason}"}} 2' in page
    assert bench.link.looked == (2 if reason == "no_stream" else 0)


async def test_an_acknowledgement_that_never_comes_is_given_up(bench):
    """A publish that hangs (a future nats-py never completes) ends by our own timeout, and is repeated."""
    bench.stream.script.append(NEVER)
    await bench.accept(1)
    await bench.publisher.drained()

    assert bench.stream.sent == ids(1, 1)


async def test_a_lost_acknowledgement_does_not_store_twice(bench):
    """A message that was stored, but not acknowledged in time, is sent again under the same identity."""
    bench.stream.script.append("stored, ack lost")
    await bench.accept(1, 2)
    await bench.publisher.drained()

    assert bench.stream.stored == ids(1, 2)
    assert bench.stream.sent == ids(1, 2, 1)
    assert bench.account.totals().published == 2


async def test_nothing_newer_is_sent_before_a_window_is_stored(bench):
    """A failed message holds up what comes after its window, so that order is kept through failures."""
    bench.stream.script.extend([NatsTimeoutError(), None, NatsTimeoutError()])
    await bench.accept(1, 2, 3, 4, 5)
    await bench.publisher.drained()

    assert bench.stream.sent == ids(1, 2, 3, 1, 3, 4, 5)


async def test_while_the_server_is_away_nothing_is_sent_and_the_oldest_is_evicted():
    """A live source does not wait: past the bound the oldest unsent messages are evicted and counted."""
    bench = Bench(bound_bytes=2 * SIZE)
    bench.link.up.clear()
    await bench.publisher.start()
    await bench.accept(1, 2)
    await bench.accept(3, 4)

    assert bench.stream.sent == []
    totals = bench.account.totals()
    assert (totals.evicted, totals.evicted_messages, totals.pending) == (2, 2, 2)
    bench.link.up.set()
    await bench.publisher.drained()

    assert bench.stream.stored == ids(3, 4)
    await bench.publisher.stop()


async def test_a_file_waits_for_room():
    """A source that can wait is made to: nothing is evicted, however long the server is away."""
    bench = Bench(live=False, bound_bytes=2 * SIZE)
    bench.link.up.clear()
    await bench.publisher.start()
    await bench.accept(1, 2)
    accepting = asyncio.ensure_future(bench.accept(3))
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert not accepting.done()
    bench.link.up.set()
    await accepting
    await bench.publisher.drained()
    assert bench.stream.stored == ids(1, 2, 3)
    assert bench.account.totals().evicted == 0
    await bench.publisher.stop()


async def test_what_is_left_at_the_end_is_counted_and_told():
    """If NATS stays away until the service must end, the loss is counted and is the service's error."""
    bench = Bench()
    bench.link.up.clear()
    await bench.publisher.start()
    await bench.accept(1, 2)
    await bench.publisher.stop()

    totals = bench.account.totals()
    assert (totals.evicted, totals.spooled, totals.decoded) == (2, 0, 2)
    assert "2 packets in 2 batches" in str(bench.failure.error)


async def test_stop_publishes_what_is_left():
    """Messages accepted just before the end are published, not dropped."""
    bench = Bench()
    await bench.publisher.start()
    await bench.accept(1, 2, 3, 4)
    await bench.publisher.stop()

    assert bench.stream.stored == ids(1, 2, 3, 4)
    assert bench.failure.error is None
    assert len(bench.pending) == 0
