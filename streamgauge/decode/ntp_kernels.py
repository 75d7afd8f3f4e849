"""NTP (RFC 5905): recognised by port, version and mode."""

from __future__ import annotations

# mypy: ignore-errors
# (Numba types kernels when it compiles them.)
from streamgauge.decode.accelerate import inner
from streamgauge.decode.load_kernels import load8
from streamgauge.decode.transport_kernels import UDP

TRANSPORT = UDP
NTP_PORT = 123
SHORTEST = 12  # a control message (RFC 9327)


@inner
def recognise(data, at, end, source_port, destination_port):
    """Tell whether a datagram is NTP of version 1 to 4."""
    if source_port != NTP_PORT and destination_port != NTP_PORT:
        return False
    if at + SHORTEST > end:
        return False
    first = load8(data, at)
    return 1 <= (first >> 3) & 7 <= 4 and first & 7 != 0
