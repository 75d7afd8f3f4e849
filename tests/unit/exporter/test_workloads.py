"""Who talks to whom: each packet once, under the names its addresses had at its time."""

from __future__ import annotations

import tracemalloc
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.exporter import columns, networks, words
from services.exporter.aggregate import Aggregator
from services.exporter.observation import IDLE, REASONS, Collectors, Observation, rank
from services.exporter.workloads import Workloads
from streamgauge import schema, text
from streamgauge.identity.events import Binding
from streamgauge.identity.table import IdentityTable
from streamgauge.schema import Kind
from streamgauge.subjects import Envelope

SECOND = 10**9
NOW = 1_764_079_200 * SECOND

WORLD, UNKNOWN = ("__world__",) * 3, ("__unknown__",) * 3


def pod(ip, workload, node="node-a", start=0, end=None):
    return Binding(
        ip, "pod", f"{workload}-{ip}", "shop", f"{workload}-1", workload, "Deployment", node, False, start, end
    )


def service(ip, name):
    return Binding(ip, "service", name, "shop", name, name, "Service", "", False, 0)


def node(ip, name):
    return Binding(ip, "node", name, "", name, name, "Node", name, False, 0)


def web(kind="Deployment"):
    return ("shop", "web", kind)


DB = ("shop", "db", "Deployment")
BINDINGS = (
    pod("10.0.1.1", "web", "node-a"),
    pod("10.0.2.1", "db", "node-b"),
    pod("10.0.3.1", "far", "node-c"),
    service("10.96.0.1", "web"),
    node("192.168.0.1", "node-a"),
)


def batch(rows):
    """Return rows, given as dictionaries, as a batch; what is not given is a TCP packet of 100 bytes."""
    arrays = []
    for column in schema.COLUMNS:
        values = [
            {"packets": 1, "bytes": 100, "time": NOW, "ip_version": 4, "ip_protocol": 6, **row}.get(column.name)
            for row in rows
        ]
        if column.kind is Kind.IP:
            values = [None if value is None else text.address_bytes(value) for value in values]
        if column.kind is Kind.WORD:
            array = pa.array([value or column.words[0] for value in values], pa.string()).dictionary_encode()
            array = array.cast(column.arrow_type)
        else:
            if not column.nullable:
                values = [0 if value is None else value for value in values]
            array = pa.array(values, column.arrow_type)
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, schema=schema.arrow_schema())


def between(source, destination, **values):
    return {"src_ip": source, "dst_ip": destination, **values}


class Stand:
    """Workloads with a clock that the test sets."""

    def __init__(self, bindings=BINDINGS, budget=1000, collectors=("node-a", "node-b")):
        self.collectors = Collectors(lambda: NOW / SECOND)
        for name in collectors:
            self.collectors.hear(name, NOW / SECOND)
        self.workloads = Workloads(networks.parse("10.0.0.0/8,192.168.0.0/16"), budget, self.collectors)
        self.workloads.use(IdentityTable(bindings), living(bindings))
        self.sent = Counter()

    def see(self, rows, node="node-a", interface="eth0"):
        made = rows if isinstance(rows, pa.RecordBatch) else batch(rows)
        read = columns.read(made)
        packets, size = int(read.packets.sum()), int(read.bytes.sum())
        self.sent.update(packets=packets, bytes=size)
        self.workloads.see(
            Envelope(node, "b", 1, interface, "interface", len(made), packets, size, 0, 0), made, read, None
        )

    def totals(self, name="traffic", measure=0):
        self.workloads.flush()
        table = getattr(self.workloads.tables, name)
        found = Counter()
        for key, row in zip(table.published_keys(), table.published_rows(), strict=True):
            found[key[:3], key[3:6]] += row[measure]
        return dict(found)

    def left(self):
        return {reason: row[0] for reason, row in zip(REASONS, self.workloads.left.tolist(), strict=True) if row[0]}

    def check_whole(self):
        """Counted and not counted together are what was sent, packets and bytes."""
        for measure, name in enumerate(("packets", "bytes")):
            assert sum(self.totals(measure=measure).values()) + self.workloads.left[:, measure].sum() == self.sent[name]


