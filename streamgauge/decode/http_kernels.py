"""HTTP/1 (RFC 9112) on any TCP port, by content: request line, Host, status line. Nothing is reassembled."""

from __future__ import annotations

# mypy: ignore-errors
# (Numba types kernels when it compiles them.)
import numpy as np

from streamgauge.decode.accelerate import inner
from streamgauge.decode.load_kernels import load8, load32
from streamgauge.decode.text_kernels import find, keep_text
from streamgauge.protocols import App
from streamgauge.schema import SLOTS, Present

#: Methods of RFC 9110, WebDAV and its versioning (RFC 4918, 3253, 5323), Exchange, Background Intelligent Transfer,
#: RPC over HTTP, General Event Notification and UPnP.
METHODS = (
    "GET PUT COPY HEAD LOCK MOVE POLL POST BCOPY BMOVE MKCOL TRACE PATCH LABEL MERGE DELETE SEARCH UNLOCK "
    "REPORT UPDATE NOTIFY BDELETE CONNECT OPTIONS CHECKIN PROPFIND CHECKOUT CCM_POST SUBSCRIBE PROPPATCH "
    "BPROPFIND BITS_POST BPROPPATCH UNCHECKOUT MKACTIVITY RPC_CONNECT RPC_IN_DATA MKWORKSPACE UNSUBSCRIBE "
    "RPC_OUT_DATA VERSION-CONTROL BASELINE-CONTROL M-SEARCH ACL BIND REBIND UNBIND LINK UNLINK MKCALENDAR "
    "ORDERPATCH"
).split()
LONGEST_METHOD = 16


def _words(method):
    padded = method.encode().ljust(LONGEST_METHOD, b"\0")
    return [int.from_bytes(padded[:8], "big"), int.from_bytes(padded[8:], "big")]


#: One line a method: its first and its last eight bytes, as numbers.
METHOD_WORDS = np.array([_words(method) for method in METHODS], np.int64)

SPACE, CARRIAGE_RETURN, NEWLINE, COLON, TAB = 0x20, 0x0D, 0x0A, 0x3A, 0x09
SLASH, NUL = 0x2F, 0x00
HTTP = 0x48545450  # "HTTP"
HOST = 0x686F7374  # "host"

APP_NONE, APP_HTTP = int(App.UNKNOWN), int(App.HTTP)
HAS_REQUEST, HAS_HOST, HAS_STATUS = int(Present.HTTP_REQUEST), int(Present.HTTP_HOST), int(Present.HTTP_STATUS)

HTTP_METHOD, HTTP_PATH, HTTP_HOST = SLOTS["http_method"], SLOTS["http_path"], SLOTS["http_host"]
HTTP_STATUS = SLOTS["http_status"]


@inner
def method_length(data, at, end):
    """Return the length of the known method that ``data`` starts with, a space behind it, else 0."""
    length = 0
    first = 0
    last = 0
    while at + length < end and length <= LONGEST_METHOD:
        letter = load8(data, at + length)
        if letter == SPACE:
            break
        if not (65 <= letter <= 90 or letter == 0x5F or letter == 0x2D) or length == LONGEST_METHOD:
            return 0
        if length < 8:
            first |= letter << (8 * (7 - length))
        else:
            last |= letter << (8 * (15 - length))
        length += 1
    if at + length >= end:
        return 0
    for method in range(len(METHOD_WORDS)):
        if METHOD_WORDS[method, 0] == first and METHOD_WORDS[method, 1] == last:
            return length
    return 0


@inner
def is_version(data, at, end):
    """Tell whether ``HTTP/`` is here; a damaged number behind it does not make the line another protocol's."""
    return at + 6 <= end and load32(data, at) == HTTP and load8(data, at + 4) == SLASH


@inner
def target_end(data, at, stop):
    """Return where the target that begins a line's rest ends, or ``at`` if no version and no path makes it a request.

    A target with spaces is wrong but happens; without a version it is a request of HTTP/0.9 (RFC 1945, 4.1), if it is
    a path.
    """
    last = stop - 1
    while last >= at and load8(data, last) != SPACE:
        last -= 1
    if last < at:
        last = stop
    if is_version(data, last + 1, stop):
        return last
    if at < stop and load8(data, at) == SLASH and last == stop:
        return stop
    return at


@inner
def line_end(data, at, end):
    """Return where a line ends, its line break left out, and where the next begins."""
    newline = find(data, at, end, NEWLINE)
    if newline > at and load8(data, newline - 1) == CARRIAGE_RETURN:
        return newline - 1, min(newline + 1, end)
    return newline, min(newline + 1, end)


@inner
def read_host(data, at, end, rows, row):
    """Look for the Host field among header lines; return presence bits."""
    while at < end:
        stop, following = line_end(data, at, end)
        if stop == at:
            return 0
        if stop - at > 5 and load8(data, at + 4) == COLON and load32(data, at) | 0x20202020 == HOST:
            at += 5
            while at < stop and (load8(data, at) == SPACE or load8(data, at) == TAB):
                at += 1
            while stop > at and (load8(data, stop - 1) == SPACE or load8(data, stop - 1) == TAB):
                stop -= 1
            # No field value has a NUL (RFC 9110, 5.5); what stands before one is the name that was meant.
            keep_text(data, at, find(data, at, stop, NUL) - at, rows, row, HTTP_HOST)
            return HAS_HOST
        at = following
    return 0


@inner
def read_request(data, at, end, rows, row):
    """Read a request: ``METHOD target HTTP/1.x``, or as much of it as the segment holds."""
    method = method_length(data, at, end)
    if method == 0:
        return APP_NONE, 0
    target = at + method + 1
    stop, following = line_end(data, target, end)
    behind = target_end(data, target, stop) if following > stop else find(data, target, stop, SPACE)
    if behind == target:
        return APP_NONE, 0
    keep_text(data, at, method, rows, row, HTTP_METHOD)
    keep_text(data, target, behind - target, rows, row, HTTP_PATH)
    return APP_HTTP, HAS_REQUEST | read_host(data, following, end, rows, row)


@inner
def read_response(data, at, end, rows, row):
    """Read a status line: ``HTTP/1.x 200 …``; other text that begins like one is HTTP without a status."""
    if at + 12 > end or load8(data, at + 8) != SPACE:
        return APP_HTTP, 0
    status = 0
    for position in range(at + 9, at + 12):
        digit = load8(data, position) - 0x30
        if digit < 0 or digit > 9:
            return APP_HTTP, 0
        status = status * 10 + digit
    rows.u2[HTTP_STATUS, row] = status
    return APP_HTTP, HAS_STATUS


@inner
def read_http(data, at, end, rows, row):
    """Read the HTTP/1 message a segment starts with; return ``(application, presence bits)``."""
    if is_version(data, at, end):
        return read_response(data, at, end, rows, row)
    return read_request(data, at, end, rows, row)
