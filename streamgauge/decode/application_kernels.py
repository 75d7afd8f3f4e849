"""Which application protocols the decoder recognises, and in which order it asks them.

To add one that is only recognised: write ``<name>_kernels.py`` and its line in ``streamgauge.protocols.App``. The
module has ``TRANSPORT`` (TCP or UDP), for TCP ``FIRST_BYTES``, and ``recognise``. docs/84-adding-a-protocol.md shows
it. One that fills columns is asked in one of the functions below. Cheap tests come first: they run for every payload.

Both return ``(application, presence bits, status)``.
"""

from __future__ import annotations

# mypy: ignore-errors
# (Numba types kernels when it compiles them.)
import numpy as np

from streamgauge.decode.accelerate import hot, inner
from streamgauge.decode.dns_kernels import dns_application, is_dns, read_dns_tcp, read_message, starts_message
from streamgauge.decode.http_kernels import read_http
from streamgauge.decode.link_words import OK
from streamgauge.decode.load_kernels import load8, load16
from streamgauge.decode.mark_kernels import (
    AWAITED,
    NOT_AWAITED,
    TELLING,
    is_awaited,
    mark_beginning,
    mark_slow,
    may_begin_hello,
)
from streamgauge.decode.output import CONTINUATION, QUIC_INITIAL, WAITING
from streamgauge.decode.quic_kernels import is_initial, is_quic
from streamgauge.decode.registry import registered, together
from streamgauge.decode.tls_kernels import read_tls
from streamgauge.decode.transport_kernels import TCP, UDP
from streamgauge.protocols import App
from streamgauge.schema import TrafficClass

UNKNOWN, QUIC = int(App.UNKNOWN), int(App.QUIC)
DNS, MDNS, LLMNR, TLS, HTTP = int(App.DNS), int(App.MDNS), int(App.LLMNR), int(App.TLS), int(App.HTTP)

CLASS_DNS, CLASS_TLS, CLASS_HTTP = int(TrafficClass.DNS), int(TrafficClass.TLS), int(TrafficClass.HTTP)
CLASS_QUIC = int(TrafficClass.QUIC)

#: Where the payload of the shortest message that is recognised by content ends.
SHORTEST = 4

REGISTERED = registered(App)
OVER_TCP = [(application, module) for application, module in REGISTERED if module.TRANSPORT == TCP]
OVER_UDP = [(application, module) for application, module in REGISTERED if module.TRANSPORT == UDP]

#: What a TLS record and a request or response of HTTP start with, and what else a segment may start with.
TLS_TYPES, CAPITALS = range(20, 25), range(ord("A"), ord("Z") + 1)
FIRST_BYTES = [*TLS_TYPES, *CAPITALS, *together([module for _, module in OVER_TCP], "FIRST_BYTES")]
#: u1[256]: whether a TCP segment that starts with this byte may be a message we know.
STARTS = np.isin(np.arange(256), FIRST_BYTES).astype(np.uint8)


def _ask(modules):
    """Return a kernel that tells which application's ``recognise`` says yes, UNKNOWN if none does."""
    if not modules:

        @inner
        def nobody(data, at, end, source_port, destination_port):
            return UNKNOWN

        return nobody
    (application, module), others = modules[0], _ask(modules[1:])
    recognise = module.recognise

    @inner
    def ask(data, at, end, source_port, destination_port):
        if recognise(data, at, end, source_port, destination_port):
            return application
        return others(data, at, end, source_port, destination_port)

    return ask


recognise_over_tcp, recognise_over_udp = _ask(OVER_TCP), _ask(OVER_UDP)


@inner
def read_udp_application(data, at, end, wire_end, source_port, destination_port, rows, row):
    """Recognise the application of a UDP datagram."""
    application = dns_application(source_port, destination_port)
    if application != UNKNOWN:
        present, status = read_message(data, at, end, wire_end, rows, row)
        return application, present, status
    if is_quic(data, at, end):
        if is_initial(data, at):
            mark_slow(rows, row, QUIC_INITIAL, at, end)
        return QUIC, 0, OK
    application = recognise_over_udp(data, at, end, source_port, destination_port)
    if application != UNKNOWN:
        return application, 0, OK
    if is_dns(data, at, end):
        present, status = read_message(data, at, end, wire_end, rows, row)
        return DNS, present, status
    return UNKNOWN, 0, OK


@hot
def may_be_application(data, at, end, source_port, destination_port):
    """Tell cheaply, by ports and first byte, that a TCP segment may start a message we know."""
    if at + SHORTEST > end:
        return False
    return STARTS[load8(data, at)] != 0 or dns_application(source_port, destination_port) != UNKNOWN


@inner
def read_tcp_application(data, at, end, wire_end, source_port, destination_port, rows, row):
    """Recognise the application of a TCP segment by what it starts with."""
    application = dns_application(source_port, destination_port)
    if application != UNKNOWN and starts_message(data, at, end):
        present, status = read_dns_tcp(data, at, end, wire_end, rows, row)
        return application, present, status
    if read_tls(data, at, end, rows, row) != UNKNOWN:
        return TLS, 0, OK
    application, present = read_http(data, at, end, rows, row)
    if application != UNKNOWN:
        return application, present, OK
    return recognise_over_tcp(data, at, end, source_port, destination_port), 0, OK


@hot
def read_application(data, protocol, header, at, end, wire_end, rows, row):
    """Recognise the application behind the transport header at ``header``, whose payload begins at ``at``."""
    if at >= end:
        return UNKNOWN, 0, OK
    if protocol == TCP:
        source_port, destination_port = load16(data, header), load16(data, header + 2)
        awaited = NOT_AWAITED
        if rows.mark_state[WAITING]:
            awaited = is_awaited(rows, row)
            if awaited != NOT_AWAITED:
                mark_slow(rows, row, CONTINUATION, at, end)
            if awaited == AWAITED:
                return TLS, 0, OK
        # A byte that may begin a hello may as well be the next of one.
        if at + TELLING > end and awaited == NOT_AWAITED and may_begin_hello(data, at, end):
            mark_beginning(data, at, end, rows, row)
        if may_be_application(data, at, end, source_port, destination_port):
            return read_tcp_application(data, at, end, wire_end, source_port, destination_port, rows, row)
    elif protocol == UDP:
        source_port, destination_port = load16(data, header), load16(data, header + 2)
        return read_udp_application(data, at, end, wire_end, source_port, destination_port, rows, row)
    return UNKNOWN, 0, OK


@hot
def application_class(application, otherwise):
    """Return the traffic class of an application, ``otherwise`` where it has none of its own."""
    if application == DNS or application == MDNS or application == LLMNR:
        return CLASS_DNS
    if application == TLS:
        return CLASS_TLS
    if application == HTTP:
        return CLASS_HTTP
    if application == QUIC:
        return CLASS_QUIC
    return otherwise
