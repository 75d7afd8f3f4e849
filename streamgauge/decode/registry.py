"""The modules that ``streamgauge.protocols`` registers, and what several of them say together."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

    from streamgauge.protocols import App, Tunnel


def registered(protocols: type[App | Tunnel]) -> list[tuple[int, ModuleType]]:
    """Import the modules of protocols; return each protocol's number with its module."""
    return [(int(protocol), import_module(f"streamgauge.decode.{name}")) for protocol, name in protocols.modules()]


def together(modules: Iterable[ModuleType], name: str) -> tuple[int, ...]:
    """Return the numbers that the modules list under ``name``, in their order."""
    return tuple(sorted({number for module in modules for number in getattr(module, name, ())}))
