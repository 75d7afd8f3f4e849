"""One batch of summaries as a consumer gets it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from streamgauge.consumer.gaps import Gap
    from streamgauge.subjects import Envelope


@dataclass(frozen=True, slots=True)
class Batch:
    """Summaries of one node, interface and class, with what the headers say about them.

    The memory is the message's own: a batch that is kept keeps its message.
    """

    #: The rows as they travel: the columns of docs/50-record.md, addresses as 16 bytes, one Arrow record batch.
    arrow: pa.RecordBatch = field(repr=False)
    #: ``tcp``, ``dns``, ``tls``, …: the last word of the subject it was published on.
    traffic_class: str
    envelope: Envelope = field(repr=False)
    #: What was missed since the batch before; each gap is told once.
    gaps: tuple[Gap, ...] = ()
    #: Whether it comes after a gap was told that it belongs to.
    late: bool = False
    #: Its number in the stream; None if it did not come from there (a live subscription).
    stream_sequence: int | None = None

    def __str__(self) -> str:
        """Return it as a few words: ``worker-1 dns: batch 7, 3 rows, 3 packets``."""
        gaps = f", {len(self.gaps)} gaps before" if self.gaps else ""
        return (
            f"{self.node} {self.traffic_class}: batch {self.sequence}, {len(self)} rows, {self.packets} packets{gaps}"
        )

    def __len__(self) -> int:
        """Return the number of rows; packets are more where rows were merged."""
        return len(self.arrow)

    @property
    def node(self) -> str:
        """Name of the node that captured it."""
        return self.envelope.node

    @property
    def boot(self) -> str:
        """Identity of the collector's start."""
        return self.envelope.boot

    @property
    def sequence(self) -> int:
        """Number of the batch within node and boot, over all classes, from 1."""
        return self.envelope.sequence

    @property
    def class_sequence(self) -> int:
        """Number of the batch within node, boot and class, from 1; 0 from a collector that does not number them."""
        return self.envelope.class_sequence

    @property
    def interface(self) -> str:
        """Interface, or file, that it was captured on."""
        return self.envelope.interface

    @property
    def packets(self) -> int:
        """Packets in it: the sum of the column."""
        return self.envelope.packets

    @property
    def bytes(self) -> int:
        """Bytes on the wire: the sum of the column."""
        return self.envelope.bytes

    @property
    def first_time(self) -> int:
        """Capture time of the first packet, ns since 1970 UTC."""
        return self.envelope.first_time

    @property
    def last_time(self) -> int:
        """Capture time of the last packet, ns since 1970 UTC."""
        return self.envelope.last_time

    @property
    def text(self) -> pa.RecordBatch:
        """The rows with addresses as text and the columns ``node``, ``interface``, ``observation_point``."""
        from streamgauge.text import readable

        return readable(self.arrow, time_as_integer=False)

    def to_pylist(self) -> list[dict[str, Any]]:
        """Return one dictionary a row: addresses as text, ``time`` as ns since 1970, None where there is no value."""
        from streamgauge.text import readable

        return readable(self.arrow).to_pylist()  # type: ignore[no-any-return]

    def to_pandas(self) -> pd.DataFrame:
        """Return a DataFrame: addresses as categories; columns with nulls become floats, as pandas has it.

        Raises:
            ModuleNotFoundError: pandas is not installed.

        """
        return self.text.to_pandas()

    def to_polars(self) -> pl.DataFrame:
        """Return a DataFrame; numbers and times are not copied.

        Raises:
            ModuleNotFoundError: polars is not installed.

        """
        import polars as pl

        frame: pl.DataFrame = pl.from_arrow(self.text)  # type: ignore[assignment]
        return frame
