"""Made-up series by alert: some on which it must fire, and some like them on which it must not.

A series is written as promtool writes it, a point a minute: ``0+10x30`` begins at 0 and grows by 10, 30 times;
``_`` is a missing point.
"""

from __future__ import annotations

NODE = 'node="a",interface="eth0"'
LOST = f'streamgauge_ledger_lost_packets_total{{{NODE},stage="kernel",reason="ring_full"}}'
UNSTORED = 'streamgauge_consumer_oldest_unacknowledged_seconds{consumer="backup-shard-00"}'
PENDING = f'streamgauge_pending_packets{{{NODE},instance="i"}}'
PUBLISHED = f'streamgauge_published_packets_total{{{NODE},instance="i"}}'
RECEIVED = f"streamgauge_ledger_received_packets_total{{{NODE}}}"
OVERFLOW = 'streamgauge_series_overflow_total{metric="streamgauge_bytes_total"}'
REFUSED = 'streamgauge_exporter_batches_total{result="refused"}'


def answers(rcode):
    return f'streamgauge_dns_responses_total{{node="a",qtype="A",rcode="{rcode}"}}'


ATTEMPTS = 'streamgauge_flows_total{node="a",protocol="tcp",direction="internal"}'
UNANSWERED = 'streamgauge_connection_attempts_unanswered_total{node="a",direction="internal"}'
WAITING = f"streamgauge_pending_bytes{{{NODE}}}"
ROOM = f"streamgauge_pending_max_bytes{{{NODE}}}"
VERIFIED = "streamgauge_restore_last_verified_timestamp_seconds"
CERTIFICATE = "streamgauge_door_certificate_not_after_timestamp_seconds"
QUERIES = 'streamgauge_dns_queries_total{node="a",qtype="A"}'
SILENT = 'streamgauge_dns_unanswered_total{node="a",qtype="A"}'
RETRANSMITS = 'streamgauge_tcp_retransmits_total{node="a"}'
TCP_PACKETS = 'streamgauge_packets_total{node="a",protocol="tcp"}'


def handshakes(fast, slow):
    """Return a histogram that grows by so many handshakes a minute, within 0.25 s and within 2.5 s."""
    name = "streamgauge_tcp_handshake_seconds"
    return {
        f'{name}_bucket{{node="a",le="0.25"}}': f"0+{fast}x40",
        f'{name}_bucket{{node="a",le="2.5"}}': f"0+{fast + slow}x40",
        f'{name}_bucket{{node="a",le="+Inf"}}': f"0+{fast + slow}x40",
        f'{name}_count{{node="a"}}': f"0+{fast + slow}x40",
    }


def status(word):
    return f'streamgauge_decode_status_packets_total{{node="a",decode_status="{word}"}}'


def stream(size, oldest, unstored):
    return {
        "streamgauge_stream_bytes": f"{size}x40",
        "streamgauge_stream_max_bytes": "1000x40",
        "streamgauge_stream_oldest_seconds": f"{oldest}x40",
        UNSTORED: f"{unstored}x40",
    }


