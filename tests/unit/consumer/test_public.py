"""What `import streamgauge` offers, and what it costs."""

from __future__ import annotations

import datetime as dt
import doctest
import importlib
import subprocess
import sys
from typing import Any

import pytest

import streamgauge
from streamgauge.consumer.connection import Login
from streamgauge.testing import batch_of

#: Modules whose examples are run; the wire page and the how-to are run by tests/live/consumer.
WITH_EXAMPLES = ["streamgauge.consumer.gaps", "streamgauge.consumer.subscription", "streamgauge.testing"]


def test_importing_is_cheap() -> None:
    """A program that only may need it pays for nothing."""
    code = "import streamgauge, sys; print(sorted(m for m in sys.modules if m.partition('.')[0] in sys.argv[1:]))"
    heavy = ["numba", "llvmlite", "numpy", "pyarrow", "pydantic", "nats", "scapy", "typer", "asyncio"]
    out = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True).stdout

    assert out.strip() == "[]"


def test_subscribing_needs_no_compiler() -> None:
    """The consumer has no use for the decoder, nor for the services' settings."""
    code = "from streamgauge import subscribe; import sys; print([m for m in sys.argv[1:] if m in sys.modules])"
    heavy = ["numba", "llvmlite", "scapy", "typer", "minio"]
    out = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True).stdout

    assert out.strip() == "[]"


def test_every_public_name_is_there() -> None:
    """And no other."""
    assert all(getattr(streamgauge, name) is not None for name in streamgauge.__all__)
    assert dir(streamgauge) == sorted(streamgauge.__all__)
    with pytest.raises(AttributeError, match="no attribute 'decoed'"):
        streamgauge.decoed  # noqa: B018


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_in_the_sources_are_true(name: str) -> None:
    """Each is run."""
    result = doctest.testmod(importlib.import_module(name))

    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"subject": "trafic.v1.*.dns"}, "'trafic.v1.*.dns' is no traffic.v1.<node>.<class>"),
        ({"subject": "traffic.v2.*.dns"}, "is no traffic.v1"),
        ({"subject": "traffic.v1..dns"}, "is no traffic.v1"),
        ({"subject": "traffic.v1.dns"}, "is no traffic.v1"),
        ({"subject": "traffic.v1.my node.dns"}, "is no traffic.v1"),
        ({"subject": None}, "is no traffic.v1"),
        ({"subject": "traffic.v1.*.DNS"}, "DNS is no class; there are other, tcp, udp, dns"),
        ({"durable": "my reader"}, "letters, digits, - and _"),
        ({"subject": "replay.v1.*.dns", "since": "all"}, "is in no stream"),
        ({"follow": False}, "follow=False ends a replay"),
        ({"since": "yesterday"}, "no datetime, no timedelta and not 'all'"),
        ({"buffer_bytes": 0}, "more than 0"),
    ],
)
def test_wrong_arguments_are_told_before_anything_is_connected(options: dict[str, Any], words: str) -> None:
    """One line says what and how."""
    with pytest.raises(streamgauge.ConfigurationError, match=words.replace("*", r"\*").replace(".", r"\.")):
        streamgauge.subscribe("nats://127.0.0.1:1", **options)


@pytest.mark.parametrize(
    "servers",
    ["", "http://one:8222", "nats://one:99999", "nats://", "nats://one:4222,,nats://two", "nats://me:secret@one:port"],
)
def test_wrong_urls_are_told_at_once(servers: str) -> None:
    """Not after the time that a server may take; and without the password."""
    with pytest.raises(streamgauge.ConfigurationError, match="is no URL of NATS: write nats://host:4222") as told:
        streamgauge.subscribe(servers)

    assert "secret" not in str(told.value)


@pytest.mark.parametrize("servers", ["one", "one:4222", "nats://me:p%40ss@one, tls://two:4223", "wss://[::1]:443"])
def test_urls_that_nats_takes(servers: str) -> None:
    """The scheme and the port may be left out."""
    streamgauge.subscribe(servers)


def test_a_password_in_the_url_is_not_shown() -> None:
    """Errors go to logs."""
    assert Login("nats://me:secret@one:4222, tls://two").shown == "nats://one:4222, tls://two"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tls": "/nowhere/ca.crt"}, "tls=/nowhere/ca.crt: cannot be read"),
        ({"credentials": "/nowhere/me.creds"}, "no such file"),
    ],
)
def test_files_that_are_not_there(options: dict[str, Any], words: str) -> None:
    """They are named."""
    with pytest.raises(streamgauge.ConfigurationError, match=words):
        Login("nats://127.0.0.1:1", **options).options()


async def test_no_server() -> None:
    """One line, within the time that was given."""
    with pytest.raises(streamgauge.BusError, match=r"cannot reach NATS at nats://127\.0\.0\.1:1: "):
        async with streamgauge.subscribe("nats://127.0.0.1:1", timeout=0.5):
            pass


def test_a_batch_in_other_forms() -> None:
    """Addresses are text in all but Arrow; numbers are the same memory in polars."""
    from streamgauge.consumer import Batch
    from streamgauge.subjects import Envelope

    rows = [
        {"time": 1_764_079_200_000_000_000, "src_ip": "10.0.0.1", "dst_ip": "2001:db8::1", "bytes": 60, "ttl": 9},
        {"time": 1_764_079_200_000_000_001, "src_ip": "10.0.0.2", "bytes": 70},
    ]
    envelope = Envelope("node-a", "b", 1, "eth0", "interface", 2, 2, 130, 0, 0)
    batch = Batch(batch_of(rows), "tcp", envelope)
    listed, pandas, polars = batch.to_pylist(), batch.to_pandas(), batch.to_polars()

    assert [row["src_ip"] for row in listed] == ["10.0.0.1", "10.0.0.2"]
    assert (listed[0]["dst_ip"], listed[1]["dst_ip"], listed[0]["node"]) == ("2001:db8::1", None, "node-a")
    assert list(pandas["src_ip"]) == list(polars["src_ip"].cast(str)) == ["10.0.0.1", "10.0.0.2"]
    assert pandas["time"][0] == dt.datetime(2025, 11, 25, 14, tzinfo=dt.UTC)
    assert polars["bytes"].to_list() == [60, 70]
    assert batch.arrow.column("bytes").buffers()[1].address == polars["bytes"].to_arrow().buffers()[1].address
    assert (len(batch), batch.packets, batch.bytes) == (2, 2, 130)
    assert str(batch) == "node-a tcp: batch 1, 2 rows, 2 packets"
    assert len(repr(batch)) < 200
