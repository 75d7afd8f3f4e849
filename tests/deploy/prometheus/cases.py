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


def flags(flag):
    return f'streamgauge_tcp_flags_total{{node="a",flag="{flag}"}}'


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
    "StreamgaugeBackupTooOld": (
        {UNSTORED: "0+60x40"},
        # A minute old is normal; a ledger that nobody takes is no summary.
        [{UNSTORED: "60x40"}, {UNSTORED.replace("shard-00", "ledger"): "0+60x40"}],
    ),
    "StreamgaugeUploadsFail": (
        {"streamgauge_backup_upload_retries_total": "0+1x40"},
        [{"streamgauge_backup_upload_retries_total": "0x25 1x20"}],
    ),
    "StreamgaugeMessagesRefused": (
        {REFUSED: "0x25 1x20", "streamgauge_backup_quarantined_total": "0x40"},
        [{REFUSED: "0x40", "streamgauge_backup_quarantined_total": "0x40"}],
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
    "StreamgaugeDnsFailures": (
        {answers("NOERROR"): "0+600x40", answers("SERVFAIL"): "0+60x40"},
        # Names that do not exist are answers; too few answers to tell; failures that are rare.
        [
            {answers("NOERROR"): "0+600x40", answers("NXDOMAIN"): "0+600x40"},
            {answers("NOERROR"): "0+1x40", answers("SERVFAIL"): "0+1x40"},
            {answers("NOERROR"): "0+600x40", answers("SERVFAIL"): "0+6x40"},
        ],
    ),
    "StreamgaugeConnectionsUnanswered": (
        {flags("SYN"): "0+600x40", flags("SYN-ACK"): "0+300x40"},
        # All are answered; more answers than attempts (one-way capture); hardly any attempts.
        [
            {flags("SYN"): "0+600x40", flags("SYN-ACK"): "0+590x40"},
            {flags("SYN"): "0+60x40", flags("SYN-ACK"): "0+600x40"},
            {flags("SYN"): "0+6x40", flags("SYN-ACK"): "0x40"},
        ],
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
