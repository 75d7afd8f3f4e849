"""From the API server to /metrics, to the bucket and back: pods come and go while packets are counted."""

from __future__ import annotations

import time
from collections import Counter

import pyarrow as pa
import pytest

from services.exporter import identity_publisher
from streamgauge.identity import bindings
from streamgauge.identity.table import IdentityTable
from tests.support import apiserver
from tests.support.backup import Running, tables
from tests.support.cluster import Sender, stored_events
from tests.support.waiting import eventually
from tests.support.workloads import between

pytestmark = pytest.mark.live

SECOND = 10**9
WORLD = "8.8.8.8"


async def pairs(running, name="workload_packets_total"):
    """Scrape; return a family by (source, destination) as ``namespace/workload``."""
    found = Counter()
    for (family, labels), value in (await running.samples()).items():
        if family == name:
            own = dict(labels)
            ends = [f"{own[f'{side}_namespace']}/{own[f'{side}_workload']}" for side in ("source", "destination")]
            found[tuple(ends)] += value
    return dict(found)


def packet(source, destination, when=None, **values):
    return between(source, destination, time=time.time_ns() if when is None else when, **values)


def cluster(server):
    """Two nodes with a pod each, one on its node's network, a service."""
    server.put("nodes", apiserver.node("node-a", "192.168.0.1", podCIDRs=["10.42.0.0/24"]))
    server.put("nodes", apiserver.node("node-b", "192.168.0.2", podCIDRs=["10.42.1.0/24"]))
    server.put("pods", apiserver.deployed("web", "10.42.0.7"))
    server.put("pods", apiserver.deployed("db", "10.42.1.7", node="node-b"))
    server.put(
        "pods", apiserver.pod("proxy-1", "192.168.0.1", owner=("DaemonSet", "proxy"), spec={"hostNetwork": True})
    )
    server.put("services", apiserver.service("db", "10.96.0.7"))


async def names(running, expected, *, within=10.0):
    """Wait until the exporter's table has so many living bindings, and what was counted with it shows."""
    identity = running.exporter.identity
    await eventually(lambda: sum(identity.book.counts().values()) == expected, within=within)
    await eventually(lambda: identity._built[0] == identity.book.generation)


async def test_traffic_is_counted_under_the_names_of_the_cluster(bus, server, run_exporter):
    """Pods, a node, the world; a pod on its node's network is the node; a service's address is left to the pods'."""
    cluster(server)
    async with run_exporter(kubeconfig=server.kubeconfig()) as running:
        await names(running, 10)
        here, there = Sender(bus.jetstream), Sender(bus.jetstream, "node-b")
        rows = [
            packet("10.42.0.7", "10.42.1.7", packets=5, bytes=5000),
            packet("10.42.0.7", "10.96.0.7"),
            packet("192.168.0.1", "10.42.0.7"),
            packet("10.42.0.1", "10.42.0.7"),
            packet("10.42.0.7", WORLD),
            packet("10.42.0.99", WORLD),
        ]
        await here.send(*rows)
        await there.send(rows[0])

        expected = {
            ("shop/web", "shop/db"): 5,
            ("/node-a", "shop/web"): 2,
            ("shop/web", "__world__/__world__"): 1,
            ("__unknown__/__unknown__", "__world__/__world__"): 1,
        }

        async def counted():
            assert await pairs(running) == expected
            return await running.by("workload_uncounted_packets_total", "reason")

        left = await eventually(counted)
        await eventually(lambda: running.exporter.consumer.progress.counted == 2)
        left = await running.by("workload_uncounted_packets_total", "reason")
        assert {reason: value for reason, value in left.items() if value} == {"service_address": 1, "other_node": 5}
        assert await running.total("packets_total") == sum(expected.values()) + sum(left.values())
        assert (await pairs(running, "workload_bytes_total"))["shop/web", "shop/db"] == 5000
        assert await running.by("identity_watch_connected", "resource") == {"pods": 1, "services": 1, "nodes": 1}
        assert await running.by("identity_bindings", "resource") == {"pods": 3, "services": 1, "nodes": 6}


