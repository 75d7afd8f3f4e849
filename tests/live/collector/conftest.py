"""A wire of our own: a veth pair, one end here, the other in a network namespace."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from services.collector.sources.ring_kernels import warm_up as ring_warm_up
from streamgauge.decode import warm_up
from tests.support import require

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Wire:
    """Two interfaces joined: ``here`` in this namespace, ``there`` in the other; the kernel itself sends nothing."""

    here: str
    there: str
    namespace: str


@pytest.fixture(name="_kernels_are_compiled", scope="session", autouse=True)
def _compile_kernels() -> None:
    """Fill the cache of compiled kernels once, so that no collector spends a test's time on it."""
    warm_up()
    ring_warm_up()


@pytest.fixture(name="wire")
def _wire() -> Iterator[Wire]:
    require.root()
    require.program("ip")
    tag = f"sg{os.getpid() % 10_000_000}"
    wire = Wire(f"{tag}a", f"{tag}b", f"{tag}n")

    def ip(*arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True, capture_output=True)

    ip("netns", "add", wire.namespace)
    try:
        ip("link", "add", wire.here, "type", "veth", "peer", "name", wire.there, "netns", wire.namespace)
        for where, name in (((), wire.here), (("-n", wire.namespace), wire.there)):
            # No link-local address: else the kernel announces itself.
            ip(*where, "link", "set", name, "addrgenmode", "none")
            ip(*where, "link", "set", name, "up")
        yield wire
    finally:
        # With the namespace the pair would go some time later, and the next test wants the name.
        subprocess.run(["ip", "link", "del", wire.here], check=False, capture_output=True)
        ip("netns", "del", wire.namespace)