#: By alert: (series on which it fires, [series on which it must not], each looked at after 30 minutes).
CASES = {
    "StreamgaugePacketsLost": (
        {LOST: "0x26 5x10"},
        # Nothing lost; lost long ago; the collector was restarted and counts from 0.
        [{LOST: "7x40"}, {LOST: "0x5 100x40"}, {LOST: "9x15 0x20"}],
    ),
    "StreamgaugeLedgerImbalance": (
        {f"streamgauge_ledger_imbalance_packets{{{NODE}}}": "0x20 3x20"},
        # Two records of one exchange seen in the wrong order, for a moment.
        [{f"streamgauge_ledger_imbalance_packets{{{NODE}}}": "0x29 3 0x10"}],
    ),
    "StreamgaugeStreamDiscardsUnstored": (
        stream(950, 3600, 3000),
        # Full, but all of it is stored; late, but there is room; no limit at all.
        [
            stream(950, 3600, 30),
            stream(300, 3600, 3000),
            {**stream(950, 3600, 3000), "streamgauge_stream_max_bytes": "0x40"},
        ],
    ),
    "StreamgaugePublishingStalled": (
        {PENDING: "10+10x40", PUBLISHED: "500x40"},
        # What waits is on its way; nothing waits.
        [{PENDING: "10x40", PUBLISHED: "0+50x40"}, {PENDING: "0x40", PUBLISHED: "500x40"}],
    ),
    "StreamgaugeSpoolFilling": (
        {WAITING: "600x40", ROOM: "1000x40"},
        # Little waits; a burst that is gone within a minute.
        [{WAITING: "400x40", ROOM: "1000x40"}, {WAITING: "0x28 900 0x20", ROOM: "1000x40"}],
    ),
    "StreamgaugeBackupTooOld": (
        {UNSTORED: "0+60x40"},
        # A minute old is normal; a ledger that nobody takes is no summary.
        [{UNSTORED: "60x40"}, {UNSTORED.replace("shard-00", "ledger"): "0+60x40"}],
    ),
    "StreamgaugeConsumerLag": (
        {UNSTORED.replace("shard-00", "ledger"): "0+30x40"},
        # A minute is normal; a moment is none of its business.
        [{UNSTORED: "60x40"}, {UNSTORED: "60x26 400x3 60x20"}],
    ),
    "StreamgaugeUploadsFail": (
        {"streamgauge_backup_upload_retries_total": "0+1x40"},
        [{"streamgauge_backup_upload_retries_total": "0x25 1x20"}],
    ),
    "StreamgaugeMessagesRefused": (
        {REFUSED: "0x25 1x20", "streamgauge_backup_quarantined_total": "0x40"},
        [{REFUSED: "0x40", "streamgauge_backup_quarantined_total": "0x40"}],
    ),
    # By the hour, looked at after 60 of them: see SLOW.
    "StreamgaugeRestoreDrillOverdue": (
        {VERIFIED: "3600x70", "streamgauge_stored_packets_total": "0+10x70"},
        [
            # Good each night; never yet, and the backup runs since yesterday; no backup at all.
            {VERIFIED: "3600x30 90000x24 176400x20", "streamgauge_stored_packets_total": "0+10x70"},
            {VERIFIED: "_x36 0x40", "streamgauge_stored_packets_total": "_x36 0+10x40"},
            {"streamgauge_stored_packets_total": "0+10x70"},
        ],
    ),
    "StreamgaugeTargetDown": (
        {'up{job="collector",instance="i"}': "1x20 0x20"},
        # It was away for a minute; some other job is down.
        [{'up{job="collector",instance="i"}': "1x28 0 1x20"}, {'up{job="other",instance="i"}': "0x40"}],
    ),
    "StreamgaugeNodeSilent": (
        {f"streamgauge_ledger_age_seconds{{{NODE}}}": "3x10 60+60x30"},
        # It reports; it ended in order, which shows as 0.
        [{f"streamgauge_ledger_age_seconds{{{NODE}}}": "4x40"}, {f"streamgauge_ledger_age_seconds{{{NODE}}}": "0x40"}],
    ),
    "StreamgaugeNoTraffic": (
        {RECEIVED: "500x40"},
        # A quiet node is not a silent one; nine minutes without a packet.
        [{RECEIVED: "0+1x40"}, {RECEIVED: "0+10x21 210x20"}],
    ),
    "StreamgaugeExporterBehind": (
        {"streamgauge_exporter_behind_seconds": "0x10 0+30x30"},
        [{"streamgauge_exporter_behind_seconds": "0x27 100x1 0x20"}],
    ),
    "StreamgaugeExporterSkipped": (
        {"streamgauge_exporter_skipped_packets_total": "0x25 5000x20"},
        [{"streamgauge_exporter_skipped_packets_total": "5000x40"}],
    ),
    "StreamgaugeSeriesOverflow": (
        {OVERFLOW: "0+100x40"},
        # It happened once, and is over.
        [{OVERFLOW: "0x5 100x40"}, {OVERFLOW: "0x40"}],
    ),
    "StreamgaugeDoorCertificateEnds": (
        {CERTIFICATE: "1000000x40"},
        # Two months are left; a new one was loaded.
        [{CERTIFICATE: "5000000x40"}, {CERTIFICATE: "1000000x20 9000000x20"}],
    ),
    "StreamgaugeDnsFailures": (
        {answers("NOERROR"): "0+600x40", answers("SERVFAIL"): "0+60x40"},
        # Names that do not exist are answers; too few answers to tell; failures that are rare.
        [
            {answers("NOERROR"): "0+600x40", answers("NXDOMAIN"): "0+600x40"},
            {answers("NOERROR"): "0+1x40", answers("SERVFAIL"): "0+1x40"},
            {answers("NOERROR"): "0+600x40", answers("SERVFAIL"): "0+6x40"},
        ],
    ),
    "StreamgaugeDnsUnanswered": (
        {QUERIES: "0+600x40", SILENT: "0+60x40"},
        # Nearly all are answered; hardly anybody asks.
        [{QUERIES: "0+600x40", SILENT: "0+6x40"}, {QUERIES: "0+2x40", SILENT: "0+2x40"}],
    ),
    "StreamgaugeConnectionsUnanswered": (
        {ATTEMPTS: "0+600x40", UNANSWERED: "0+300x40"},
        # Nearly all are answered; hardly any attempts; many flows that are no connections.
        [
            {ATTEMPTS: "0+600x40", UNANSWERED: "0+10x40"},
            {ATTEMPTS: "0+6x40", UNANSWERED: "0+6x40"},
            {ATTEMPTS.replace("tcp", "udp"): "0+600x40", UNANSWERED: "0x40"},
        ],
    ),
    "StreamgaugeRetransmissions": (
        {TCP_PACKETS: "0+60000x40", RETRANSMITS: "0+3000x40"},
        # One in a hundred; a quiet node, where one packet weighs much; a burst that is over.
        [
            {TCP_PACKETS: "0+60000x40", RETRANSMITS: "0+600x40"},
            {TCP_PACKETS: "0+60x40", RETRANSMITS: "0+6x40"},
            {TCP_PACKETS: "0+60000x40", RETRANSMITS: "0x10 0+6000x5 30000x30"},
        ],
    ),
    "StreamgaugeHandshakesSlow": (
        handshakes(60, 60),
        # One in fifty; too few to tell.
        [handshakes(98, 2), handshakes(0, 1)],
    ),
    "StreamgaugeDamagedPackets": (
        {status("ok"): "0+900x40", status("malformed"): "0+50x40"},
        # A few; protocols the decoder does not read are not damaged.
        [
            {status("ok"): "0+900x40", status("truncated"): "0+1x40"},
            {status("ok"): "0+900x40", status("unsupported"): "0+500x40"},
        ],
    ),
}

#: Alerts about days: the time between two points of a series, and when it is looked at.
SLOW = {"StreamgaugeRestoreDrillOverdue": ("1h", "60h")}
