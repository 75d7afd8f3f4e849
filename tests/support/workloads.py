"""A stand for counting by workload: bindings, rows as dictionaries, and what became of them."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa

from services.exporter import columns, networks
from services.exporter.observation import REASONS, Collectors
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