def living(bindings):
    return frozenset((each.namespace, each.workload, each.workload_kind) for each in bindings)


def test_traffic_has_the_names_of_both_sides():
    """Known, known to be inside, outside."""
    stand = Stand()
    stand.see(
        [
            between("10.0.1.1", "10.0.2.1", packets=3, bytes=300),
            between("10.0.1.1", "8.8.8.8"),
            between("10.0.1.1", "10.9.9.9", ip_protocol=17),
        ]
    )

    assert stand.totals() == {(web(), DB): 3, (web(), WORLD): 1, (web(), UNKNOWN): 1}
    assert stand.totals(measure=1) == {(web(), DB): 300, (web(), WORLD): 100, (web(), UNKNOWN): 100}
    assert {key[6] for key in stand.workloads.tables.traffic.published_keys()} == {"tcp", "udp"}
    stand.check_whole()


def test_names_are_those_of_the_packet_s_time():
    """An address used again within seconds: each packet belongs to who had it then, also when it comes late."""
    at = NOW + 30 * SECOND
    stand = Stand((pod("10.0.1.1", "web", end=at), pod("10.0.1.1", "db", start=at + 2 * SECOND)))
    stand.see([between("10.0.1.1", "8.8.8.8", time=at + offset * SECOND) for offset in (10, -1, 3, -20, 1)])

    assert stand.totals() == {(web(), WORLD): 3, (DB, WORLD): 2}


def test_a_packet_seen_on_both_nodes_counts_once():
    """At its source's node; at its destination's where the source has no collector or is not known."""
    stand = Stand()
    for name in ("node-a", "node-b"):
        stand.see([between("10.0.1.1", "10.0.2.1"), between("10.0.2.1", "10.0.1.1")], name)
        stand.see([between("10.0.3.1", "10.0.2.1"), between("8.8.8.8", "10.0.2.1")], name)

    assert stand.totals() == {(web(), DB): 1, (DB, web()): 1, (("shop", "far", "Deployment"), DB): 1, (WORLD, DB): 1}
    assert stand.left() == {"other_node": 4}
    stand.check_whole()


def test_a_collector_that_falls_silent_leaves_its_packets_to_the_other_side():
    """Its ledger says that it stopped, or has not come for a minute."""
    stand = Stand(collectors=("node-a", "node-b"))
    stand.collectors.hear("node-a", NOW / SECOND, stopped=True)
    stand.see([between("10.0.1.1", "10.0.2.1")], "node-b")

    assert stand.totals() == {(web(), DB): 1}
    silent = Collectors(lambda: 100.0)
    silent.hear("node-a", 39.0)
    silent.hear("node-b", 41.0)
    assert silent.alive() == {"node-b"}


def test_an_address_of_a_service_is_left_to_the_translated_copy():
    """Pod to service address on the pod's interface, pod to pod behind the translation: one packet, and its answer."""
    stand = Stand((*BINDINGS, pod("10.0.1.2", "db", "node-a")))
    stand.see([between("10.0.1.1", "10.96.0.1"), between("10.96.0.1", "10.0.1.1")], interface="veth1")
    stand.see([between("10.0.1.1", "10.0.1.2"), between("10.0.1.2", "10.0.1.1")], interface="veth2")

    assert stand.totals() == {(web(), DB): 1, (DB, web()): 1}
    assert stand.left() == {"service_address": 2}


