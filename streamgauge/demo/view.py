"""What a person sees of the demo: a live view on a terminal, lines where there is none, and the audit at the end."""

from __future__ import annotations

import sys
import time
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Final, Protocol

from rich import box
from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamgauge.demo.audit import Audit
    from streamgauge.demo.figures import Figures

_BARS: Final = "▁▂▃▄▅▆▇█"
_LINE_INTERVAL: Final = 2.0  # seconds between two lines where there is no terminal


class View(Protocol):
    """Shows the demo; lives as long as it."""

    def say(self, words: str) -> None:
        """Tell about a step."""

    def show(self, figures: Figures) -> None:
        """Show the numbers of this moment."""

    def running(self) -> AbstractContextManager[object]:
        """Return the context in which ``show`` is called."""

    def finish(self, audit: Audit) -> None:
        """Show the audit."""


def make(pages: Sequence[tuple[str, str]]) -> View:
    """Return the view for this standard output; ``pages`` are names and addresses a person can open."""
    return _TerminalView(pages) if sys.stdout.isatty() else _LineView(pages)


def amount(value: float) -> str:
    """Return a rate with three digits and a prefix: ``1.23 M``."""
    for prefix in ("", "k", "M", "G"):
        if value < 999.5:
            return f"{value:.3g} {prefix}" if prefix else f"{value:.0f} "
        value /= 1000
    return f"{value:.3g} T"


def sparkline(values: Sequence[float]) -> str:
    """Return bars for values, the highest reaching the top."""
    highest = max(values, default=0.0) or 1.0
    return "".join(_BARS[min(int(value / highest * (len(_BARS) - 1) + 0.5), len(_BARS) - 1)] for value in values)


class _LineView:
    """One line every two seconds."""

    def __init__(self, pages: Sequence[tuple[str, str]]) -> None:
        self._pages = pages
        self._begin = time.monotonic()
        self._next = 0.0

    def say(self, words: str) -> None:
        self._print(words)

    def running(self) -> AbstractContextManager[object]:
        for name, url in self._pages:
            self._print(f"{name}: {url}")
        return nullcontext()

    def show(self, figures: Figures) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _LINE_INTERVAL
        self._print(
            f"captured {figures.captured:,} packets ({amount(figures.packets_per_second)}/s, "
            f"{amount(figures.bits_per_second)}bit/s)  published {figures.published:,}  stored {figures.stored:,}  "
            f"counted {figures.counted:,}  lag {figures.lag:.2f} s"
        )

    def finish(self, audit: Audit) -> None:
        for stage in audit.stages:
            rows = "" if stage.rows is None else f"  {stage.rows:,} rows"
            size = "" if stage.bytes is None else f"  {stage.bytes:,} bytes"
            self._print(f"{stage.name}: {stage.packets:,} packets{rows}{size}  ({stage.source})")
        self._print(verdict(audit))

    def _print(self, words: str) -> None:
        sys.stdout.write(f"{time.monotonic() - self._begin:6.1f} s  {words}\n")
        sys.stdout.flush()


class _TerminalView:
    """A view that redraws itself."""

    def __init__(self, pages: Sequence[tuple[str, str]]) -> None:
        self._console = Console(highlight=False)
        self._pages = pages
        self._begin = time.monotonic()
        self._live = Live(console=self._console, auto_refresh=False, transient=True)

    def say(self, words: str) -> None:
        self._console.print(Text.assemble((f"{time.monotonic() - self._begin:5.1f} s  ", "dim"), words))

    def running(self) -> AbstractContextManager[object]:
        return self._live

    def show(self, figures: Figures) -> None:
        self._live.update(self._picture(figures), refresh=True)

    def finish(self, audit: Audit) -> None:
        table = Table(box=box.SIMPLE_HEAVY, pad_edge=False)
        table.add_column("stage")
        for name in ("packets", "rows", "bytes"):
            table.add_column(name, justify="right")
        table.add_column("counted from", style="dim")
        for stage in audit.stages:
            numbers = ("" if value is None else f"{value:,}" for value in (stage.packets, stage.rows, stage.bytes))
            table.add_row(stage.name, *numbers, stage.source)
        self._console.print(table)
        self._console.print(Text(verdict(audit), style="bold green" if audit.balanced else "bold red"))

    def _picture(self, figures: Figures) -> RenderableType:
        rate = Text.assemble(
            (f"{amount(figures.packets_per_second)}packets/s", "bold cyan"),
            "   ",
            (f"{amount(figures.bits_per_second)}bit/s", "bold"),
            "   ",
            (sparkline(figures.history), "cyan"),
        )
        tables = Columns([self._way(figures), _talkers(figures), _kinds(figures)], padding=(0, 4))
        addresses = Text("\n").join(
            Text.assemble((f"{name:10}", "dim"), (url, f"link {url}")) for name, url in self._pages
        )
        running = Text(f"running {time.monotonic() - self._begin:.0f} s; Ctrl-C ends it with an audit", style="dim")
        return Group(Padding(rate, (1, 0)), tables, Padding(addresses, (1, 0, 0, 0)), running)

    def _way(self, figures: Figures) -> Table:
        table = Table("way of a packet", "packets", box=box.SIMPLE, pad_edge=False)
        table.columns[1].justify = "right"
        for name, value in (
            ("captured", figures.captured),
            ("published", figures.published),
            ("stored", figures.stored),
            ("counted", figures.counted),
        ):
            table.add_row(name, f"{value:,}")
        table.add_row("dropped by the kernel", f"{figures.dropped:,}", style="red" if figures.dropped else "dim")
        table.add_row("lag to the metrics", f"{figures.lag:.2f} s", style="dim")
        table.add_row("oldest not stored", f"{figures.unstored_age:.1f} s", style="dim")
        return table


def _talkers(figures: Figures) -> Table:
    table = Table("top talkers", "", "bit/s", box=box.SIMPLE, pad_edge=False)
    table.columns[2].justify = "right"
    for talker in figures.talkers:
        table.add_row(talker.source, f"→ {talker.target}", amount(8 * talker.bytes_per_second).strip())
    return table


def _kinds(figures: Figures) -> Table:
    table = Table("protocol", "packets", box=box.SIMPLE, pad_edge=False)
    table.columns[1].justify = "right"
    for name, count in figures.kinds:
        table.add_row(name, f"{count:,}")
    return table


def verdict(audit: Audit) -> str:
    """Return the last line: whether everything captured is stored."""
    captured = audit.stages[0].packets
    losses = (("dropped by the kernel", audit.dropped), ("evicted under overload", audit.evicted))
    itemised = "".join(f"; {count:,} more were {how}" for how, count in losses if count)
    if audit.balanced:
        return f"every packet accounted for: {captured:,} captured = published = stored = counted{itemised}"
    if not any(stage.packets for stage in audit.stages):
        return f"nothing was captured{itemised}"
    return f"the stages DIFFER: {', '.join(f'{stage.name} {stage.packets:,}' for stage in audit.stages)}{itemised}"
