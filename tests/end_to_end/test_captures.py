"""What `decode` prints, what lies in the bucket and what /metrics says are the same packets, to the last one."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from streamgauge.demo import packets, sample
from streamgauge.embedded import NatsServer
from streamgauge.settings import NatsSettings, S3Settings
from tests.support import require
from tests.support.system import System, decode, total, without_origin

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from streamgauge.embedded import S3Server
    from streamgauge.ledger import LedgerRecord
    from tests.support.system import Row

pytestmark = [pytest.mark.live, pytest.mark.asyncio(loop_scope="module")]

START = 1_764_079_200_000_000_000


@pytest_asyncio.fixture(name="system", scope="module", loop_scope="module")
async def _system(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    """Return one running system for all captures of this module: each is a node of its own."""
    require.program("nats-server")
    folder = tmp_path_factory.mktemp("system")
    s3 = S3Settings.model_validate(
        {
            "endpoint": s3_server.endpoint,
            "secure": False,
            "access_key": s3_server.access_key,
            "secret_key": s3_server.secret_key,
            "bucket": "end-to-end",
        }
    )
    with NatsServer(folder) as nats:
        system = System(NatsSettings(url=nats.url, max_bytes=256 << 20), s3, folder)
        try:
            yield await system.start()
        finally:
            await system.stop()


def _at(frames: list[bytes], *, step: int = 1000, **options: int) -> bytes:
    return packets.pcap(((START + number * step, frame) for number, frame in enumerate(frames)), **options)


def _same_packet() -> bytes:
    """One packet a thousand times at one time: nothing may take equal rows for one."""
    ends = ("10.0.0.1", "10.0.0.2")
    return _at([packets.ethernet(packets.ipv4(packets.udp(b"x", 1, 2), *ends, packets.UDP))] * 1000, step=0)


def _damaged() -> bytes:
    """Frames cut at every length."""
    hello = packets.tcp(packets.client_hello("cut.example.com"), 4000, 443)
    frame = packets.ethernet(packets.ipv6(hello, "fd00::1", "fd00::2", packets.TCP), 0x86DD, vlan=7)
    return _at([frame[:length] for length in range(len(frame) + 1)])


def _out_of_order() -> bytes:
    """Times run backwards over a day: rows of one batch lie in different hours."""
    frame = packets.ethernet(packets.arp("10.0.0.1", "10.0.0.2"), 0x0806)
    return packets.pcap((START - number * 600 * 10**9, frame) for number in range(144))


def _sample(path: Path) -> bytes:
    sample.write(path, count=20_000)
    return path.read_bytes()


CAPTURES: dict[str, Callable[[Path], bytes]] = {
    "sample": _sample,
    "gzipped": lambda path: gzip.compress(_sample(path)),
    "same-packet": lambda _: _same_packet(),
    "damaged": lambda _: _damaged(),
    "out-of-order": lambda _: _out_of_order(),
    "unknown-link": lambda _: _at([b"12345", b"", b"\xff" * 300], link=147),
    "snaplen": lambda _: _at([packets.ethernet(b"E" + bytes(1400))] * 50, snaplen=60),
}

#: Captures of the wild, of many kinds: VLAN, IPv6, fragments, cooked and loopback links, pcapng, tunnels, damage.
WILD = sorted(path for path in require.CORPUS.glob("*") if path.suffix in (".pcap", ".pcapng"))[5::40]


@pytest.mark.parametrize("name", CAPTURES)
async def test_generated_capture(system: System, tmp_path: Path, name: str) -> None:
    """Each packet is in decode, bucket and metrics, with the same values."""
    path = tmp_path / f"{name}.pcap"
    path.write_bytes(CAPTURES[name](path))

    await _assert_all_agree(system, path, node=name)


@pytest.mark.corpus
@pytest.mark.parametrize("path", WILD, ids=lambda path: path.name)
async def test_capture_of_the_wild(system: System, path: Path) -> None:
    """The same for captures nobody made for us."""
    await _assert_all_agree(system, path, node=path.stem)


async def test_replays_of_one_capture_are_counted_each_time(system: System, tmp_path: Path) -> None:
    """A second boot of a node publishes the same rows under another identity: they are new packets."""
    path = tmp_path / "again.pcap"
    path.write_bytes(_same_packet())
    ledgers = [await system.collect(path, "again", file_loop="2") for _ in range(2)]
    rows = await system.stored("again", 4000)

    assert [ledger.published for ledger in ledgers] == [2000, 2000]
    assert len(rows) == 4000


async def test_truncated_capture_keeps_what_is_good(system: System, tmp_path: Path) -> None:
    """The collector ends with status 1, and every packet before the damage is stored and counted."""
    path = tmp_path / "cut.pcap"
    path.write_bytes(_same_packet()[:-5])
    ledger = await system.collect(path, "cut", status=1)
    rows, status = decode(path)

    assert (len(rows), status) == (999, 1)
    await _assert_stored_and_counted(system, "cut", rows, ledger)


async def _assert_all_agree(system: System, path: Path, *, node: str) -> None:
    rows, status = decode(path)
    assert status == 0
    ledger = await system.collect(path, node)

    packets_in = total(rows, "packets")
    assert (ledger.kernel_received, ledger.decoded) == (packets_in, packets_in)
    await _assert_stored_and_counted(system, node, rows, ledger)


async def _assert_stored_and_counted(system: System, node: str, rows: list[Row], ledger: LedgerRecord) -> None:
    sums = total(rows, "packets"), len(rows), total(rows, "bytes")
    assert (ledger.published, ledger.published_rows, ledger.published_bytes) == sums
    assert (ledger.unpublished, ledger.evicted, ledger.spooled, ledger.kernel_dropped) == (0, 0, 0, 0)

    stored = await system.stored(node, len(rows))
    assert without_origin(stored) == without_origin(rows)

    for name, value in _expected_totals(rows):
        await _assert_metric(system, name, node, value)


def _expected_totals(rows: list[Row]) -> Iterator[tuple[tuple[str, dict[str, str]], int]]:
    """Yield metrics by name and labels, and what they must be."""
    yield ("backup:stored_rows_total", {}), len(rows)
    yield ("backup:stored_packets_total", {}), total(rows, "packets")
    yield ("backup:stored_bytes_total", {}), total(rows, "bytes")
    yield ("exporter:packets_total", {}), total(rows, "packets")
    yield ("exporter:bytes_total", {}), total(rows, "bytes")
    for status in ("ok", "truncated", "malformed", "unsupported"):
        yield (
            ("exporter:decode_status_packets_total", {"decode_status": status}),
            total(rows, "packets", decode_status=status),
        )
    yield ("exporter:dns_queries_total", {}), total(rows, "packets", dns_response=False)
    yield ("exporter:dns_responses_total", {}), total(rows, "packets", dns_response=True)
    yield ("exporter:packet_size_bytes_count", {}), total(rows, "packets")
    yield ("exporter:packet_size_bytes_sum", {}), total(rows, "bytes")


async def _assert_metric(system: System, name: tuple[str, dict[str, str]], node: str, value: int) -> None:
    from tests.support.waiting import eventually

    service_name, _, metric = name[0].partition(":")
    service = {"backup": system.backup, "exporter": system.exporter}[service_name]

    async def agrees() -> bool:
        found = (await system.metrics(service)).total(metric, node=node, **name[1])
        assert found == value, f"{metric}{name[1]} of {node} is {found}, not {value}"
        return True

    await eventually(agrees, within=15)
