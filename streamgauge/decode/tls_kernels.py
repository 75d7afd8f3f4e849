"""TLS (RFC 8446, RFC 5246) on any TCP port, by content: records, and in them where a handshake begins.

The second pass (``hello_kernels``) reads the ClientHello or ServerHello that is marked here.
"""

from __future__ import annotations

# mypy: ignore-errors
# (Numba types kernels when it compiles them.)
from streamgauge.decode.accelerate import inner
from streamgauge.decode.load_kernels import load8, load16
from streamgauge.decode.mark_kernels import CLIENT_HELLO, HANDSHAKE, JOINED_RESERVE, mark, mark_beginning, wait_for_more
from streamgauge.decode.output import HELLO
from streamgauge.decode.text_kernels import MAX_TEXT
from streamgauge.protocols import App

CHANGE_CIPHER_SPEC, HEARTBEAT = 20, 24
SERVER_HELLO = 2

RECORD_HEADER, HANDSHAKE_HEADER = 5, 4
#: 2^14 plus the expansion that TLS 1.2 allows (RFC 5246, 6.2.3).
MAX_RECORD = 16384 + 2048
#: Records of one segment that are looked at in search of a hello (after a HelloRetryRequest it is the second).
MAX_RECORDS = 8
#: Pool bytes that one takes beside its own bytes: the fingerprint.
HELLO_RESERVE = 64

APP_NONE, APP_TLS = int(App.UNKNOWN), int(App.TLS)


@inner
def is_record(data, at, end):
    """Tell whether a TLS record header is here: known type, version 3.0 to 3.4, a possible length."""
    if at + RECORD_HEADER > end:
        return False
    kind = load8(data, at)
    length = load16(data, at + 3)
    return (
        CHANGE_CIPHER_SPEC <= kind <= HEARTBEAT
        and load8(data, at + 1) == 3
        and load8(data, at + 2) <= 4
        and 0 < length <= MAX_RECORD
        and (kind != CHANGE_CIPHER_SPEC or length == 1)
    )


@inner
def mark_hello(data, at, end, rows, row, payload):
    """Mark the hello whose record begins at ``at``, if its length is there; wait for the rest of a ClientHello."""
    body = at + RECORD_HEADER
    if body + HANDSHAKE_HEADER > end:
        return
    record = load16(data, at + 3)
    is_client = load8(data, body) == CLIENT_HELLO
    if is_client and record < HANDSHAKE_HEADER:  # the length goes on in the next record
        mark_beginning(data, at, end, rows, row)
        return
    reserve = min(end - at, 2 * MAX_TEXT) + HELLO_RESERVE
    length = HANDSHAKE_HEADER + (load8(data, body + 1) << 16 | load16(data, body + 2))
    if is_client and length > min(end - body, record):
        reserve += JOINED_RESERVE  # the next records of this segment may have the rest
        wait_for_more(data, at, rows, row, payload)
    mark(rows, row, HELLO, at, end, reserve)


@inner
def read_tls(data, at, end, rows, row):
    """Recognise the TLS records a segment starts with; return the application."""
    if not is_record(data, at, end):
        return APP_NONE
    payload = at
    for _ in range(MAX_RECORDS):
        body = at + RECORD_HEADER
        if load8(data, at) == HANDSHAKE and body < end:
            kind = load8(data, body)
            if kind == CLIENT_HELLO or kind == SERVER_HELLO:
                mark_hello(data, at, end, rows, row, payload)
                break
        at = body + load16(data, at + 3)
        if not is_record(data, at, end):
            break
    return APP_TLS
