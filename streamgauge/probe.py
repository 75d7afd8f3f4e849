"""Health check of a service in a container that has no shell and no curl: asks its own /readyz.

    python -m streamgauge.probe backup

Exits 0 when the service is ready, 1 when it is not, and says why. Starts with the standard library alone.
"""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request
from typing import Final

_PORTS: Final = {"collector": 9101, "backup": 9102, "exporter": 9103}
_TIMEOUT: Final = 3.0  # seconds


def address(service: str) -> str:
    """Return where a service answers, by the same settings it was started with."""
    prefix = f"STREAMGAUGE_{service.upper()}"
    host = os.environ.get(f"{prefix}_HOST", "127.0.0.1")
    if host in ("0.0.0.0", "::"):  # noqa: S104 it is compared, not listened on
        host = "127.0.0.1"
    port = os.environ.get(f"{prefix}_PORT", str(_PORTS[service]))
    return f"http://[{host}]:{port}/readyz" if ":" in host else f"http://{host}:{port}/readyz"


def main(arguments: list[str]) -> int:
    """Ask; return the exit status."""
    if len(arguments) != 1 or arguments[0] not in _PORTS:
        sys.stderr.write(f"usage: python -m streamgauge.probe {'|'.join(_PORTS)}\n")
        return 2
    try:
        with urllib.request.urlopen(address(arguments[0]), timeout=_TIMEOUT) as answer:  # noqa: S310 always http
            return 0 if answer.status == 200 else 1
    except urllib.error.HTTPError as error:
        sys.stdout.write(error.read().decode(errors="replace"))
    except OSError as error:
        sys.stdout.write(f"no answer: {error}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
