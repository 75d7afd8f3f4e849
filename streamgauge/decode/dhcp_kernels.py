"""DHCP (RFC 2131, RFC 8415): recognised by port and magic cookie, or by port and message type."""

from __future__ import annotations

# mypy: ignore-errors
# (Numba types kernels when it compiles them.)
from streamgauge.decode.accelerate import inner
from streamgauge.decode.load_kernels import load8, load32
from streamgauge.decode.transport_kernels import UDP

TRANSPORT = UDP
SERVER_PORT, CLIENT_PORT, V6_CLIENT_PORT, V6_SERVER_PORT = 67, 68, 546, 547
COOKIE_AT, COOKIE = 236, 0x63825363
V6_HEADER, V6_LAST_MESSAGE = 4, 13


@inner
def recognise(data, at, end, source_port, destination_port):
    """Tell whether a datagram is DHCP."""
    if destination_port == SERVER_PORT or destination_port == CLIENT_PORT:
        return at + COOKIE_AT + 4 <= end and load8(data, at) <= 2 and load32(data, at + COOKIE_AT) == COOKIE
    if destination_port == V6_SERVER_PORT or destination_port == V6_CLIENT_PORT:
        return at + V6_HEADER <= end and 1 <= load8(data, at) <= V6_LAST_MESSAGE
    return False
