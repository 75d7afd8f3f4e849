"""Who has which address now, and had it lately: lists and watches become bindings that begin, change and end."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.exporter.workloads import Workload
    from streamgauge.identity.events import Binding

#: ns for which ended bindings are kept, and how many at the most: batches may be late, and a replay later.
KEPT: Final = 3600 * 10**9
MOST_ENDED: Final = 100_000
#: ns for which a workload counts as living after its last binding ended.
LINGER: Final = 60 * 10**9


class Book:
    """Fed by the watches, in the event loop's thread."""

    def __init__(self) -> None:
        #: By resource and the object's uid, its bindings by address.
        self._objects: dict[str, dict[str, dict[str, Binding]]] = {}
        self._ended: OrderedDict[tuple[str, str], Binding] = OrderedDict()
        #: Changes whenever a binding does.
        self.generation = 0

    def put(self, resource: str, uid: str, bindings: list[Binding], now: int) -> list[Binding]:
        """Note an object as it is now (ns UTC); return the bindings that began, changed or ended."""
        objects = self._objects.setdefault(resource, {})
        before = objects.get(uid, {})
        after: dict[str, Binding] = {}
        changed: list[Binding] = []
        for each in bindings:
            told = before.get(each.ip) or self._ended.get(each.key)
            if each.valid_to is None:
                after[each.ip] = each
                self._ended.pop(each.key, None)
                if told != each:
                    changed.append(each)
            elif told != each:
                changed.append(self._end(each, each.valid_to))
        ended = {each.ip for each in bindings if each.valid_to is not None}
        changed += [self._end(each, now) for ip, each in before.items() if ip not in after and ip not in ended]
        if after:
            objects[uid] = after
        else:
            objects.pop(uid, None)
        self.generation += bool(changed)
        return changed

    def remove(self, resource: str, uid: str, now: int) -> list[Binding]:
        """Note that an object is gone; return the bindings that ended."""
        gone = self._objects.get(resource, {}).pop(uid, {})
        self.generation += bool(gone)
        return [self._end(each, now) for each in gone.values()]

    def replace(self, resource: str, objects: Mapping[str, list[Binding]], now: int) -> list[Binding]:
        """Note all objects of a resource, by uid; return the bindings that began, changed or ended."""
        changed: list[Binding] = []
        for uid in [uid for uid in self._objects.get(resource, {}) if uid not in objects]:
            changed += self.remove(resource, uid, now)
        for uid, bindings in objects.items():
            changed += self.put(resource, uid, bindings, now)
        return changed

    def _end(self, binding: Binding, when: int) -> Binding:
        ended = replace(binding, valid_to=max(when, binding.valid_from))
        self._ended[ended.key] = ended
        self._ended.move_to_end(ended.key)
        if len(self._ended) > MOST_ENDED:
            self._ended.popitem(last=False)
        return ended

    def living(self) -> list[Binding]:
        """Return the bindings that hold."""
        return [each for objects in self._objects.values() for found in objects.values() for each in found.values()]

    def counts(self) -> dict[str, int]:
        """Return how many bindings hold, by resource."""
        return {resource: sum(map(len, objects.values())) for resource, objects in self._objects.items()}

    def known(self, now: int) -> list[Binding]:
        """Return the bindings that hold or ended lately; older ones are forgotten."""
        for key in [key for key, each in self._ended.items() if (each.valid_to or 0) < now - KEPT]:
            self._ended.pop(key, None)
        return [*self.living(), *self._ended.values()]

    def workloads(self, now: int) -> frozenset[Workload]:
        """Return the workloads that live, or lived within the last minute."""
        lately = [each for each in self._ended.values() if (each.valid_to or 0) > now - LINGER]
        return frozenset((each.namespace, each.workload, each.workload_kind) for each in (*self.living(), *lately))

    def next_death(self, now: int) -> int | None:
        """Return when the next workload that ended stops counting as living, ns UTC; None: nothing ended lately."""
        ends = [(each.valid_to or 0) + LINGER for each in self._ended.values() if (each.valid_to or 0) > now - LINGER]
        return min(ends, default=None)
