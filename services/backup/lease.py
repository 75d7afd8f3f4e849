"""One writer a lane, and the intent before each object: a small record in a NATS key-value bucket.

The record of a lane says who writes it, what is stored, and the name of the object that is stored next. It is only ever
replaced under the revision it was read with, so

* two writers cannot both go on: the second one's take-over changes the revision, and the first one's next intent fails;
* whoever goes on after a crash knows the name of the object that was under way, and makes the *same* object again. An
  upload of the dead that still arrives replaces it with the same rows, or is refused.

Neither needs clocks or time limits. Whether the writer named in the record is alive is asked of itself: it answers on
``backup.v1.<stream>.<lane>``; nobody listens there once its connection is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import nats.errors
from nats.js.errors import APIError, KeyWrongLastSequenceError

from streamgauge.errors import BusError
from streamgauge.leases import Record, Span, bucket_name, open_notes, read_note
from streamgauge.logs import get

if TYPE_CHECKING:
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription
    from nats.js.kv import KeyValue

    from streamgauge.bus import Bus

_log = get("lease")

#: How often, and for how long (seconds), the writer in the record is asked before it counts as gone.
_PROBES: Final = 3
_PROBE_TIMEOUT: Final = 1.0
#: Seconds between attempts to write the record while NATS is away.
_PAUSE: Final = 0.5

#: This process: names a person can find it by, and a part that no other process has.
OWNER: Final = f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"


class HeldError(BusError):
    """Another writer has the lane, and is alive."""


class FencedError(BusError):
    """Another writer has taken the lane over."""


class Lease:
    """The right to write one lane; taken once, held until ``release`` or until another writer takes it."""

    def __init__(self, bus: Bus, *, stream: str, lane: str, incarnation: str, replicas: int) -> None:
        self._bus = bus
        self._stream = stream
        self._bucket = bucket_name(stream)
        self._lane = lane
        self._incarnation = incarnation
        self._replicas = replicas
        self._subject = f"backup.v1.{stream}.{lane}"
        self._values: KeyValue | None = None
        self._answering: Subscription | None = None
        self._revision = 0
        self._record: Record | None = None

    async def take(self) -> Record:
        """Become the writer, and return the record as it was left (with ourselves as the owner).

        Raises:
            HeldError: another writer is alive.
            BusError: NATS is away, or refuses.

        """
        try:
            self._values = await open_notes(self._bus.jetstream, self._stream, replicas=self._replicas)
            for _ in range(_PROBES):
                before, revision = await self._read()
                if before is not None:
                    await self._ask(before)
                record = self._taken(before)
                await self._answer()
                with contextlib.suppress(KeyWrongLastSequenceError):
                    self._revision = await self._values.update(self._lane, record.encode(), last=revision)
                    self._record = record
                    return record
                # Another one was faster; whether it lives is asked in the next round.
                await self.release()
        except (APIError, nats.errors.Error, TimeoutError, OSError) as error:
            raise BusError(
                f"cannot take {self._lane} in key-value bucket {self._bucket}: {error}; "
                "this user must be allowed to use it (or to create it)"
            ) from error
        raise HeldError(f"{self._lane} is taken by several writers at once; give each replica shards of its own")

    async def intend(self, span: Span, committed: Span | None) -> None:
        """Record which object comes next, and the last one that is stored; returns once it is certain.

        Raises:
            FencedError: another writer has taken the lane over.
            BusError: the record was deleted.

        """
        assert self._record is not None
        assert self._values is not None
        if self._record.intent == span:
            return  # the same object again, after a crash or for another try
        record = replace(self._record, committed=committed, intent=span)
        while True:
            try:
                self._revision = await self._values.update(self._lane, record.encode(), last=self._revision)
            except KeyWrongLastSequenceError:
                await self._settle(record)
            except (APIError, nats.errors.Error, TimeoutError, OSError):
                await asyncio.sleep(_PAUSE)
                await self.check()
                continue
            self._record = record
            return

    async def check(self) -> None:
        """Return if the lane is still ours, or NATS does not say.

        Raises:
            FencedError: another writer has taken the lane over.
            BusError: the record was deleted.

        """
        try:
            found, _ = await self._read()
        except (APIError, nats.errors.Error, TimeoutError, OSError):
            return
        if found is None:
            raise self._deleted()
        if found.owner != OWNER:
            raise self._fenced()

    async def _settle(self, record: Record) -> None:
        """Return if the record in the bucket is ours: the answer to an update before was lost.

        Raises:
            FencedError: it is not.
            BusError: it was deleted.

        """
        while True:
            try:
                found, revision = await self._read()
            except (APIError, nats.errors.Error, TimeoutError, OSError):
                await asyncio.sleep(_PAUSE)
                continue
            if found is None:
                raise self._deleted()
            if found != record:
                raise self._fenced()
            self._revision = revision
            return

    def _fenced(self) -> FencedError:
        return FencedError(f"{self._lane} was taken over by another writer; this one stops, nothing is stored twice")

    def _deleted(self) -> BusError:
        return BusError(
            f"the record of {self._lane} in key-value bucket {self._bucket} was deleted; starting anew helps"
        )

    async def release(self) -> None:
        """Stop answering for the lane."""
        if self._answering is not None:
            with contextlib.suppress(nats.errors.Error):
                await self._answering.unsubscribe()
            self._answering = None

    async def _read(self) -> tuple[Record | None, int]:
        assert self._values is not None
        return await read_note(self._values, self._lane)

    def _taken(self, before: Record | None) -> Record:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        if before is None or before.incarnation != self._incarnation:
            return Record(OWNER, now, self._incarnation)
        return replace(before, owner=OWNER, since=now)

    async def _ask(self, record: Record) -> None:
        """Ask the writer in the record whether it lives.

        Raises:
            HeldError: it does.

        """
        for _ in range(_PROBES):
            try:
                answer = await self._bus.client.request(self._subject, b"", timeout=_PROBE_TIMEOUT)
            except nats.errors.NoRespondersError:
                return
            except nats.errors.TimeoutError:
                continue  # its host died with the connection open, or it hangs
            raise HeldError(
                f"{self._lane} is written by {answer.data.decode()} since {record.since}; stop it, or give each "
                "replica shards of its own (STREAMGAUGE_BACKUP_REPLICA and _REPLICAS, or _SHARDS)"
            )
        _log.warning("the writer of the lane does not answer; taking over", lane=self._lane, writer=record.owner)

    async def _answer(self) -> None:
        async def answer(message: Msg) -> None:
            await message.respond(OWNER.encode())

        if self._answering is None:
            self._answering = await self._bus.client.subscribe(self._subject, cb=answer)