async def test_an_address_used_again_within_seconds(bus, server, run_exporter):
    """Each packet is its own pod's, also one that comes late; the series of the pod that is gone leave with a total."""
    cluster(server)
    async with run_exporter(kubeconfig=server.kubeconfig()) as running:
        await names(running, 10)
        sender = Sender(bus.jetstream)
        old = time.time_ns()
        await sender.send(packet("10.42.0.7", WORLD))
        server.delete("pods", apiserver.deployed("web", ""))
        ready = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 1))
        status = {"conditions": [{"type": "PodReadyToStartContainers", "status": "True", "lastTransitionTime": ready}]}
        server.put("pods", apiserver.deployed("shop", "10.42.0.7", status=status))
        await eventually(lambda: "shop" in {each.workload for each in running.exporter.identity.book.living()})
        await names(running, 10)
        await sender.send(packet("10.42.0.7", WORLD, time.time_ns() + 2 * SECOND), packet("10.42.0.7", WORLD, old))

        async def folded():
            found = await pairs(running)
            return found == {("shop/shop", "__world__/__world__"): 1, ("__other__/__other__",) * 2: 2}

        await eventually(folded)
        assert await running.total("series_folded_total", metric="streamgauge_workload_packets_total") == 2


async def test_events_are_published_stored_once_and_read_back(
    bus, server, told, run_exporter, nats_settings, s3_settings
):
    """A snapshot at the start, each change, a node that joins; the bucket has them and answers as of any time."""
    cluster(server)
    backup = await Running(nats_settings, s3_settings).start()
    try:
        async with run_exporter(kubeconfig=server.kubeconfig(), cluster="home") as running:
            await eventually(lambda: told.events)
            assert told.events[0].snapshot_size == 10 == len(told.events[0].bindings)
            server.delete("pods", apiserver.deployed("web", ""))
            server.put("pods", apiserver.deployed("shop", "10.42.0.7"))
            server.put("nodes", apiserver.node("node-c", "192.168.0.3"))
            await eventually(
                lambda: told.changes("web-6d5f-1") and told.changes("shop-6d5f-1") and told.changes("node-c")
            )
            relabelled = apiserver.deployed("shop", "10.42.0.7")
            relabelled["metadata"]["labels"]["tier"] = "front"
            server.put("pods", relabelled)
            server.cut()
            server.put("nodes", apiserver.node("node-d", "192.168.0.4"))
            await eventually(lambda: told.changes("node-d"))
            assert len(told.changes("shop-6d5f-1")) == 1
            assert running.exporter.identity.publisher.waiting == 0
        expected = sum(len(event.bindings) for event in told.events)

        async def stored():
            found = await tables(backup.store, "identity")
            return found if sum(table.num_rows for table in found.values()) >= expected else None

        found = await eventually(stored)
    finally:
        await backup.stop()
    events = pa.concat_tables(table.unify_dictionaries() for table in found.values())
    assert events.num_rows == expected
    assert all("/date=" in key and key.startswith("identity/v1/") for key in found)

    folded = bindings.fold(events)
    assert set(folded["cluster"].to_pylist()) == {"home"}
    listed = bindings.to_list(folded)
    (gone,) = [each for each in listed if each.name == "web-6d5f-1"]
    assert gone.valid_to is not None
    table = IdentityTable(listed)
    asked = ["10.42.0.7", "10.42.0.7", "192.168.0.1", "10.96.0.7", "192.168.0.4"]
    moments = [gone.valid_from, gone.valid_from - 60 * SECOND, gone.valid_to, gone.valid_to, gone.valid_to]
    owners = table.resolve_text(asked, moments)
    assert [owner.workload if owner else None for owner in owners][1:4] == [None, "node-a", "db"]
    assert owners[4] is not None


async def test_a_snapshot_ends_what_went_while_nobody_watched(bus, server, told, run_exporter):
    """The exporter is away while a pod goes: the next snapshot does not have it, and that is how it ends."""
    cluster(server)
    async with run_exporter(kubeconfig=server.kubeconfig()):
        await eventually(lambda: told.events)
    server.delete("pods", apiserver.deployed("web", ""))
    async with run_exporter(kubeconfig=server.kubeconfig()):
        await eventually(lambda: len(told.events) > 1)
    rows = [row for number, event in enumerate(told.events) for row in event.rows(number)]
    listed = bindings.to_list(bindings.fold(pa.Table.from_pylist(rows, schema=bindings.STORED_SCHEMA)))

    assert {each.name: each.valid_to for each in listed if each.valid_to is not None} == {
        "web-6d5f-1": told.events[1].snapshot
    }


