"""SSH (RFC 4253, 4.2): recognised on any TCP port by its identification string."""

from __future__ import annotations

# mypy: ignore-errors
# (Numba types kernels when it compiles them.)
from streamgauge.decode.accelerate import inner
from streamgauge.decode.load_kernels import load32
from streamgauge.decode.transport_kernels import TCP

TRANSPORT = TCP
#: What a segment starts with that may be SSH: S.
FIRST_BYTES = (0x53,)
IDENTIFICATION = 0x5353482D  # "SSH-"


@inner
def recognise(data, at, end, source_port, destination_port):
    """Tell whether a segment starts with an identification string."""
    return at + 4 <= end and load32(data, at) == IDENTIFICATION
