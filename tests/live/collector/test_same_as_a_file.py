"""A ring's rows beside those of tcpdump's file of the same packets: the same in every column, the time included."""

from __future__ import annotations

import subprocess
import threading

import pytest

from services.collector.sources.ring import RingSource
from streamgauge import encode
from streamgauge.decode import Decoder
from streamgauge.decode.capture_file import open_capture
from streamgauge.rows import Rows
from streamgauge.settings import CollectorSettings
from tests.live.collector.collecting import frame, send_frames
from tests.support import packets, require
from tests.support.waiting import eventually_sync

pytestmark = [pytest.mark.live, pytest.mark.netns]

#: Of which the kernel takes off the first, by one of two Ethertypes; of priority alone, with a priority, stacked.
TAGS = [
    (),
    ((0x8100, 100),),
    ((0x8100, 0),),
    ((0x8100, 0xE005),),
    ((0x88A8, 200), (0x8100, 300)),
    ((0x9100, 9), (0x8100, 10)),
    ((0x8100, 1), (0x8100, 2), (0x8100, 3)),
]
FRAMES = [
    *(frame(number, tags=tags) for number, tags in enumerate(TAGS)),
    packets.ethernet(0x0800, packets.ipv4(17, packets.udp(b"j" * 1400)), tags=TAGS[4]),
    packets.ethernet(60, packets.snap(0x86DD, packets.ipv6(17, packets.udp(packets.dns())))),
    packets.ethernet(0x8864, packets.pppoe(packets.ipv6(6, packets.tcp(b"x")), number=b"\0\x57")),
    packets.ethernet(0x8847, packets.mpls(16, 17) + packets.ipv4(6, packets.tcp(b"x"))),
    frame(1)[:30],
]


def rows_of(blocks):
    rows, decoder = Rows(4 * len(FRAMES)), Decoder()
    for data, index, first, last in blocks:
        decoder.decode(data, index, first, last, rows)
    return encode.to_arrow(rows, encode.Origin("node", "interface")).to_pylist()


@pytest.mark.parametrize("snaplen", [0, 64])
def test_rows_are_those_of_the_file(wire, scratch, snaplen):
    """Time, tag and lengths; of a packet that is cut, too, whose tag the kernel holds beside it."""
    require.program("tcpdump")
    path, stop, found = scratch / "same.pcap", threading.Event(), []
    source = RingSource(CollectorSettings(interface=wire.here, snaplen=snaplen))
    source.open()
    blocks = (block[:4] for block in source.blocks(stop))
    reader = threading.Thread(target=lambda: found.extend(rows_of(blocks)))
    reader.start()
    how = ("--time-stamp-precision=nano", "-s", str(snaplen), "-c", str(len(FRAMES)))
    command = ["tcpdump", "-i", wire.here, "-Z", "root", *how, "-w", path]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tcpdump:
        try:
            eventually_sync(lambda: "listening on" in tcpdump.stderr.readline(), within=30)
            send_frames(wire.there, FRAMES, namespace=wire.namespace)
            tcpdump.wait(30)
            eventually_sync(lambda: source.counts().received == len(FRAMES), within=30)
        finally:
            tcpdump.kill()
            stop.set()
            reader.join()
            source.close()
    with open_capture(path) as capture:
        expected = rows_of((data, index, 0, count) for data, index, count in capture.blocks())

    assert len(found) == len(FRAMES)
    assert found == expected
