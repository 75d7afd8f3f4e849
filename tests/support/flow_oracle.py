"""The flow table's slow, obvious twin: rows as dictionaries (``tests.support.decoding``), and no bounds."""

from __future__ import annotations

FIN, SYN, RST, ACK = 1, 2, 4, 16
REORDERING = 3_000_000

#: What the row of an unanswered query repeats of the query's row.
KEPT = ["src_mac", "dst_mac", "eth_type", "vlan", "ip_version", "src_ip", "dst_ip", "ip_protocol", "ttl", "dscp"]
KEPT += ["fragment", "tunnel", "tunnel_id", "src_port", "dst_port", "app", "dns_id", "dns_response", "dns_name"]
KEPT += ["dns_type", "dns_answers"]


def ahead(a, b):
    return (a - b + 2**31) % 2**32 - 2**31


class Side:
    def __init__(self):
        self.initial = self.following = self.timed = self.gap = None


class Connection:
    def __init__(self):
        self.sides = (Side(), Side())
        self.opened = self.opener = self.handshake = None
        self.answered = False


class FlowOracle:
    def __init__(self, *, dns_timeout=5.0):
        self.timeout = int(dns_timeout * 1e9)
        self.connections, self.queries, self.clock = {}, {}, 0

    def fill(self, rows):
        """Return the rows with their health columns, and the rows of queries that nobody answered."""
        filled, unanswered = [], []
        for given in rows:
            row = given | {"time": given["time"] & (2**62 - 1)}
            if row["time"] > self.clock:
                self.clock = row["time"]
                unanswered += self.given_up()
            if "tcp_flags" in row and "src_ip" in row and not row["fragment"]:
                row |= self.tcp(row)
            if "dns_id" in row and "src_ip" in row and row.get("app") == "dns":
                row |= self.dns(row)
            filled.append(row | {"time": given["time"]})
        return filled, unanswered

    def key(self, row):
        ends = [(row["src_ip"], row.get("src_port", 0)), (row["dst_ip"], row.get("dst_port", 0))]
        side = ends[0] > ends[1]
        scope = (row["ip_protocol"], row.get("vlan"), row["tunnel"], row.get("tunnel_id"))
        return (*sorted(ends), *scope), int(side)

    def tcp(self, row):
        key, number = self.key(row)
        connection = self.connections.setdefault(key, Connection())
        flags = row["tcp_flags"]
        health = {
            "retransmission": False,
            "out_of_order": False,
            "zero_window": row["tcp_window"] == 0 and not flags & (SYN | FIN | RST),
        }
        if flags & RST:
            return health
        if flags & SYN:
            self.begin(connection, number, flags, row)
        own = connection.sides[number]
        if flags & ACK:
            health |= self.acknowledge(connection, number, flags, row)
        length = row["payload_bytes"] + bool(flags & SYN) + bool(flags & FIN)
        if length:
            probe = row["payload_bytes"] <= 1 and not flags & (SYN | FIN)
            health |= self.advance(connection, own, row["tcp_seq"], length, probe, row["time"])
        return health

    def begin(self, connection, number, flags, row):
        own = connection.sides[number]
        if own.following is not None and own.initial == row["tcp_seq"]:
            return
        fresh = Side()
        fresh.initial = row["tcp_seq"]
        if not flags & ACK:
            connection.__init__()
            connection.opened, connection.opener = row["time"], number
        elif connection.opener is not None and connection.opener != number and connection.handshake is None:
            connection.answered = True
        connection.sides = (fresh, connection.sides[1]) if number == 0 else (connection.sides[0], fresh)

    def acknowledge(self, connection, number, flags, row):
        found, other = {}, connection.sides[1 - number]
        if other.timed is not None and ahead(row["tcp_ack"], other.timed[1]) >= 0:
            took, other.timed = row["time"] - other.timed[0], None
            if took >= 0:
                found["tcp_rtt"] = took
        if (
            connection.answered
            and connection.handshake is None
            and connection.opener == number
            and not flags & SYN
            and ahead(row["tcp_ack"], other.initial) > 0
        ):
            connection.handshake = max(row["time"] - connection.opened, 0)
            found["tcp_handshake"] = connection.handshake
        return found

    def advance(self, connection, own, seq, length, probe, now):
        end, found = (seq + length) % 2**32, {}
        if own.following is not None and ahead(seq, own.following) < 0:
            if ahead(seq, own.following) == -1 and probe:
                return {}
            found = self.behind(connection, own, seq, end, now)
            if ahead(end, own.following) > 0:
                own.following = end
            return found
        if own.following is not None and seq != own.following:
            start = own.gap[0] if own.gap else own.following
            own.gap = (start, seq, now)
        own.following = end
        if own.timed is None:
            own.timed = (now, end)
        return found

    def behind(self, connection, own, seq, end, now):
        late = False
        if own.gap and ahead(seq, own.gap[0]) >= 0 and ahead(end, own.gap[1]) <= 0:
            start, stop, jumped = own.gap
            late = now - jumped <= (REORDERING if connection.handshake is None else connection.handshake)
            start, stop = (start, seq) if end == stop and seq != start else (end, stop)
            own.gap = (start, stop, jumped) if start != stop else None
        if own.timed is not None and ahead(seq, own.timed[1]) < 0:
            own.timed = None
        return {"out_of_order": True} if late else {"retransmission": True}

    def dns(self, row):
        key = (self.key(row)[0], row["dns_id"])
        if not row["dns_response"]:
            if "dns_name" in row:
                self.queries.setdefault(key, row)
            return {}
        query = self.queries.pop(key, None)
        if query is None or row["time"] < query["time"]:
            return {}
        return {"dns_latency": row["time"] - query["time"]}

    def given_up(self):
        """Take the queries that are too old, in the order in which they were asked, up to one that is not."""
        rows = []
        for key, query in list(self.queries.items()):
            if query["time"] + self.timeout > self.clock:
                break
            del self.queries[key]
            rows.append(unanswered(query, self.timeout))
        return rows


def unanswered(query, timeout):
    return {
        **{name: query[name] for name in KEPT if name in query},
        **dict.fromkeys(("duration", "packets", "bytes", "captured_bytes", "payload_bytes"), 0),
        "time": query["time"] + timeout,
        "dns_name": query["dns_name"][:255],
        "dns_unanswered": True,
        "decode_status": "ok",
    }