async def test_changes_wait_while_nats_is_away(bus, server, told, nats_server, nats_settings, run_exporter):
    """Nothing is lost and nothing told twice; past the bound a snapshot takes its place."""
    cluster(server)
    async with run_exporter(kubeconfig=server.kubeconfig()) as running:
        publisher = running.exporter.identity.publisher
        await eventually(lambda: told.events and publisher.published)
        nats_server.stop()
        server.put("pods", apiserver.deployed("late", "10.42.0.20"))
        await eventually(lambda: "late" in {each.workload for each in running.exporter.identity.book.living()})
        nats_server.start()

        async def stored():
            found = await stored_events(bus, nats_settings.stream)
            return [each for event in found if event.snapshot is None for each in event.bindings]

        assert [each.workload for each in await eventually(stored, within=30)] == ["late"]


async def test_too_many_waiting_changes_become_a_snapshot(server, bus, told, run_exporter, monkeypatch):
    """What waits is bounded: it is given up and counted, and everything that holds is told instead."""
    monkeypatch.setattr(identity_publisher, "MOST_WAITING", 3)
    monkeypatch.setattr(identity_publisher, "_GATHER", 0.3)
    cluster(server)
    async with run_exporter(kubeconfig=server.kubeconfig()) as running:
        await eventually(lambda: told.events)
        for number in range(6):
            server.put("pods", apiserver.deployed(f"w{number}", f"10.42.0.{100 + number}"))
        await eventually(lambda: any(event.snapshot_size == 16 for event in told.events))

        assert running.exporter.identity.publisher.given_up >= 4


async def test_only_the_replica_with_the_first_shard_publishes(server, told, run_exporter, nats_settings):
    """The others watch as well, for their own counts."""
    cluster(server)
    async with run_exporter(kubeconfig=server.kubeconfig(), replica=1, replicas=2) as running:
        await names(running, 10)
        assert not running.exporter.identity._publishes
    assert told.events == []


async def test_an_api_server_that_is_away_costs_names_and_nothing_else(bus, server, run_exporter, monkeypatch):
    """Packets are counted from the start; the names come with the server."""
    monkeypatch.setattr("services.exporter.identity.FIRST_LISTS", 0.2)
    cluster(server)
    server.refusing = [503] * 12
    async with run_exporter(kubeconfig=server.kubeconfig()) as running:
        sender = Sender(bus.jetstream)
        await sender.send(packet("10.42.0.7", WORLD))
        await names(running, 10)
        await sender.send(packet("10.42.0.7", WORLD))

        async def both():
            return sum((await pairs(running)).values()) == 2

        await eventually(both)
        assert (await pairs(running))["shop/web", "__world__/__world__"] >= 1


async def test_names_from_a_file_without_kubernetes(bus, scratch, run_exporter):
    """Read anew when it changes; a change that is wrong leaves the former names and says so."""
    path = scratch / "labels.csv"
    path.write_text("10.1.0.0/16,office,laptops\n")
    async with run_exporter(labels=path) as running:
        sender = Sender(bus.jetstream)
        await sender.send(packet("10.1.2.3", WORLD))
        await eventually(lambda: running.exporter.consumer.progress.counted == 1)
        path.write_text("10.1.0.0/16,office\n")

        async def refused():
            return await running.total("identity_labels_good") == 0

        await eventually(refused)
        await sender.send(packet("10.1.2.3", WORLD))
        await eventually(lambda: running.exporter.consumer.progress.counted == 2)
        path.write_text("10.1.0.0/16,office,laptops\n10.1.2.3,office,printer\n")

        async def renamed():
            return await running.total("identity_labels_good") == 1

        await eventually(renamed)
        await sender.send(packet("10.1.2.3", WORLD))

        async def counted():
            return await pairs(running) == {
                ("office/laptops", "__world__/__world__"): 2,
                ("office/printer", "__world__/__world__"): 1,
            }

        await eventually(counted)
        assert await running.by("identity_bindings", "resource") == {}
