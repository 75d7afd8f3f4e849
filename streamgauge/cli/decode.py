"""``streamgauge decode``: capture files to rows, one a packet."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamgauge.errors import CaptureFileError, ConfigurationError

if TYPE_CHECKING:
    import pyarrow as pa

    from streamgauge.flows import FlowTable


@dataclass(frozen=True, slots=True)
class Options:
    """What is found out about each packet."""

    #: Open tunnels and describe what is inside.
    decapsulate: bool = True
    #: Fill the columns that several packets together tell.
    health: bool = True
    community_id: bool = False
    #: Add a row for each DNS query that nobody answered.
    unanswered: bool = False

    def flow_table(self) -> "FlowTable":
        """Return what sees the packets of one file together."""
        from streamgauge.flows import FlowTable

        return FlowTable(health=self.health, community_id=self.community_id)


class Format(StrEnum):
    """What the rows are written as."""

    TABLE = "table"
    NDJSON = "ndjson"
    CSV = "csv"
    PARQUET = "parquet"


def decode(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="pcap or pcapng, also gzipped; - reads stdin.")],
    format_: Annotated[
        Format | None, typer.Option("--format", "-f", help="Default: by the suffix of --output, else table.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write instead of stdout.")] = None,
    columns: Annotated[str | None, typer.Option(help="Columns to write, comma-separated, in this order.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many packets.")] = None,
    no_decapsulate: Annotated[
        bool, typer.Option("--no-decapsulate", help="Outermost headers only: do not open tunnels.")
    ] = False,
    no_health: Annotated[
        bool, typer.Option("--no-health", help="Each packet by itself: no round trips, retransmissions, DNS latency.")
    ] = False,
    community_id: Annotated[
        bool, typer.Option("--community-id", help="Fill the column community_id (Community ID v1).")
    ] = False,
    unanswered: Annotated[
        bool, typer.Option("--unanswered", help="One more row, without packets, for a DNS query unanswered for 5 s.")
    ] = False,
) -> int:
    """Decode capture files: one row a packet, in capture order.

    A damaged packet is a row with a decode_status. A damaged file gives the rows before the damage, then exit status 1.

    Examples:
      streamgauge decode trace.pcap
      streamgauge decode --format ndjson *.pcapng.gz | jq .dns_name
      tcpdump -w - -c 100 | streamgauge decode -
      streamgauge decode trace.pcap --output trace.parquet
    """
    from streamgauge.cli.writers import chosen_columns, open_writer

    form = format_ or _by_suffix(output)
    _refuse_overwriting(files, output)
    if form is Format.PARQUET and output is None and sys.stdout.isatty():
        raise ConfigurationError("parquet is no text for a terminal; name a file: --output FILE.parquet")
    names = chosen_columns(columns)
    faults: list[CaptureFileError] = []
    options = Options(
        decapsulate=not no_decapsulate, health=not no_health, community_id=community_id, unanswered=unanswered
    )
    rows = _rows(files, faults, limit=limit, options=options)
    first = next(rows, None)
    # A file that is no capture makes no output, and takes the place of none.
    if first is not None or not faults:
        with open_writer(form.value, output, names) as writer:
            for batch in chain([] if first is None else [first], rows):
                writer.write(batch)
    for fault in faults[:-1]:
        print(f"streamgauge: {fault}", file=sys.stderr)
    if faults:
        raise faults[-1]
    return 0


def _rows(
    files: list[str], faults: list[CaptureFileError], *, limit: int | None, options: "Options"
) -> "Iterator[pa.RecordBatch]":
    """Yield the rows of all files; the fault of one does not keep the others from being read."""
    from streamgauge.cli.progress import Progress

    left = limit
    with Progress("packets") as progress:
        for file in files:
            try:
                for batch in batches(file, options):
                    taken = batch if left is None else batch.slice(0, left)
                    yield taken
                    progress.add(len(taken))
                    if left is not None:
                        left -= len(taken)
                        if left == 0:
                            return
            except CaptureFileError as fault:
                faults.append(fault)


def batches(file: str, options: "Options | None" = None) -> Iterator["pa.RecordBatch"]:
    """Yield the rows of one capture file in batches.

    Raises:
        CaptureFileError: the file is no capture, or breaks off; the rows before were yielded.

    """
    from streamgauge.decode import Decoder
    from streamgauge.decode.capture_file import open_capture
    from streamgauge.encode import Origin, to_arrow
    from streamgauge.rows import Rows

    options = options or Options()
    with open_capture(file) as capture:
        rows = Rows(8192)
        decoder = Decoder(decapsulate=options.decapsulate)
        table = options.flow_table()
        origin = Origin(node="", interface="-" if file == "-" else Path(file).name, observation_point="file")
        reported = 0
        for data, index, count in capture.blocks():
            first = 0
            while first < count:
                first += decoder.decode(data, index, first, count, rows)
                table.fill(rows, reported)
                yield to_arrow(rows, origin)
                rows.clear()
                reported = table.report(rows)
                if not options.unanswered:
                    rows.clear()
                    reported = 0
        if reported:
            yield to_arrow(rows, origin)


def _by_suffix(output: Path | None) -> Format:
    by_suffix = {".ndjson": Format.NDJSON, ".jsonl": Format.NDJSON, ".json": Format.NDJSON}
    by_suffix |= {".csv": Format.CSV, ".parquet": Format.PARQUET}
    return by_suffix.get(output.suffix.lower(), Format.TABLE) if output is not None else Format.TABLE


def _refuse_overwriting(files: list[str], output: Path | None) -> None:
    for file in files:
        if output is not None and file != "-" and output.exists() and output.samefile(file):
            raise ConfigurationError(f"{output} is also read; choose another --output")
