"""Which addresses are inside: one rule for directions on /metrics, for names of workloads, and for SQL."""

from __future__ import annotations

from typing import Final

#: Networks that are inside unless a setting says otherwise: the private ranges.
INSIDE: Final = "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,fc00::/7"
#: Networks that are always inside: their addresses never leave a network.
ALWAYS: Final = (
    *("127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32", "0.0.0.0/32"),
    *("fe80::/10", "ff00::/8", "::1/128", "::/128"),
)
