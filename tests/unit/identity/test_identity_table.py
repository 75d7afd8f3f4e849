"""Who had an address when: the compiled table beside a slow and obvious twin."""

from __future__ import annotations

import ipaddress

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.identity.events import Binding
from streamgauge.identity.table import GRACE, IdentityTable, Network, Owner

SECOND = 10**9


def pod(ip: str, name: str, start: int, end: int | None = None, **values) -> Binding:
    """Return a binding; times are in seconds."""
    own = {"object": "pod", "uid": name, "namespace": "shop", "workload": name, "workload_kind": "Deployment", **values}
    return Binding(
        ip=ip,
        name=name,
        node=own.pop("node", "node-a"),
        host_network=own.pop("host_network", False),
        valid_from=start * SECOND,
        valid_to=None if end is None else end * SECOND,
        **own,
    )


def node(ip: str, name: str, start: int = 0) -> Binding:
    return pod(ip, name, start, object="node", namespace="", workload_kind="Node", node=name)


def who(table: IdentityTable, ip: str, *seconds: float) -> list[str]:
    """Return the workloads that had an address at these times."""
    found = table.resolve_text([ip] * len(seconds), [round(second * SECOND) for second in seconds])
    return [owner.workload if owner else "-" for owner in found]


def test_a_pod_has_its_address_from_when_to_when() -> None:
    """A little longer on both sides, where nobody else has it."""
    table = IdentityTable([pod("10.0.0.7", "web", 100, 200)])

    assert who(table, "10.0.0.7", 94.9, 95, 100, 199, 204.9, 205) == ["-", "web", "web", "web", "web", "-"]
    assert who(table, "10.0.0.8", 150) == ["-"]


def test_an_address_used_again_within_seconds_is_told_apart() -> None:
    """The second pod has the address from its beginning, whatever was heard of the end of the first."""
    for end in (198, 200, 203, None):
        table = IdentityTable([pod("10.0.0.7", "old", 100, end), pod("10.0.0.7", "new", 200)])
        assert who(table, "10.0.0.7", 150, 197.9, 200, 300) == ["old", "old", "new", "new"]


def test_between_two_pods_nobody_has_it() -> None:
    """What is late belongs to the first, what is early to the second, the rest to nobody."""
    table = IdentityTable([pod("10.0.0.7", "old", 100, 200), pod("10.0.0.7", "new", 220)])

    assert who(table, "10.0.0.7", 204, 210, 216) == ["old", "-", "new"]


def test_a_pod_that_ended_does_not_come_back() -> None:
    """A pod of which no end was heard ended when another one got its address, also after that one is gone."""
    table = IdentityTable([pod("10.0.0.7", "old", 100), pod("10.0.0.7", "new", 200, 300)])

    assert who(table, "10.0.0.7", 150, 250, 400) == ["old", "new", "-"]


def test_pods_on_their_node_s_network_are_the_node() -> None:
    """Several pods and the node have one address: it is the node's."""
    table = IdentityTable([pod("192.168.1.5", "kube-proxy", 50, host_network=True), node("192.168.1.5", "node-a")])

    assert who(table, "192.168.1.5", 100) == ["node-a"]
    assert table.owners == [Owner("", "node-a", "Node", "node-a")]


def test_a_pod_goes_before_a_node_and_a_node_before_a_service() -> None:
    """Where an address is claimed by several, the closest to the wire has it."""
    service = pod("10.0.0.7", "vip", 0, object="service", workload_kind="Service", node="")
    table = IdentityTable([pod("10.0.0.7", "web", 100, 200), node("10.0.0.7", "node-a", 90), service])

    assert who(table, "10.0.0.7", 50, 95, 150, 250) == ["vip", "node-a", "web", "node-a"]
    assert [owner.is_service for owner in table.owners] == [False, False, True]


