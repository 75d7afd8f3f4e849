"""Where on its way through a node a packet is seen: the words of the column ``observation_point``.

A capture of one interface sees a packet there, and says ``interface``. A capture of all interfaces (``any``) sees it
wherever it passes; each batch of one says at which kind of place, so that consumers can count a packet once:

- ``from-pod``: it comes in by the interface of a pod,
- ``from-outside``, ``to-outside``: it comes in, or goes out, by an interface to other machines,
- ``to-pod``: it goes out by the interface of a pod,
- ``inside``: it passes a bridge, a tunnel, loopback, or a part of an interface (of a bond, a VLAN of one).

Of a packet's places the one with the lowest ``rank`` counts. Each of them is passed once, but ``inside``.
"""

from __future__ import annotations

import fnmatch
from typing import Final

#: Of a capture of one interface.
INTERFACE: Final = "interface"
FROM_POD: Final = "from-pod"
FROM_OUTSIDE: Final = "from-outside"
TO_OUTSIDE: Final = "to-outside"
TO_POD: Final = "to-pod"
INSIDE: Final = "inside"

_RANKS: Final = {FROM_POD: 0, FROM_OUTSIDE: 1, TO_OUTSIDE: 1, TO_POD: 2, INSIDE: 3}

_PODS: Final = ("veth*", "cali*", "lxc*", "eni*", "azv*", "gke*", "tap*", "vnet*")
_INNER: Final = (
    *("cni*", "docker*", "br-*", "br[0-9]*", "virbr*", "kube-bridge", "flannel*", "vxlan*", "geneve*", "genev_*"),
    *("cilium_*", "tunl*", "ip6tnl*", "sit*", "gre*", "wg*", "kube-ipvs*", "dummy*", "nodelocaldns", "ovs*"),
    *("ovn*", "antrea*", "weave", "any"),
)


def is_of_pod(interface: str) -> bool:
    """Tell whether an interface is a pod's, by the names that network plugins give."""
    return any(fnmatch.fnmatchcase(interface, pattern) for pattern in _PODS)


def is_inner(interface: str) -> bool:
    """Tell whether an interface is a bridge or a tunnel, by its name."""
    return any(fnmatch.fnmatchcase(interface, pattern) for pattern in _INNER)


def rank(interface: str, point: str) -> int:
    """Return 0 for where a pod sends, and more the less a packet is to be counted there.

    Of a named interface: 0 for a pod's, 1 to the outside, 2 for bridges and tunnels.
    """
    if point in _RANKS:
        return _RANKS[point]
    return 0 if is_of_pod(interface) else 2 if is_inner(interface) else 1
