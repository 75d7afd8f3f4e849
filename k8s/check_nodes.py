"""Say whether a manifest's policies let every node's collector in: check_nodes.py MANIFESTS ADDRESS ADDRESS.

Only the standard library, so that it runs where kubectl does. The policy is found by its name, `collectors`; its blocks
are lines of the form kustomize writes.
"""

from __future__ import annotations

import re
import sys
from ipaddress import ip_address, ip_network
from pathlib import Path


def left_out(manifests: str, addresses: list[str]) -> tuple[list[str], list[str]]:
    """Return the networks that the policy names, and the addresses that are in none of them."""
    policies = [text for text in manifests.split("\n---\n") if "\nkind: NetworkPolicy" in f"\n{text}"]
    own = [text for text in policies if re.search(r"^  name: collectors$", text, re.MULTILINE)]
    networks = [ip_network(block) for text in own for block in re.findall(r"cidr: \"?([0-9a-fA-F.:/]+)", text)]
    outside = [text for text in addresses if not any(ip_address(text) in network for network in networks)]
    return [str(network) for network in networks], outside


def main() -> int:
    """Print what is left out; 1 if anything is."""
    networks, outside = left_out(Path(sys.argv[1]).read_text(encoding="utf-8"), sys.argv[2:])
    if outside:
        sys.stderr.write(
            f"nodes {', '.join(outside)} are in none of the networks {', '.join(networks)} that may reach NATS\n"
        )
    return int(bool(outside))


if __name__ == "__main__":
    sys.exit(main())
