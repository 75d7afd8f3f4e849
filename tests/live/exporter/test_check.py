"""``python -m services.exporter --check`` tries what the exporter needs."""

from __future__ import annotations

import sys

import pytest

from tests.support.system import run

pytestmark = pytest.mark.live

CHECK = [sys.executable, "-m", "services.exporter", "--check"]


def test_check_reads_the_stream(nats_server):
    """The stream is found and can be read: one line on standard output says so."""
    status, said, _ = run(CHECK, {"STREAMGAUGE_NATS_URL": nats_server.url, "STREAMGAUGE_NATS_MAX_BYTES": str(64 << 20)})

    assert (status, said) == (0, ["configuration is good: NATS has stream TRAFFIC, 8 of its 8 shards are ours"])


@pytest.mark.parametrize(
    ("settings", "status", "words"),
    [
        ({"STREAMGAUGE_NATS_URL": "nats://127.0.0.1:1"}, 1, "STREAMGAUGE_NATS_URL"),
        ({"STREAMGAUGE_NATS_CREATE_STREAM": "false"}, 1, "STREAMGAUGE_NATS_CREATE_STREAM"),
        ({"STREAMGAUGE_EXPORTER_INSIDE": "10.0.0.1/8"}, 2, "STREAMGAUGE_EXPORTER_INSIDE"),
    ],
)
def test_check_says_what_is_wrong(nats_server, settings, status, words):
    """A server that is away, a stream that is missing, a setting that is wrong: one line and the exit status."""
    found, _, errors = run(CHECK, {"STREAMGAUGE_NATS_URL": nats_server.url, **settings})
    said = [line for line in errors if line.startswith("streamgauge: ")]

    assert (found, len(said)) == (status, 1), errors
    assert words in said[0]