def test_networks_of_a_file_come_last_and_the_longest_first() -> None:
    """An address goes before a network; of equal networks the first line counts."""

    def network(text: str, name: str) -> Network:
        return Network(ipaddress.ip_network(text), Owner("", name, "Host", ""))

    table = IdentityTable(
        [pod("10.0.0.7", "web", 100, 200)],
        [
            network("10.0.0.0/8", "wide"),
            network("10.0.0.0/24", "near"),
            network("10.0.0.0/24", "later"),
            network("10.0.0.9/32", "one"),
            network("2001:db8::/32", "six"),
            network("0.0.0.0/0", "all"),
        ],
    )

    assert who(table, "10.0.0.7", 50, 150, 250) == ["near", "web", "near"]
    assert [who(table, ip, 1) for ip in ("10.9.9.9", "10.0.0.9", "2001:db8::5", "192.0.2.1", "2001:db9::1")] == [
        ["wide"],
        ["one"],
        ["six"],
        ["all"],
        ["-"],
    ]


def test_an_empty_table_knows_nobody() -> None:
    """Without Kubernetes and without a file."""
    assert who(IdentityTable(), "10.0.0.7", 1) == ["-"]
    assert len(IdentityTable().resolve(np.zeros((0, 2), np.uint64), np.zeros(0, np.int64))) == 0


IPS = st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.1.1", "2001:db8::1"])
BINDINGS = st.lists(
    st.builds(
        lambda ip, kind, start, length, number: (
            node(ip, f"n{number}", start)
            if kind == "node"
            else pod(ip, f"{kind}{number}", start, None if length is None else start + length, object=kind)
        ),
        IPS,
        st.sampled_from(["pod", "pod", "pod", "node", "service"]),
        st.integers(20, 120),
        st.one_of(st.none(), st.integers(1, 40)),
        st.integers(0, 10**6),
    ),
    max_size=8,
    unique_by=(lambda each: each.uid, lambda each: (each.ip, each.object, each.valid_from)),
)


def slow_twin(bindings: list[Binding], ip: str, time: int) -> str:
    """Ask each binding by itself: who claims this moment, by rank, then by who began last."""
    ranks = {"service": 0, "node": 1, "pod": 2}
    own = [each for each in bindings if each.ip == ip]

    def end(each: Binding) -> int:
        followers = [other.valid_from for other in own if other.object == each.object]
        later = [start for start in followers if start > each.valid_from]
        return min([1 << 62 if each.valid_to is None else each.valid_to, *later])

    def holder(moment: int) -> Binding | None:
        holding = [each for each in own if each.valid_from <= moment < end(each)]
        return max(holding, key=lambda each: ranks[each.object], default=None)

    found = holder(time)
    if found is None:
        before = [end(each) for each in own if end(each) <= time]
        after = [each.valid_from for each in own if each.valid_from > time]
        if before and time < max(before) + GRACE:
            found = holder(max(before) - 1)
        elif after and time >= min(after) - GRACE:
            found = holder(min(after))
    return found.workload if found else "-"


@given(BINDINGS, st.lists(st.tuples(IPS, st.integers(28, 340)), min_size=1, max_size=20))
def test_the_table_answers_as_its_slow_twin(bindings, questions) -> None:
    """Whatever bindings overlap, end, begin again: at each half second the table says what going through them says."""
    table = IdentityTable(bindings)
    times = [half * SECOND // 2 for _, half in questions]
    found = table.resolve_text([ip for ip, _ in questions], times)
    expected = [slow_twin(bindings, ip, time) for (ip, _), time in zip(questions, times, strict=True)]

    assert expected == [owner.workload if owner else "-" for owner in found]


def test_many_addresses_are_all_found() -> None:
    """A hundred thousand pods, IPv4 and IPv6, each found and nobody else."""
    count = 100_000
    half = np.arange(count, dtype=np.uint64).byteswap()
    addresses = np.stack((np.full(count, 0x20010DB8, np.uint64), half), axis=1)
    table = IdentityTable(
        pod(str(ipaddress.IPv6Address(row.tobytes())), f"w{number}", 0) for number, row in enumerate(addresses[::2])
    )
    found = table.resolve(addresses, np.full(count, SECOND))

    assert np.array_equal(found[::2], np.arange(count // 2))
    assert (found[1::2] == -1).all()
