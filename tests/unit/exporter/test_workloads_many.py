"""Any rows and any number of them: the counts of a slow twin, within budget and memory."""

from __future__ import annotations

import tracemalloc
from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.exporter import columns, words
from services.exporter.observation import IDLE, SETTLED, Observation
from streamgauge.identity.table import IdentityTable
from streamgauge.observation import rank
from streamgauge.subjects import Envelope
from tests.support.workloads import BINDINGS, NOW, SECOND, UNKNOWN, WORLD, Stand, batch, between, living, pod

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
    seen = {}
    heard = {"node-a", "node-b"}

    def name(ip):
        found = homes.get(ip)
        if found is not None:
            return (found.namespace, found.workload, found.workload_kind)
        return UNKNOWN if ip.startswith(("10.", "192.168.")) else WORLD

    for node_name, interface, rows in batches:
        heard.add(node_name)
        last = max((row["time"] for row in rows), default=0)
        first, alone, since, until = seen.get(node_name, (interface, True, last, 0))
        alone = alone and first == interface
        only = alone and last - since >= SETTLED
        until = max(until, last) if only else until
        seen[node_name] = (first, alone, since, until)
        for row in rows:
            ends = [homes.get(row[side]) for side in ("src_ip", "dst_ip")]
            homes_known = [each.node for each in ends if each is not None and each.node in heard]
            pair = (node_name, row["src_ip"], row["dst_ip"])
            if any(each is not None and each.object == "service" for each in ends):
                left["service_address"] += row["packets"]
            elif homes_known and homes_known[0] != node_name:
                left["other_node"] += row["packets"]
            elif first != interface and row["time"] <= until:
                left["other_interface"] += row["packets"]
            elif only:
                counted[name(row["src_ip"]), name(row["dst_ip"])] += row["packets"]
            else:
                best = elected.get(pair)
                if best is not None and best[0] != interface:
                    quiet = row["time"] - best[1]
                    if quiet <= 0 or (rank(interface, "interface") >= rank(best[0], "interface") and quiet < IDLE):
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
