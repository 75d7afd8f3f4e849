"""Each wrong input is answered by one line that says what and how to mend it, and the right exit status."""

from __future__ import annotations

import os
import socket

import pytest

from streamgauge.embedded import free_ports
from tests.live.collector.collecting import CollectorProcess, frame, write_pcap
from tests.support import require

pytestmark = pytest.mark.live


@pytest.fixture(name="nowhere")
def _nowhere():
    return f"nats://127.0.0.1:{free_ports(1)[0]}"


def one_line(outcome):
    status, lines = outcome
    assert len(lines) == 1, lines
    assert "Traceback" not in lines[0]
    return status, lines[0]


@pytest.mark.parametrize(
    ("settings", "status", "words"),
    [
        ({"source": "file", "file": "/nosuch.pcap"}, 1, "/nosuch.pcap: cannot be opened: No such file"),
        ({"source": "file", "file": "/etc/passwd"}, 1, "/etc/passwd: not a capture file"),
        ({"interface": "nosuch0"}, 1, "no interface nosuch0; there are: any (all of them), "),
        ({"interface": "lo", "filter": "udp prot"}, 2, "STREAMGAUGE_COLLECTOR_FILTER=udp prot: libpcap says: "),
        ({"source": "scapy", "interface": "nosuch0"}, 1, "scapy: no interface nosuch0; there are: lo"),
        ({"nosuch": "1"}, 2, "STREAMGAUGE_COLLECTOR_NOSUCH is no setting"),
        ({"batch_rows": "many"}, 2, "STREAMGAUGE_COLLECTOR_BATCH_ROWS=many: "),
    ],
)
def test_a_wrong_setting(scratch, nowhere, settings, status, words):
    """A source that cannot be read, or a setting that cannot be, ends the start."""
    if settings.get("source") == "scapy":
        pytest.importorskip("scapy")
    outcome = one_line(CollectorProcess(scratch, nats_url=nowhere, **settings).run())

    assert outcome[0] == status
    assert outcome[1].startswith(f"streamgauge: {words}")


def test_a_wrong_interface_is_the_only_line(scratch, nats_server):
    """Nothing was started that would have said so before."""
    process = CollectorProcess(scratch, nats_url=nats_server.url, interface="nosuch0")
    process.run()

    (line,) = process.log.read_text().splitlines()
    assert line.startswith("streamgauge: no interface nosuch0; there are: ")


def test_a_wrong_nats_url(scratch):
    """An address that is none is a fault of the configuration."""
    outcome = one_line(CollectorProcess(scratch, nats_url="localhost:4222").run())

    assert outcome[0] == 2
    assert "STREAMGAUGE_NATS_URL=localhost:4222" in outcome[1]
    assert "nats://host:4222" in outcome[1]


def test_the_port_is_in_use(scratch, nats_server):
    """A taken port is told with its number."""
    path = write_pcap(scratch / "a.pcap", [frame(1)])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        outcome = one_line(
            CollectorProcess(scratch, nats_url=nats_server.url, source="file", file=path, port=port).run()
        )

    assert outcome[0] == 2
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in outcome[1]


def test_no_permission_to_capture(scratch, nowhere):
    """Without NET_RAW the line names the capability and how to get it."""
    require.root()
    prefix = (require.program("setpriv"), "--bounding-set=-net_raw", "--inh-caps=-all", "--no-new-privs")
    outcome = one_line(CollectorProcess(scratch, nats_url=nowhere, interface="lo", prefix=prefix).run())

    assert outcome[0] == 1
    for words in ("CAP_NET_RAW", "sudo", "--cap-add NET_RAW", "securityContext.capabilities.add"):
        assert words in outcome[1]


def test_check_answers_in_one_line(scratch, nats_server, nowhere):
    """``--check`` tries source and NATS, changes nothing, and says what it found."""
    path = write_pcap(scratch / "a.pcap", [frame(1)])
    good = one_line(CollectorProcess(scratch, nats_url=nats_server.url, source="file", file=path).run("--check"))
    away = one_line(CollectorProcess(scratch, nats_url=nowhere, source="file", file=path).run("--check"))

    assert good == (0, "configuration is good: source file can be read, NATS has stream TRAFFIC")
    assert away[0] == 1
    assert f"cannot reach NATS at {nowhere}" in away[1]


def test_dump_masks_secrets(scratch, nowhere, monkeypatch):
    """``--dump`` prints every effective setting and no secret."""
    monkeypatch.setitem(os.environ, "STREAMGAUGE_NATS_PASSWORD", "very-private-words")
    status, lines = CollectorProcess(scratch, nats_url=nowhere).run("--dump")

    assert status == 0
    assert "STREAMGAUGE_COLLECTOR_NODE=node-a" in lines
    assert "STREAMGAUGE_NATS_PASSWORD=********" in lines
    assert not any("very-private-words" in line for line in lines)


def test_settings_are_options_too(scratch, nowhere, monkeypatch):
    """An option outdoes its variable; a wrong one is named like the variable it stands for."""
    monkeypatch.setitem(os.environ, "STREAMGAUGE_COLLECTOR_WORKERS", "3")
    collector = CollectorProcess(scratch, nats_url=nowhere)
    status, lines = collector.run("--dump", "--workers", "2", "--no-decapsulate", "--community-id")
    wrong = collector.run("--dump", "--workers", "none")
    short, said = collector.run("--dump", "--work", "2")

    assert status == 0
    assert (short, said[-1]) == (2, "collector: error: unrecognized arguments: --work 2")
    for name, value in (("WORKERS", "2"), ("DECAPSULATE", "False"), ("COMMUNITY_ID", "True"), ("NODE", "node-a")):
        assert f"STREAMGAUGE_COLLECTOR_{name}={value}" in lines
    assert wrong[0] == 2
    assert wrong[1][0].startswith("streamgauge: STREAMGAUGE_COLLECTOR_WORKERS=none: ")