@pytest.mark.parametrize("order", [("veth1", "veth2", "cni0", "eth0"), ("eth0", "cni0", "veth2", "veth1")])
def test_a_packet_seen_on_several_interfaces_of_a_node_counts_once(order):
    """Whichever interface's batch comes first: of each pair of addresses one interface counts."""
    stand = Stand()
    for start in range(0, 50, 10):
        for name in order:
            times = [NOW + (start + number) * SECOND // 10 for number in range(10)]
            stand.see([between("10.0.1.1", "10.0.2.1", time=time) for time in times], interface=name)

    assert stand.totals() == {(web(), DB): 50}
    assert stand.left() == {"other_interface": 150}
    stand.check_whole()


def test_a_pair_that_moves_to_another_interface_is_followed():
    """No better one, but the old one has not seen the pair for ten seconds."""
    stand = Stand()
    stand.see([between("10.0.1.1", "10.0.2.1", time=NOW)], interface="eth0")
    stand.see([between("10.0.1.1", "10.0.2.1", time=NOW + IDLE - 1)], interface="eth1")
    stand.see([between("10.0.1.1", "10.0.2.1", time=NOW + IDLE)], interface="eth1")

    assert stand.totals() == {(web(), DB): 2}
    assert stand.left() == {"other_interface": 1}


def test_interfaces_have_ranks_by_their_names():
    """A pod's end, the way out, and what only carries."""
    assert [rank(name) for name in ("veth12ab", "cali9f2", "lxc_health")] == [0, 0, 0]
    assert [rank(name) for name in ("eth0", "ens5", "bond0", "enp1s0.20", "lo")] == [1] * 5
    assert [rank(name) for name in ("cni0", "flannel.1", "docker0", "br-4f1", "cilium_host", "any")] == [2] * 6


def test_what_happened_counts_under_who_it_happened_to():
    """Resets and retransmits of the sender, DNS failures of who asked."""
    stand = Stand()
    stand.see(
        [
            between("10.0.1.1", "8.8.8.8", tcp_flags=0x14, packets=2),
            between("10.0.1.1", "8.8.8.8", tcp_flags=0x10, retransmission=True, packets=3),
            between("10.0.1.1", "8.8.8.8", tcp_flags=0x10, retransmission=False),
            between("8.8.8.8", "10.0.1.1", ip_protocol=17, dns_response=True, dns_rcode=3),
            between("8.8.8.8", "10.0.1.1", ip_protocol=17, dns_response=True, dns_rcode=0),
            between("8.8.8.8", "10.0.1.1", ip_protocol=17, dns_response=True),
            between("10.0.1.1", "8.8.8.8", ip_protocol=17, dns_response=False),
            between("10.0.1.1", "8.8.8.8", ip_protocol=17, dns_response=False, dns_unanswered=True, packets=0, bytes=0),
        ]
    )

    assert stand.totals("resets") == {(web(), WORLD): 2}
    assert stand.totals("retransmits") == {(web(), WORLD): 3}
    assert stand.totals("dns_failures") == {(web(), WORLD): 1}
    assert stand.totals() == {(web(), WORLD): 7, (WORLD, web()): 3}


def test_a_connection_that_nobody_answers_counts_under_who_asked():
    """Once, on its source's node, however often and on however many interfaces it is seen; not if it is answered."""
    aggregator = Aggregator(networks.parse("10.0.0.0/8"), 100)
    stand = Stand()
    stand.workloads = Workloads(
        networks.parse("10.0.0.0/8"), 100, stand.collectors, conversations=aggregator.conversations
    )
    stand.workloads.use(IdentityTable(BINDINGS), living(BINDINGS))

    def see(rows, name, interface):
        made = batch(rows)
        envelope = Envelope(name, "b", 1, interface, "interface", len(made), len(made), 0, 0, 0)
        stand.workloads.see(envelope, made, *aggregator.fold(envelope, made))

    def syn(target, port, time):
        return between("10.0.1.1", target, src_port=port, dst_port=80, tcp_flags=2, time=NOW + time * SECOND)

    answer = between("10.0.2.1", "10.0.1.1", src_port=80, dst_port=3, tcp_flags=0x12, time=NOW + SECOND)
    late = between("8.8.8.8", "10.0.1.1", src_port=1, dst_port=2, tcp_flags=0x10, time=NOW + 30 * SECOND)
    for name, interface in (("node-a", "veth1"), ("node-a", "eth0"), ("node-b", "eth0")):
        see([syn("10.0.2.1", 1, 0), syn("10.0.2.1", 1, 1), syn("10.0.2.1", 2, 0)], name, interface)
        see([syn("10.0.2.1", 3, 0), answer, syn("10.96.0.1", 4, 0), syn("8.8.8.8", 5, 0)], name, interface)
    for name in ("node-a", "node-b"):
        see([late], name, "eth0")

    assert stand.totals("unanswered") == {(web(), DB): 2, (web(), WORLD): 1}


def test_a_flood_of_attempts_is_counted_whole():
    """More unanswered attempts than are noted at a time, and more pairs than are gathered at a time."""
    aggregator = Aggregator(networks.parse("10.0.0.0/8"), 100)
    workloads = Workloads(networks.parse("10.0.0.0/8"), 100, Collectors(), conversations=aggregator.conversations)
    rows = [
        between("10.0.0.1", "8.8.8.8", src_port=port, dst_port=80, tcp_flags=2, time=NOW) for port in range(1, 5001)
    ]
    rows.append(between("10.0.0.1", "8.8.8.8", tcp_flags=0x10, time=NOW + 20 * SECOND))
    made = batch(rows)
    envelope = Envelope("node-a", "b", 1, "eth0", "interface", len(made), len(made), 0, 0, 0)
    workloads.see(envelope, made, *aggregator.fold(envelope, made))
    workloads.flush()

    assert workloads.tables.unanswered.published(0) == [5000]


def test_what_has_no_address_and_what_is_skipped_is_left():
    """Counted by reason, so that the sums stay whole."""
    stand = Stand()
    stand.see([{"ip_version": None, "ip_protocol": None, "eth_type": 0x0806}])
    stand.workloads.pass_over(Envelope("node-a", "b", 2, "eth0", "interface", 5, 7, 700, 0, 0))

    assert stand.left() == {"no_address": 1, "skipped": 7}
    assert stand.workloads.left[REASONS.index("skipped"), 1] == 700


def test_without_identities_there_is_inside_and_outside():
    """No Kubernetes, no file: still one count for each packet seen."""
    stand = Stand(())
    stand.see([between("10.0.1.1", "8.8.8.8"), between("10.0.1.1", "10.0.2.1")])

    assert stand.totals() == {(UNKNOWN, WORLD): 1, (UNKNOWN, UNKNOWN): 1}


def test_series_of_a_workload_that_is_gone_are_folded():
    """Its total moves to __other__, the others stay, and what comes late has a series until the next look."""
    stand = Stand()
    stand.see([between("10.0.1.1", "10.0.2.1"), between("10.0.1.1", "8.8.8.8", tcp_flags=4)])
    stand.workloads.use(IdentityTable(BINDINGS), living([each for each in BINDINGS if each.workload != "db"]))
    stand.workloads.rebalance(100.0)
    other = ("__other__",) * 3

    assert stand.totals() == {(other, other): 1, (web(), WORLD): 1}
    stand.see([between("10.0.1.1", "10.0.2.1")])
    assert stand.totals() == {(other, other): 1, (web(), WORLD): 1, (web(), DB): 1}
    stand.workloads.rebalance(200.0)
    assert stand.totals() == {(other, other): 2, (web(), WORLD): 1}
    stand.check_whole()


def test_new_names_do_not_touch_what_was_counted():
    """Sums that wait when the names change are entered under the old ones."""
    stand = Stand()
    stand.see([between("10.0.1.1", "8.8.8.8")])
    renamed = [pod("10.0.1.1", "db")]
    stand.workloads.use(IdentityTable(renamed), living(renamed))
    stand.see([between("10.0.1.1", "8.8.8.8")])

    assert stand.totals() == {(web(), WORLD): 1, (DB, WORLD): 1}


ADDRESSES = st.sampled_from(
    ["10.0.1.1", "10.0.2.1", "10.0.3.1", "10.96.0.1", "192.168.0.1", "10.9.9.9", "8.8.8.8", "2001:db8::1"]
)
ROWS = st.lists(
    st.builds(
        lambda source, destination, time, packets: between(
            source, destination, time=NOW + time * SECOND, packets=packets, bytes=packets * 100
        ),
        ADDRESSES,
        ADDRESSES,
        st.integers(0, 40),
        st.integers(1, 9),
    ),
    max_size=12,
)
BATCHES = st.lists(
    st.tuples(st.sampled_from(["node-a", "node-b", "node-c"]), st.sampled_from(["eth0", "veth1", "cni0"]), ROWS),
    max_size=6,
)


def slow_twin(batches):
    """Count row by row with the rules as they are written down."""
    homes = {each.ip: each for each in BINDINGS}
    elected, counted, left = {}, Counter(), Counter()
    heard = {"node-a", "node-b"}

    def name(ip):
        found = homes.get(ip)
        if found is not None:
            return (found.namespace, found.workload, found.workload_kind)
        return UNKNOWN if ip.startswith(("10.", "192.168.")) else WORLD

    for node_name, interface, rows in batches:
        heard.add(node_name)
        for row in rows:
            ends = [homes.get(row[side]) for side in ("src_ip", "dst_ip")]
            homes_known = [each.node for each in ends if each is not None and each.node in heard]
            pair = (node_name, row["src_ip"], row["dst_ip"])
            if any(each is not None and each.object == "service" for each in ends):
                left["service_address"] += row["packets"]
            elif homes_known and homes_known[0] != node_name:
                left["other_node"] += row["packets"]
            else:
                best = elected.get(pair)
                if best is not None and best[0] != interface:
                    quiet = row["time"] - best[1]
                    if quiet <= 0 or (rank(interface) >= rank(best[0]) and quiet < IDLE):
                        left["other_interface"] += row["packets"]
                        continue
                    best = None
                elected[pair] = (interface, max(row["time"], best[1]) if best else row["time"])
                counted[name(row["src_ip"]), name(row["dst_ip"])] += row["packets"]
    return dict(counted), dict(left)


@given(BATCHES)
def test_counts_are_those_of_the_slow_twin(batches):
    """Any rows, on any node and interface, in any order."""
    stand = Stand()
    for name, interface, rows in batches:
        stand.see(rows, name, interface)
    counted, left = slow_twin(batches)

    assert stand.totals() == counted
    assert stand.left() == left
    stand.check_whole()


def test_more_pairs_than_are_remembered():
    """The older half is forgotten; the others keep their interface."""
    observation = Observation(capacity=8)
    stand = Stand()
    stand.workloads._observation = observation
    for number in range(40):
        for interface in ("veth1", "eth0"):
            stand.see([between(f"10.8.0.{number}", "8.8.8.8", time=NOW + number * SECOND)], interface=interface)

    assert stand.totals() == {(UNKNOWN, WORLD): 40}
    assert int(observation.elections.state[0]) <= 8


def test_a_million_pods_and_addresses_keep_to_the_budget():
    """Series within the budget, memory flat, packets and bytes exact, whatever number of workloads come and go."""
    budget, each = 500, 8192
    stand = Stand((), budget=budget, collectors=())
    made = batch([between("10.0.0.0", "8.8.8.8")] * each)
    template = columns.read(made)
    sizes = np.arange(each, dtype=np.int64) % 1400 + 60
    sizes.flags.writeable = False

    def feed(number):
        first = number * each
        bindings = [
            pod(f"10.{position >> 16}.{position >> 8 & 255}.{position & 255}", f"w{position}")
            for position in range(first, first + each, 64)
        ]
        stand.workloads.use(IdentityTable(bindings), living(bindings))
        positions = np.arange(first, first + each, dtype=np.uint32)
        packed = np.zeros((each, 16), np.uint8)
        packed[:, 10:12], packed[:, 12:] = 255, (positions + 0x0A000000).byteswap().view(np.uint8).reshape(-1, 4)
        source = packed.view(np.uint64)
        source.flags.writeable = False
        read = template._replace(source=source, bytes=sizes)
        envelope = Envelope("node-a", "b", 1, "eth0", "interface", each, each, 0, 0, 0)
        stand.workloads.see(envelope, made, read, None)
        stand.workloads.rebalance(number * 6.0)

    for number in range(20):
        feed(number)
    tracemalloc.start()
    for number in range(20, 40):
        feed(number)
    before = tracemalloc.get_traced_memory()[0]
    for number in range(40, 60):
        feed(number)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    for number in range(60, 128):
        feed(number)
    stand.workloads.flush()
    table = stand.workloads.tables.traffic

    assert table.active <= budget
    assert len(table.published_keys()) <= budget
    assert sum(table.published(0)) == 128 * each
    assert sum(table.published(1)) == 128 * int(sizes.sum())
    assert table.removals > 10_000
    assert grown < 2_000_000
    assert words.OTHER in {key[0] for key in table.published_keys()}
