"""TLS handshakes, second pass: the columns of a ClientHello or ServerHello (RFC 8446, 4.1; RFC 5246, 7.4.1)."""

from __future__ import annotations

# mypy: ignore-errors
# (Numba types kernels when it compiles them.)
from streamgauge.decode.accelerate import entry, inner
from streamgauge.decode.fingerprints import HEAD, MAX_LIST
from streamgauge.decode.ja4_kernels import (
    ALGORITHMS,
    ALPN_FIRST,
    ALPN_LAST,
    CIPHER_COUNT,
    CIPHERS,
    EXTENSION_COUNT,
    EXTENSIONS,
    SERVER_NAME,
    TRANSPORT,
    VERSION,
    ZERO,
    digit,
    is_alphanumeric,
    is_grease,
    keep_fingerprint,
    sort,
)
from streamgauge.decode.load_kernels import load8, load16
from streamgauge.decode.output import AT, COUNT, END, HELLO, JOINED, JOINED_QUIC, KIND, PARTIAL, ROW, SLOW
from streamgauge.decode.text_kernels import MAX_TEXT, keep_text
from streamgauge.schema import SLOTS, Present

CLIENT_HELLO, SERVER_HELLO = 1, 2
RECORD_HEADER, HANDSHAKE_HEADER = 5, 4
#: Handshake header, version and random come before the session identifier.
SESSION_ID = HANDSHAKE_HEADER + 2 + 32
# Extensions
NAME, SIGNATURES, ALPN, VERSIONS = 0, 13, 16, 43
HOST_NAME = 0

COMMA = 0x2C
LETTER_T, LETTER_Q = 0x74, 0x71

HAS_VERSION, HAS_CIPHER, HAS_SNI = int(Present.TLS_VERSION), int(Present.TLS_CIPHER), int(Present.TLS_SNI)
HAS_ALPN, HAS_JA4 = int(Present.TLS_ALPN), int(Present.JA4)

PRESENT, TLS_VERSION, TLS_CIPHER = SLOTS["present"], SLOTS["tls_version"], SLOTS["tls_cipher"]
TLS_SNI, TLS_ALPN = SLOTS["tls_sni"], SLOTS["tls_alpn"]


@inner
def read_server_name(data, at, end, rows, row):
    """Read the first host name of a server_name extension (RFC 6066)."""
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
def read_protocols(data, at, end, rows, row, words):
    """Read the protocol names of an ALPN extension (RFC 7301); note the ends of the first for the fingerprint."""
    start = rows.state[1]
    used = start
    room = min(rows.pool.size, start + MAX_TEXT)
    at += 2
    first = at
    while at + 1 <= end:
        length = load8(data, at)
        if at + 1 + length > end:
            break
        if at == first and length:
            head, tail = load8(data, at + 1), load8(data, at + length)
            plain = is_alphanumeric(head) and is_alphanumeric(tail)
            words[ALPN_FIRST] = head if plain else digit(head >> 4)
            words[ALPN_LAST] = tail if plain else digit(tail & 0xF)
        if at > first and used < room:
            rows.pool[used] = COMMA
            used += 1
        for position in range(at + 1, at + 1 + min(length, room - used)):
            rows.pool[used] = data[position]
            used += 1
        at += 1 + length
    if at == first:
        return 0
    rows.u4[TLS_ALPN, row] = start
    rows.u4[TLS_ALPN + 1, row] = used - start
    rows.state[1] = used
    return HAS_ALPN


@inner
def highest_version(data, at, end):
    """Return the highest version that supported_versions (RFC 8446, 4.2.1) of a ClientHello lists, 0 if none."""
    highest = 0
    stop = min(end, at + 1 + load8(data, at)) if at < end else end
    at += 1
    while at + 2 <= stop:
        version = load16(data, at)
        if not is_grease(version):
            highest = max(highest, version)
        at += 2
    return highest


@inner
def read_list(data, at, end, words, place):
    """Append values that are not GREASE to ``words``; return the place behind them, -1 if they are too many."""
    if (end - at) // 2 > MAX_LIST:
        return -1
    while at + 2 <= end:
        value = load16(data, at)
        if not is_grease(value):
            words[place] = value
            place += 1
        at += 2
    return place


@inner
def read_client_extensions(data, at, end, rows, row, words, place):
    """Walk the extensions; return ``(presence bits, place behind them or -1, version, offset of the signatures)``.

    The extensions that a fingerprint hashes are appended to ``words``.
    """
    present = 0
    version = 0
    signatures = -1
    limit = place + MAX_LIST
    words[SERVER_NAME], words[EXTENSION_COUNT] = 0, 0
    words[ALPN_FIRST], words[ALPN_LAST] = ZERO, ZERO
    while at + 4 <= end:
        kind, body = load16(data, at), at + 4
        at = body + load16(data, at + 2)
        stop = min(end, at)
        if is_grease(kind):
            continue
        words[EXTENSION_COUNT] += 1
        if kind == NAME:
            if words[SERVER_NAME] == 0:
                present |= read_server_name(data, body, stop, rows, row)
            words[SERVER_NAME] = 1
            continue
        if kind == ALPN:
            if present & HAS_ALPN == 0:
                present |= read_protocols(data, body, stop, rows, row, words)
            continue
        if kind == VERSIONS:
            version = highest_version(data, body, stop)
        elif kind == SIGNATURES:
            signatures = body
        if 0 <= place < limit:
            words[place] = kind
            place += 1
        else:
            place = -1
    return present, (place if at == end else -1), version, signatures


