"""For every capture of the corpus, each family's totals equal an independent count over what ``decode`` gives."""

from __future__ import annotations

import contextlib

import pyarrow as pa
import pytest

from services.exporter import networks
from services.exporter.aggregate import Aggregator
from services.exporter.metrics import TrafficMetrics
from services.exporter.opt_in import OptIn
from streamgauge.cli.decode import Options, batches
from streamgauge.demo import sample
from streamgauge.errors import CaptureFileError
from streamgauge.metrics import Distribution, Metrics
from tests.support import packets as build
from tests.support import require
from tests.support.family_counts import count_families
from tests.support.traffic import batch_of, envelope_of
from tests.unit.exporter.test_aggregate import ALL_INSIDE, INSIDE

BUDGETS = (10, 1_000_000)
#: Families of this many series and more have an ``__other__`` at any budget.
PORTS = 2000


def rows_of_capture(path):
    """Return what ``decode --unanswered`` writes of a capture; a damaged one counts as far as it is good."""
    found = []
    with contextlib.suppress(CaptureFileError):
        found.extend(batch for batch in batches(str(path), Options(unanswered=True)) if len(batch))
    return found


def families(rows, budget):
    """Return ``{family: {labels: value}}`` of the page, without node, interface and zeros."""
    opt_in = OptIn(budget, talkers=True, domains=True)
    aggregator = Aggregator(networks.parse(",".join(INSIDE)), budget, opt_in=opt_in)
    metrics = Metrics()
    TrafficMetrics(metrics, aggregator, budget)
    for number, batch in enumerate(rows):
        aggregator.fold(envelope_of(batch, sequence=number), batch)
    metrics.render()
    found = {}
    for family in metrics._registry.get_all():
        name = family.name.removeprefix("streamgauge_")
        if isinstance(family, Distribution):
            unit = 1 if "bytes" in name else 1e9
            found[name] = {key[1:]: [*counts, round(total * unit)] for key, counts, total in family._rows}
        elif hasattr(family, "_keys"):
            pairs = zip(family._keys, family._values, strict=True)
            found[name] = {key[_own(family._labels) :]: value for key, value in pairs if value}
    return found


def _own(labels):
    return sum(label in ("node", "interface") for label in labels)


def assert_equal(rows, where):
    truth = count_families(rows, ALL_INSIDE, "node-a")
    for budget in BUDGETS:
        counted = families(rows, budget)
        assert set(counted) == set(truth), where
        for family, expected in truth.items():
            wanted = {key: value for key, value in expected.items() if value}
            found = counted[family]
            if "seconds" in family:
                # A sum of nanoseconds passes through seconds as a float.
                (wanted,), (found,) = wanted.values(), found.values() or ([0] * 17,)
                assert found[:-1] == wanted[:-1], (where, family, budget)
                assert found[-1] == pytest.approx(wanted[-1], rel=1e-12, abs=1), (where, family, budget)
            elif "size" in family or (budget > PORTS > len(wanted)):
                assert found == wanted, (where, family, budget)
            else:
                assert sum(found.values()) == sum(wanted.values()), (where, family, budget)
                kept = {key: value for key, value in found.items() if "__other__" not in key}
                assert all(value <= wanted[key] for key, value in kept.items()), (where, family, budget)
                assert len(found) <= max(budget, PORTS), (where, family, budget)


def captures():
    paths = [path for path in sorted(require.CORPUS.glob("*.pcap*")) if path.suffix in (".pcap", ".pcapng")]
    return paths or require.missing("the corpus")


@pytest.mark.corpus
@pytest.mark.timeout(600)
def test_every_family_of_every_capture_is_exact_at_any_budget():
    """With a budget of ten series totals are exact; without a limit each series is."""
    for path in captures():
        rows = rows_of_capture(path)
        if rows:
            assert_equal(rows, path.name)


def test_every_family_of_the_demos_sample_is_exact(tmp_path):
    """It has something of everything: the world outside, what nobody answers, what is sent again."""
    path = tmp_path / "sample.pcap"
    sample.write(path, count=20_000)
    rows = rows_of_capture(path)
    assert_equal(rows, path.name)
    empty = {name for name, values in families(rows, 1000).items() if not values}
    assert empty == set()


def connection(flags, *, port=40_000, reverse=False):
    ports = (443, port) if reverse else (port, 443)
    packet = bytearray(build.ipv4(6, build.tcp(b"", source=ports[0], target=ports[1], flags=flags)))
    if reverse:
        packet[12:20] = packet[16:20] + packet[12:16]
    return build.ethernet(0x0800, bytes(packet))


def test_attempts_and_flows_follow_their_rules():
    """A repeated SYN is one attempt; SYN-ACK and reset answer; what nobody answers counts when its time is over."""
    syn, syn_ack, reset, data = 0x02, 0x12, 0x14, 0x10
    frames = [
        connection(syn, port=1001),
        connection(syn, port=1001),
        connection(syn_ack, port=1001, reverse=True),
        connection(syn, port=1002),
        connection(reset, port=1002, reverse=True),
        connection(syn, port=1003),
        connection(syn, port=1003),
        *(build.ethernet(0x0800, build.ipv4(17, build.udp(b"x", target=9999))),) * 5,
        connection(data, port=1004),
    ]
    rows = with_times(batch_of(frames), [*range(12), 40])
    found = families([rows], 1000)
    assert found["flows_total"] == {("tcp", "internal"): 3, ("udp", "internal"): 1}
    assert found["connection_attempts_unanswered_total"] == {("internal",): 1}
    assert found["tcp_resets_total"] == {("internal",): 1}
    assert_equal([rows], "by hand")


def with_times(batch, seconds):
    times = pa.array([1_700_000_000_000_000_000 + second * 10**9 for second in seconds], pa.int64())
    return batch.set_column(0, batch.schema.field(0), times.cast(pa.timestamp("ns", "UTC")))


def test_more_attempts_at_a_time_than_a_table_holds_at_first():
    """The table grows; each attempt is one, and each is unanswered in the end."""
    frames = [connection(2, port=port) for port in range(1, 5001)] * 2 + [connection(0x10, port=9)]
    rows = with_times(batch_of(frames), [0] * 10_000 + [30])
    found = families([rows], 1000)
    assert found["flows_total"] == {("tcp", "internal"): 5000}
    assert found["connection_attempts_unanswered_total"] == {("internal",): 5000}


def test_a_scan_of_all_ports_makes_few_series():
    """Ports of clients are one series, and a family by port has two thousand at the most; its sum stays exact."""
    frames = [
        build.ethernet(0x0800, build.ipv4(17, build.udp(b"x", source=65_535, target=port)))
        for port in (*range(1, 4001), *range(32_768, 34_000))
    ]
    found = families([batch_of(frames)], 1_000_000)["port_packets_total"]
    assert len(found) == 2000
    assert sum(found.values()) == len(frames)
    few = families([batch_of(frames[4000:])], 1_000_000)["port_packets_total"]
    assert few == {("udp", "ephemeral"): 34_000 - 32_768}
