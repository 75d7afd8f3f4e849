"""What a durable reader that was killed had dealt with since it last noted its numbers, from the stream itself.

Without it nobody could tell afterwards whether a number between the note and the restart was read or lost.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

from streamgauge import codec, subjects
from streamgauge.consumer.gaps import Reason, Verdict
from streamgauge.consumer.live import traffic_class
from streamgauge.consumer.replay import AwayError
from streamgauge.errors import BusError, PayloadError, SubjectError

if TYPE_CHECKING:
    from nats.js.api import ConsumerInfo

    from streamgauge.consumer.gaps import Tracker
    from streamgauge.consumer.replay import StreamReader
    from streamgauge.consumer.source import Message

#: Messages that are read again at the most: some seconds of a large cluster, in a second or two.
_MOST: Final = 5000


async def dealt_with(reader: StreamReader, subject: str, noted: int, info: ConsumerInfo) -> list[Message] | None:
    """Return the messages behind sequence ``noted`` that were acknowledged.

    None if that cannot be known: the stream has discarded some, this user may not read single messages, they are too
    many, or they were not acknowledged in their order.
    """
    floor = info.ack_floor.stream_seq if info.ack_floor else 0
    delivered = info.delivered.stream_seq if info.delivered else 0
    messages: list[Message] = []
    at = noted + 1
    try:
        while at <= delivered:
            message = await reader.get(at, subject)
            if message is None or message.stream_sequence is None or message.stream_sequence > delivered:
                break
            if len(messages) == _MOST:
                return None
            messages.append(message)
            at = message.stream_sequence + 1
        discarded = (await reader.info()).state.first_seq > noted + 1
    except (AwayError, BusError):
        return None
    done = [message for message in messages if (message.stream_sequence or 0) <= floor]
    in_order = len(messages) - len(done) <= (info.num_ack_pending or 0)
    return done if in_order and not discarded else None


def account(tracker: Tracker, message: Message) -> None:
    """Take a message into account as the run before did, and leave out what that run has told."""
    try:
        envelope = subjects.Envelope.from_headers(message.headers)
        kind = traffic_class(message.subject)
    except (PayloadError, SubjectError):
        return
    try:
        codec.decode(message.data, envelope.content_type)
    except PayloadError:
        tracker.drop(envelope, kind, Reason.DAMAGED, -inf)
        return
    # What it told because time had passed is not known, and told once more.
    if tracker.take(envelope, kind, -inf) is not Verdict.DUPLICATE:
        tracker.due(-inf)
