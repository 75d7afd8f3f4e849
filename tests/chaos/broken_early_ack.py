"""A backup that is broken on purpose: it acknowledges before the upload, and takes acknowledgements for the position.

An early acknowledgement alone does no harm: the position is the bucket's, and a consumer is made anew behind it at each
start. So this build also goes on behind what was acknowledged, as a plain JetStream client would. Between its first
acknowledgement and the upload it kills itself, once: the file ``$CHAOS_CLOCK.died`` says that it has.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from nats.js.errors import NotFoundError

from services.backup.__main__ import main
from services.backup.consumer import Consumer
from services.backup.lane import Lane

_commit, _open = Lane._commit, Consumer.open


async def _acknowledge_first(lane: Lane, assembly: Any, seen: Any) -> None:
    """Acknowledge, die once, and only then store."""
    if assembly.replies and lane.name.startswith("shard-"):
        await lane._consumer.acknowledge(assembly.replies.values())
        _die_once(Path(os.environ["CHAOS_CLOCK"] + ".died"))
    await _commit(lane, assembly, seen)


async def _go_on_behind_acknowledged(consumer: Consumer, after: int) -> None:
    """Open the consumer behind what is acknowledged."""
    try:
        info = await consumer._bus.jetstream.consumer_info(consumer._stream, consumer.name)
    except NotFoundError:
        await _open(consumer, after)
        return
    floor = info.ack_floor.stream_seq if info.ack_floor else 0
    await _open(consumer, max(after, floor or 0))


def _die_once(mark: Path) -> None:
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    Lane._commit = _acknowledge_first  # type: ignore[method-assign,assignment]
    Consumer.open = _go_on_behind_acknowledged  # type: ignore[method-assign,assignment]
    sys.exit(main())
