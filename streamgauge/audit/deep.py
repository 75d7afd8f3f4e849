"""Reads objects whole: content against checksums, rows against what the footer says of each node."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq

from streamgauge.audit.model import Evidence, Examined, Finding
from streamgauge.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from streamgauge.store import Store

#: Objects in memory at the same time.
_CONCURRENCY: Final = 4
_COLUMNS: Final = ["node", "packets", "bytes"]


async def judge(store: Store, evidence: Evidence, progress: Callable[[int], None]) -> list[Finding]:
    """Return what is wrong with the contents.

    Raises:
        StoreError: an object cannot be read.

    """
    recorded = {
        one.footer.manifest.previous.key: one.footer.manifest.previous.md5
        for one in evidence.objects
        if one.footer is not None and one.footer.manifest.previous is not None
    }
    gate = asyncio.Semaphore(_CONCURRENCY)

    async def read(one: Examined) -> list[Finding]:
        async with gate:
            data = await store.get(one.stored.key)
            findings = await asyncio.to_thread(lambda: list(_check(one, data, recorded.get(one.stored.key))))
            progress(1)
            return findings

    found = await asyncio.gather(*(read(one) for one in evidence.objects))
    return [finding for findings in found for finding in findings]


def _check(one: Examined, data: bytes, recorded: str | None) -> Iterator[Finding]:
    key = one.stored.key
    digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
    wanted = one.stored.md5 or (recorded if not one.stored.encrypted else None) or one.stored.etag
    if digest != wanted and not one.stored.encrypted:
        yield Finding("bucket", f"{key}: its content has MD5 {digest} instead of {wanted}", key=key)
    if one.footer is None:
        return
    try:
        table = pq.read_table(pa.BufferReader(data), columns=_COLUMNS)
    except (pa.ArrowException, OSError) as error:
        yield Finding("bucket", f"{key}: its content cannot be read: {one_line(error)}", key=key)
        return
    yield from _compare(one, table)


def _compare(one: Examined, table: pa.Table) -> Iterator[Finding]:
    """Compare rows, packets and bytes of each node with the shares; a node's boots are not told apart in the rows."""
    assert one.footer is not None
    summed = table.group_by("node").aggregate([("packets", "count"), ("packets", "sum"), ("bytes", "sum")]).to_pylist()
    found = {row["node"]: (row["packets_count"], row["packets_sum"], row["bytes_sum"]) for row in summed}
    said: dict[str, tuple[int, int, int]] = {}
    for share in one.footer.manifest.shares:
        rows, packets, size = said.get(share.node, (0, 0, 0))
        said[share.node] = (rows + share.rows, packets + share.packets, size + share.bytes)
    for node in sorted(set(found) | set(said)):
        have, should = found.get(node, (0, 0, 0)), said.get(node, (0, 0, 0))
        if have != should:
            boots = [share for share in one.footer.manifest.shares if share.node == node]
            yield Finding(
                "bucket",
                f"{one.stored.key}: of node {node} it holds {have[0]} rows, {have[1]} packets, {have[2]} bytes instead "
                f"of {should[0]}, {should[1]}, {should[2]}",
                node,
                boots[0].boot if len(boots) == 1 else None,
                tuple(boots[0].sequences) if len(boots) == 1 else (),
                one.stored.key,
                should[1] - have[1],
            )
