"""streamgauge: network-traffic monitoring for Kubernetes that accounts for every packet.

A program of one's own reads what is published:

    import streamgauge

    async for batch in streamgauge.subscribe("nats://127.0.0.1:4222", "traffic.v1.*.dns"):
        print(batch.node, batch.to_pylist())

Public, and kept by semantic versioning, are the names in ``__all__`` and the module ``streamgauge.testing``; everything
else may change with any version. Importing this costs nothing: what a name needs is imported when it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamgauge.consumer import Batch, Gap, Reason, Subscription, subscribe
    from streamgauge.errors import BusError, ConfigurationError, StreamgaugeError

__version__ = "0.1.0"

__all__ = [
    "Batch",
    "BusError",
    "ConfigurationError",
    "Gap",
    "Reason",
    "StreamgaugeError",
    "Subscription",
    "__version__",
    "subscribe",
]

_ERRORS = ("BusError", "ConfigurationError", "StreamgaugeError")


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    module = importlib.import_module("streamgauge.errors" if name in _ERRORS else "streamgauge.consumer")
    value = globals()[name] = getattr(module, name)
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
