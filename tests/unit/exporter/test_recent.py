"""What the live page shows of the last fifteen minutes is what was counted in them."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections import Counter

import pyarrow as pa
import pytest

from services.exporter import names, networks, recent, words
from services.exporter.aggregate import Aggregator
from services.exporter.recent import Recent
from streamgauge import text
from tests.support import packets as build
from tests.support import require
from tests.support.traffic import batch_of, batches_of_capture, envelope_of, rows_of


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self):
        self.now = 1_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture(name="clock")
def _clock():
    return Clock()


@pytest.fixture(name="show")
def _show(clock):
    """Return a function that shows batches to a Recent, and the Recent."""
    shown, aggregator = Recent(clock), Aggregator(networks.parse("10.0.0.0/8"), 1000)

    def show(batch, envelope=None):
        envelope = envelope or envelope_of(batch)
        shown.see(envelope, batch, *aggregator.fold(envelope, batch))

    return show, shown


def frame(source=1, target=2, *, port=443, flags=2):
    whole = bytearray(build.ipv4(6, build.tcp(b"", target=port, flags=flags)))
    whole[15], whole[19] = source, target
    return build.ethernet(0x0800, bytes(whole))


def question(name, *, flags=0x0100):
    packed = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label) + b"\0"
    return build.ethernet(0x0800, build.ipv4(17, build.udp(build.dns(packed, flags=flags))))


def test_seconds_have_no_gaps_and_end_before_the_running_one(show, clock):
    """A silent second is a zero, the running second is not shown, and old seconds leave."""
    show, shown = show
    show(batch_of([frame()] * 3))
    clock.now += 3
    show(batch_of([frame()] * 2))
    clock.now += 1
    assert [second.packets for second in shown.seconds()] == [3, 0, 0, 2]
    assert [second.packets for second in shown.seconds(1_000_003)] == [2]
    clock.now += 10_000
    assert len(shown.seconds()) == recent.SECONDS - 1
    assert sum(second.packets for second in shown.seconds()) == 0


def test_pairs_ports_and_domains_of_the_corpus_equal_a_slow_count(show):
    """With room for all, the heaviest pairs, ports and domains are exact."""
    show, shown = show
    paths = [path for path in sorted(require.CORPUS.glob("*dns*.pcap")) if path.stat().st_size < 300_000]
    batches = [batch for path in paths for batch in batches_of_capture(path)] or require.missing("the corpus")
    pairs, services, domains = Counter(), Counter(), Counter()
    for _, envelope, batch in batches:
        show(batch, envelope)
        for row in rows_of(batch):
            if row["ip_version"] is not None:
                pairs[row["src_ip"] + row["dst_ip"]] += row["bytes"]
            if row["src_port"] and row["dst_port"]:
                services[row["ip_protocol"], min(row["src_port"], row["dst_port"])] += row["bytes"]
            if row["dns_name"] is not None:
                failed = row["dns_response"] and row["dns_rcode"] != 0
                domains[registered(row["dns_name"])] += 1 if failed or not row["dns_response"] else 0
    window = shown.window(1, 20)
    assert [size for _, (_, size) in window.pairs] == [size for _, size in pairs.most_common(20)]
    assert all(pairs[pair] == size for pair, (_, size) in window.pairs)
    assert all(services[service] == size for service, (_, size) in window.ports)
    assert all(domains[name] == asked + failed for name, asked, failed in window.domains)
    assert sum(domains.most_common(1)[0][1:]) == window.domains[0].queries + window.domains[0].failures


def registered(name):
    labels = name.split(".")
    if labels[-2:] == ["cluster", "local"] and len(labels) >= 4 and labels[-3] in ("svc", "pod"):
        return ".".join(labels[-4:])
    second = {"ac", "co", "com", "edu", "gob", "gov", "ne", "net", "or", "org"}
    three = len(labels) >= 3 and (
        (labels[-2] in second and len(labels[-1]) == 2 and labels[-1].isalpha())
        or (labels[-1] == "arpa" and labels[-2] in ("in-addr", "ip6"))
    )
    return ".".join(labels[-3 if three else -2 :]) or "."


@pytest.mark.parametrize(
    ("name", "domain"),
    [
        ("www.example.com", "example.com"),
        ("example.com", "example.com"),
        ("a.b.example.co.uk", "example.co.uk"),
        ("localhost", "localhost"),
        ("api.shop.svc.cluster.local", "shop.svc.cluster.local"),
        ("4.3.2.1.in-addr.arpa", "1.in-addr.arpa"),
        ("", "."),
    ],
)
def test_names_are_counted_by_registered_domain(show, name, domain):
    """A domain is two labels, three below second-level registries, and a namespace inside a cluster."""
    show, shown = show
    show(batch_of([question(name), question(name, flags=0x8183), question(name, flags=0x8180)]))
    assert shown.window(1, 10).domains == [(domain, 1, 1)]


def test_a_window_takes_whole_minutes_and_the_running_one(show, clock):
    """Minutes leave after fifteen; a shorter window sees fewer of them."""
    show, shown = show
    clock.now = 60.0 * 1000
    for minute in range(20):
        show(batch_of([frame(source=minute + 1)]))
        clock.now += 60
    assert len(shown.window(15, 100).pairs) == 15
    assert len(shown.window(1, 100).pairs) == 1
    last = shown.window(1, 100).pairs[0][0]
    assert text.address_text(last[:16]) == "10.0.0.20"
    clock.now += 60 * 60
    assert shown.window(15, 100).pairs == []


def test_addresses_come_back_as_they_were(show):
    """IPv4 and IPv6 addresses of a pair are the packed bytes of the record."""
    show, shown = show
    show(batch_of([frame(), build.ethernet(0x86DD, build.ipv6(17, build.udp(b"x", target=9)))]))
    found = {(text.address_text(pair[:16]), text.address_text(pair[16:])) for pair, _ in shown.window(1, 10).pairs}
    assert found == {("10.0.0.1", "10.0.0.2"), ("2001:db8::1", "2001:db8::2")}
    assert all(ipaddress.ip_address(address) for pair in found for address in pair)


def test_counts_of_a_window_are_those_of_its_batches(show):
    """Protocols, flags and codes of a window add up to its packets."""
    show, shown = show
    show(batch_of([frame(flags=2), frame(flags=0x12), question("a.test")]))
    counts = shown.window(1, 10).counts
    assert counts.traffic[..., 0].sum() == 3
    assert dict(zip(words.FLAGS, counts.flags.tolist(), strict=True))["SYN-ACK"] == 1


def test_merged_rows_weigh_their_packets(show):
    """A row that stands for several packets counts as so many."""
    show, shown = show
    batch = batch_of([question("a.test")])
    columns = [pa.array([5], pa.uint32()) if name == "packets" else batch.column(name) for name in batch.schema.names]
    merged = pa.RecordBatch.from_arrays(columns, schema=batch.schema)
    show(merged, dataclasses.replace(envelope_of(batch), packets=5))
    assert shown.window(1, 10).domains == [("a.test", 5, 0)]
    assert shown.window(1, 10).pairs[0][1][0] == 5


def test_a_flood_of_random_names_keeps_memory_flat():
    """Domains beyond the capacity push out the lightest; the heavy one stays, the rest is counted."""
    kept = names.HeavyNames(capacity=100)
    for number in range(20_000):
        kept.add(f"random-{number}.test", 1, 0)
        if number % 20 == 0:
            kept.add("heavy.test", 1, 0)
    assert kept.heaviest(1)[0].name == "heavy.test"
    assert len(kept.heaviest(1000)) <= 100
    assert kept.rest + sum(domain.queries for domain in kept.heaviest(1000)) == 21_000
