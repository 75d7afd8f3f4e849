"""Which addresses count as inside, and so what a packet's direction is.

The rule needs no Kubernetes and no knowledge of interfaces, and gives the same answer wherever a packet is captured:
both ends inside is ``internal``; from inside to outside ``egress``; from outside to inside ``ingress``; neither end
inside ``transit``; no IP address ``__unknown__``. Inside are the networks of ``STREAMGAUGE_EXPORTER_INSIDE``.
Addresses that never leave a network (multicast, broadcast, link-local, loopback, unspecified) are always inside.
"""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from streamgauge import text
from streamgauge.errors import ConfigurationError
from streamgauge.inside import ALWAYS


class Networks(NamedTuple):
    """Networks as the kernel compares them: the halves of an address as they lie in memory, big-endian."""

    masks: npt.NDArray[np.uint64]
    values: npt.NDArray[np.uint64]


def parse(networks: str) -> Networks:
    """Read comma-separated networks such as ``10.0.0.0/8,fd00::/8``.

    Raises:
        ConfigurationError: one of them is no network.

    """
    masks, values = [], []
    for name in (*filter(None, map(str.strip, networks.split(","))), *ALWAYS):
        try:
            network = ipaddress.ip_network(name)
        except ValueError as error:
            raise ConfigurationError(f"STREAMGAUGE_EXPORTER_INSIDE={networks}: {error}") from error
        length = network.prefixlen + (96 if network.version == 4 else 0)
        masks.append(((1 << 128) - (1 << (128 - length))).to_bytes(16, "big"))
        values.append(text.address_bytes(str(network.network_address)))
    return Networks(_halves(masks), _halves(values))


def _halves(packed: list[bytes]) -> npt.NDArray[np.uint64]:
    return np.frombuffer(b"".join(packed), np.uint64).reshape(-1, 2)
