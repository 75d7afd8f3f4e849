"""Who talks to whom: each packet once, under the names its addresses had at its time."""

from __future__ import annotations

import pytest

from services.exporter import networks
from services.exporter.aggregate import Aggregator
from services.exporter.observation import IDLE, REASONS, Collectors
from services.exporter.workloads import Workloads
from streamgauge.identity.table import IdentityTable
from streamgauge.observation import rank
from streamgauge.subjects import Envelope
from tests.support.workloads import BINDINGS, DB, NOW, SECOND, UNKNOWN, WORLD, Stand, batch, between, living, pod, web


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
    translated = [between("10.0.1.1", "10.0.1.2", time=NOW + 1), between("10.0.1.2", "10.0.1.1", time=NOW + 1)]
    stand.see(translated, interface="veth2")

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


def test_new_names_leave_the_choice_of_interfaces():
    """A pod comes between the batches of two interfaces: the packets still count once."""
    stand = Stand(())
    for start, table in ((0, ()), (1, BINDINGS), (2, BINDINGS[:1])):
        for interface in ("eth0", "veth1"):
            stand.see([between("10.8.0.1", "8.8.8.8", time=NOW + start * SECOND)], interface=interface)
            stand.workloads.use(IdentityTable(table), living(table))

    assert stand.totals() == {(UNKNOWN, WORLD): 3}
    assert stand.left() == {"other_interface": 3}


def test_a_pair_that_moves_to_another_interface_is_followed():
    """No better one, but the old one has not seen the pair for ten seconds."""
    stand = Stand()
    stand.see([between("10.0.1.1", "8.8.8.8", time=NOW - 2)], interface="eth1")
    stand.see([between("10.0.1.1", "8.8.4.4", time=NOW - 1)], interface="eth0")
    stand.see([between("10.0.1.1", "10.0.2.1", time=NOW)], interface="eth0")
    stand.see([between("10.0.1.1", "10.0.2.1", time=NOW + IDLE - 1)], interface="eth1")
    stand.see([between("10.0.1.1", "10.0.2.1", time=NOW + IDLE)], interface="eth1")

    assert stand.totals() == {(web(), DB): 2, (web(), WORLD): 2}
    assert stand.left() == {"other_interface": 1}


def test_interfaces_have_ranks_by_their_names():
    """A pod's end, the way out, and what only carries."""
    assert [rank(name, "interface") for name in ("veth12ab", "cali9f2", "lxc_health")] == [0, 0, 0]
    assert [rank(name, "interface") for name in ("eth0", "ens5", "bond0", "enp1s0.20", "lo")] == [1] * 5
    assert [rank(name, "interface") for name in ("cni0", "flannel.1", "docker0", "br-4f1", "cilium_host", "any")] == [
        2
    ] * 6


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
