"""Whether the names of addresses are known and young."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.exporter.identity import Identity
    from streamgauge.metrics import Metrics


class IdentityMetrics:
    """Copied at each scrape."""

    def __init__(self, metrics: Metrics, identity: Identity) -> None:
        self._identity = identity
        self._bindings = metrics.levels(
            "identity_bindings", "Addresses that are known now, by what has them.", "resource"
        )
        self._connected = metrics.levels(
            "identity_watch_connected",
            "1 while a resource of the Kubernetes API is watched, 0 while it is not.",
            "resource",
        )
        self._lists = metrics.totals(
            "identity_lists_total", "Lists of a resource read: the first, and after the watch was too old.", "resource"
        )
        self._events = metrics.totals("identity_watch_events_total", "Events of a resource taken.", "resource")
        self._refused = metrics.totals(
            "identity_refused_objects_total",
            "Objects of a resource that are not as the API describes them.",
            "resource",
        )
        self._published = metrics.counter(
            "identity_published_total", "Messages with identity events that JetStream took."
        )
        self._waiting = metrics.gauge("identity_waiting_bindings", "Changed bindings that wait to be published.")
        self._given_up = metrics.counter(
            "identity_given_up_bindings_total",
            "Changed bindings given up because too many waited; a snapshot told what held.",
        )
        self._labels = metrics.gauge(
            "identity_labels_good", "1 if the labels file as it is now was read, or there is none; else 0."
        )
        metrics.before_scrape(self.publish)

    def publish(self) -> None:
        """Copy what is known now."""
        identity = self._identity
        watches = identity.watches
        keys = [(watch.resource,) for watch in watches]
        counts = identity.book.counts()
        self._bindings.publish(keys, [counts.get(watch.resource, 0) for watch in watches])
        self._connected.publish(keys, [int(watch.connected) for watch in watches])
        self._lists.publish(keys, [watch.lists for watch in watches])
        self._events.publish(keys, [watch.events for watch in watches])
        self._refused.publish(keys, [watch.refused for watch in watches])
        self._published.set(identity.publisher.published)
        self._waiting.set(identity.publisher.waiting)
        self._given_up.set(identity.publisher.given_up)
        self._labels.set(int(identity.labels_good))
