"""``streamgauge tail``: live summaries from NATS, one line each, like tcpdump."""

import asyncio
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from streamgauge.errors import ConfigurationError, PayloadError

if TYPE_CHECKING:
    from nats.aio.msg import Msg

    from streamgauge.bus import Bus
    from streamgauge.cli.writers import Writer
    from streamgauge.filter import Filter
    from streamgauge.settings import Settings


def tail(
    filter_: Annotated[list[str] | None, typer.Argument(metavar="FILTER", help="Which rows; all by default.")] = None,
    nats: Annotated[str | None, typer.Option(help="NATS URL, instead of STREAMGAUGE_NATS_URL.")] = None,
    count: Annotated[int | None, typer.Option("--count", "-c", min=1, help="Leave after so many rows.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a row instead of a line.")] = False,
    columns: Annotated[str | None, typer.Option(help="Columns to write, comma-separated, in this order.")] = None,
) -> int:
    """Show summaries as they are published, one line each, until Ctrl-C.

    A filter is made of words (tcp udp icmp arp ip ip6 dns mdns llmnr tls http quic dhcp ntp ssh fragment damaged), of
    words with a value (host ADDRESS, net NETWORK, port N or N-M, each also after src or dst; node NAME, interface NAME,
    vlan N, name PATTERN for a DNS, TLS or HTTP name) and of comparisons of any column (ttl < 5, dns_rcode = 3), joined
    by and, or, not and parentheses. Tests side by side mean and.

    Examples:
      streamgauge tail dns
      streamgauge tail 'tcp port 443 and not net 10.0.0.0/8'
      streamgauge tail 'name *.example.com or dns_rcode = 3' --json
      streamgauge tail --nats nats://nats.monitoring:4222 node worker-1 --count 20
    """
    from streamgauge import logs
    from streamgauge.cli.writers import chosen_columns, open_writer
    from streamgauge.filter import Filter
    from streamgauge.settings import LogSettings, load

    # A shell that has quoted nothing hands over one word each.
    chosen = Filter(" ".join(filter_ or []))
    names = chosen_columns(columns)
    settings = load(("nats",), _environment(nats))
    logs.set_up(LogSettings.model_validate({"level": "error"}))
    with open_writer("ndjson" if json else "table", None, names) as writer:
        asyncio.run(_follow(settings, chosen, writer, count))
    return 0


def _environment(nats: str | None) -> Mapping[str, str]:
    return {**os.environ, "STREAMGAUGE_NATS_URL": nats} if nats else os.environ


async def _follow(settings: "Settings", chosen: "Filter", writer: "Writer", count: int | None) -> None:
    from streamgauge.bus import Bus
    from streamgauge.settings import NatsSettings

    bus = Bus(settings.section(NatsSettings), "tail")
    try:
        await bus.start()
        await _Tail(bus, chosen, writer, count).run()
    finally:
        await bus.stop()


class _Tail:
    """One run of the command: takes messages as they come, until enough rows are written."""

    def __init__(self, bus: "Bus", chosen: "Filter", writer: "Writer", count: int | None) -> None:
        self._bus = bus
        self._chosen = chosen
        self._writer = writer
        self._left = count
        # What is published faster than it is written is not kept for ever: the client drops it past its bounds.
        self._messages: asyncio.Queue[Msg] = asyncio.Queue(maxsize=1024)
        self._skipped = 0

    async def run(self) -> None:
        for subject in wanted_subjects(self._chosen):
            await self._bus.client.subscribe(subject, cb=self._take)
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            # Ctrl-C while subscribing: nats-py swallows the cancellation there.
            raise asyncio.CancelledError
        while self._left is None or self._left > 0:
            message = await self._messages.get()
            self._show(message)
            if self._messages.empty():
                self._writer.flush()
            if self._skipped:
                print(f"streamgauge: {self._skipped} batches skipped, they come faster than lines", file=sys.stderr)
                self._skipped = 0

    async def _take(self, message: "Msg") -> None:
        try:
            self._messages.put_nowait(message)
        except asyncio.QueueFull:
            self._skipped += 1

    def _show(self, message: "Msg") -> None:
        from streamgauge import codec, subjects

        try:
            batch = codec.decode(message.data, (message.headers or {}).get("Content-Type", subjects.ARROW))
            rows = self._chosen.apply(batch)
        except PayloadError as error:
            print(f"streamgauge: {message.subject}: {error}", file=sys.stderr)
            return
        if self._left is not None:
            rows = rows.slice(0, self._left)
            self._left -= len(rows)
        if len(rows):
            self._writer.write(rows)


def wanted_subjects(chosen: "Filter") -> list[str]:
    """Return the subjects to subscribe to, as narrow as the filter allows.

    Raises:
        ConfigurationError: no row can match.

    """
    from streamgauge import subjects
    from streamgauge.schema import TrafficClass

    node = chosen.node or "*"
    if len(chosen.classes) == len(TrafficClass):
        return [f"{subjects.TRAFFIC}.{node}.*"]
    if not chosen.classes:
        raise ConfigurationError(f"filter {chosen.text!r} cannot match anything")
    return [f"{subjects.TRAFFIC}.{node}.{each.token}" for each in sorted(chosen.classes)]
