"""Brings a window of what was stored back out: as rows in time order, as files, or replayed into NATS.

plan = await make_plan(store, window)
async for rows in read(store, plan):
    writer.write(rows)
"""

from streamgauge.restore.plan import Plan, make_plan
from streamgauge.restore.read import read

__all__ = ["Plan", "make_plan", "read"]
