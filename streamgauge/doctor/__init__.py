"""Walks the way of a packet and says, hop by hop, what is in order, what is broken, and what mends it.

Nothing is written or changed anywhere: the doctor reads with the operator's user, and of what it may not see it says
that it was not checked.
"""

from streamgauge.doctor.run import HOPS, Walk, walk
from streamgauge.doctor.words import Finding, State

__all__ = ["HOPS", "Finding", "State", "Walk", "walk"]
