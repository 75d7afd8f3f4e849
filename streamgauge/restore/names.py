"""Adds to restored rows who had their addresses when the packets were seen.

names = await load(store, selection)
rows = names.add(rows)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from streamgauge import text
from streamgauge.errors import StoreError
from streamgauge.identity import load as identities
from streamgauge.identity.bindings import to_list
from streamgauge.identity.table import IdentityTable

if TYPE_CHECKING:
    from streamgauge.restore.plan import Plan
    from streamgauge.store import Store

_SIDES: Final = (("source", "src_ip"), ("destination", "dst_ip"))
#: Fields of an owner that become columns, behind the side's name.
_FIELDS: Final = ("namespace", "workload", "workload_kind")


class Names:
    """Knows who had which address in the window of a plan."""

    def __init__(self, table: IdentityTable) -> None:
        self._table = table
        #: Per field the owners' values, and one more for nobody.
        self._values = {
            field: pa.array([*(getattr(owner, field) for owner in table.owners), None], pa.string())
            for field in _FIELDS
        }

    def add(self, rows: pa.Table) -> pa.Table:
        """Return rows at rest with six more columns of text; null where nobody is known to have had the address."""
        times = rows["time"].cast(pa.int64()).to_numpy()
        for side, column in _SIDES:
            owners = self._owners(rows[column], times)
            for field in _FIELDS:
                rows = rows.append_column(f"{side}_{field}", self._values[field].take(owners))
        return rows

    def _owners(self, addresses: pa.ChunkedArray, times: npt.NDArray[np.int64]) -> pa.Array:
        """Return positions of ``_values``; the last one is nobody's."""
        nobody = len(self._table.owners)
        encoded = addresses.combine_chunks()
        words = encoded.dictionary.to_pylist()
        if not words:
            return pa.array(np.full(len(times), nobody))
        packed = np.frombuffer(b"".join(map(text.address_bytes, words)), np.uint64).reshape(-1, 2)
        positions = encoded.indices.fill_null(0).to_numpy()
        found = self._table.resolve(packed[positions], times)
        unknown = (found < 0) | encoded.is_null().to_numpy(zero_copy_only=False)
        return pa.array(np.where(unknown, nobody, found))


async def load(store: Store, plan: Plan) -> Names:
    """Read from the bucket who had which address while the packets of a plan were seen.

    Raises:
        StoreError: the bucket cannot be read, or holds no identities.
        PayloadError: an object of identities is damaged.

    """
    if not plan.parts:
        return Names(IdentityTable())
    since = max(plan.selection.since, min(part.first for part in plan.parts))
    until = min(plan.selection.until, max(part.last for part in plan.parts))
    bindings = await identities.load(store, since, until)
    if not len(bindings):
        raise StoreError(
            "the bucket tells of nobody who had an address in that window; names are stored while the exporter "
            "watches a cluster (STREAMGAUGE_EXPORTER_IDENTITY); restore without --names"
        )
    return Names(IdentityTable(to_list(bindings)))
