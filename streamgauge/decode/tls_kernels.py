"""TLS (RFC 8446, RFC 5246) on any TCP port, by content: records, and the server name (RFC 6066) of a ClientHello.

Records are not reassembled: a ClientHello that goes on in the next segment is read as far as it is here.
"""

from __future__ import annotations

# mypy: ignore-errors
# (Numba types kernels when it compiles them.)
from streamgauge.decode.accelerate import inner
from streamgauge.decode.load_kernels import load8, load16
from streamgauge.decode.text_kernels import keep_text
from streamgauge.schema import SLOTS, App, Present

CHANGE_CIPHER_SPEC, HANDSHAKE, HEARTBEAT = 20, 22, 24
CLIENT_HELLO = 1
SERVER_NAME = 0
HOST_NAME = 0

RECORD_HEADER, HANDSHAKE_HEADER, EXTENSION_HEADER = 5, 4, 4
#: Handshake header, version and random come before the session identifier.
SESSION_ID = HANDSHAKE_HEADER + 2 + 32
#: 2^14 plus the expansion that TLS 1.2 allows (RFC 5246, 6.2.3).
MAX_RECORD = 16384 + 2048
#: Records of one segment that are looked at in search of a ClientHello (after a HelloRetryRequest it is the second).
MAX_RECORDS = 8

APP_NONE, APP_TLS = int(App.UNKNOWN), int(App.TLS)
HAS_SNI = int(Present.TLS_SNI)

TLS_SNI = SLOTS["tls_sni"]


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
def read_server_name(data, at, end, rows, row):
    """Read the first host name of a server_name extension."""
    at += 2
    while at + 3 <= end:
        length = load16(data, at + 1)
        if load8(data, at) == HOST_NAME:
            if at + 3 + length > end:
                return 0
            keep_text(data, at + 3, length, rows, row, TLS_SNI)
            return HAS_SNI
        at += 3 + length
    return 0


@inner
def read_client_hello(data, at, end, rows, row):
    """Walk a ClientHello to its server name; return presence bits."""
    at += SESSION_ID
    if at + 1 > end:
        return 0
    at += 1 + load8(data, at)
    if at + 2 > end:
        return 0
    at += 2 + load16(data, at)  # cipher suites
    if at + 1 > end:
        return 0
    at += 1 + load8(data, at)  # compression methods
    at += 2  # length of all extensions
    while at + EXTENSION_HEADER <= end:
        length = load16(data, at + 2)
        if load16(data, at) == SERVER_NAME:
            return read_server_name(data, at + EXTENSION_HEADER, min(end, at + EXTENSION_HEADER + length), rows, row)
        at += EXTENSION_HEADER + length
    return 0


@inner
def read_tls(data, at, end, rows, row):
    """Read the TLS records a segment starts with; return ``(application, presence bits)``."""
    if not is_record(data, at, end):
        return APP_NONE, 0
    for _ in range(MAX_RECORDS):
        body = at + RECORD_HEADER
        following = body + load16(data, at + 3)
        if load8(data, at) == HANDSHAKE and body < end and load8(data, body) == CLIENT_HELLO:
            return APP_TLS, read_client_hello(data, body, min(end, following), rows, row)
        at = following
        if not is_record(data, at, end):
            break
    return APP_TLS, 0