@inner
def read_client_hello(data, at, end, whole, rows, row, prints, letter):
    """Read a ClientHello, or as much as there is of it; return presence bits."""
    if at + SESSION_ID >= end:
        return 0
    words = prints.words
    legacy = load16(data, at + HANDSHAKE_HEADER)
    at += SESSION_ID
    at += 1 + load8(data, at)
    if at + 2 > end:
        return 0
    behind = at + 2 + load16(data, at)
    place = read_list(data, at + 2, min(behind, end), words, HEAD)
    ciphers = place - HEAD
    if behind + 1 > end:
        return 0
    at = behind + 1 + load8(data, behind)  # compression methods
    stop = min(end, at + 2 + load16(data, at)) if at + 2 <= end else end
    extensions = place if place >= 0 else HEAD
    present, place_behind, version, signatures = read_client_extensions(
        data, at + 2, stop, rows, row, words, extensions
    )
    if not whole:
        return present
    if version == 0:
        version = legacy
    rows.u2[TLS_VERSION, row] = version
    present |= HAS_VERSION
    if at == end:  # no extensions at all (SSL 3.0, early TLS 1.0)
        place_behind = extensions
    if place < 0 or place_behind < 0:
        return present
    algorithms = place_behind
    if signatures >= 0 and signatures + 2 <= end:
        algorithms = read_list(
            data, signatures + 2, min(end, signatures + 2 + load16(data, signatures)), words, place_behind
        )
        if algorithms < 0:
            return present
    sort(words, HEAD, HEAD + ciphers)
    sort(words, extensions, place_behind)
    words[TRANSPORT], words[VERSION], words[CIPHER_COUNT] = letter, version, ciphers
    words[CIPHERS], words[EXTENSIONS] = ciphers, place_behind - extensions
    words[ALGORITHMS] = algorithms - place_behind
    keep_fingerprint(prints, rows, row)
    return present | HAS_JA4


@inner
def read_server_hello(data, at, end, rows, row, words):
    """Read a ServerHello, or as much as there is of it; return presence bits."""
    if at + SESSION_ID >= end:
        return 0
    version = load16(data, at + HANDSHAKE_HEADER)
    at += SESSION_ID
    at += 1 + load8(data, at)
    if at + 3 > end:
        return 0
    rows.u2[TLS_CIPHER, row] = load16(data, at)
    present = HAS_CIPHER | HAS_VERSION
    stop = min(end, at + 5 + load16(data, at + 3)) if at + 5 <= end else end
    at += 5
    while at + 4 <= stop:
        kind, body = load16(data, at), at + 4
        at = body + load16(data, at + 2)
        if kind == VERSIONS and body + 2 <= min(stop, at):
            version = load16(data, body)
        elif kind == ALPN and present & HAS_ALPN == 0:
            present |= read_protocols(data, body, min(stop, at), rows, row, words)
    rows.u2[TLS_VERSION, row] = version
    return present


@inner
def read_handshake(data, at, end, kind, rows, row, prints):
    """Read the message at ``at``; return ``(presence bits, whether more of it is to come)``."""
    length = HANDSHAKE_HEADER + (load8(data, at + 1) << 16 | load16(data, at + 2))
    message_end = min(end, at + length)
    whole = at + length <= end
    if load8(data, at) == CLIENT_HELLO:
        letter = LETTER_Q if kind == JOINED_QUIC else LETTER_T
        return read_client_hello(data, at, message_end, whole, rows, row, prints, letter), not whole
    if load8(data, at) == SERVER_HELLO:
        return read_server_hello(data, at, message_end, rows, row, prints.words), False
    return 0, False


@entry
def read_handshakes(data, rows, prints):
    """Fill the columns of the rows marked ``HELLO``, or joined; what is not whole becomes ``PARTIAL``."""
    for mark in range(rows.mark_state[COUNT]):
        row, at, end, kind = rows.marks[mark, ROW], rows.marks[mark, AT], rows.marks[mark, END], rows.marks[mark, KIND]
        if kind != HELLO and kind != JOINED and kind != JOINED_QUIC:
            continue
        if kind == HELLO:
            end = min(end, at + RECORD_HEADER + load16(data, at + 3))
            at += RECORD_HEADER
        if at + HANDSHAKE_HEADER > end:
            continue
        present, more = read_handshake(data, at, end, kind, rows, row, prints)
        rows.u8[PRESENT, row] |= present
        if more and kind == HELLO:
            rows.marks[mark, KIND] = PARTIAL
            rows.mark_state[SLOW] += 1
