"""docs/84-adding-a-protocol.md shows the code as it is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support import packets

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "84-adding-a-protocol.md").read_text()


def test_the_example_is_the_code():
    """The file and the line stand in the code letter by letter."""
    file, line = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)

    assert file == (ROOT / "streamgauge" / "decode" / "geneve_kernels.py").read_text()
    assert line in (ROOT / "streamgauge" / "protocols.py").read_text()


def column_of(package: Path, packet: bytes, column: str) -> str:
    """Return what a copy of the package, its kernels as ordinary Python, says of a packet."""
    program = """
import sys
import numpy as np
from streamgauge import encode
from streamgauge.decode import Decoder, new_index
from streamgauge.rows import Rows
data, index, rows = np.frombuffer(bytearray.fromhex(sys.argv[1]), np.uint8), new_index(1), Rows(1)
index.captured[0] = index.wire[0] = len(data)
index.link[0] = 1
Decoder().decode(data, index, 0, 1, rows)
print(encode.to_arrow(rows, encode.Origin("n", "i")).column(sys.argv[2])[0].as_py())
"""
    environment = os.environ | {"PYTHONPATH": str(package.parent), "NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-c", program, packet.hex(), column]
    ran = subprocess.run(command, env=environment, cwd=package.parent, capture_output=True, text=True, check=True)
    return ran.stdout.strip()


def test_the_steps_of_the_page_add_the_protocol(tmp_path):
    """Without the example's file and line its tunnel stays closed; what the page shows, and no more, opens it."""
    package = shutil.copytree(ROOT / "streamgauge", tmp_path / "streamgauge")
    file, line = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    protocols, reader = package / "protocols.py", package / "decode" / "geneve_kernels.py"
    registered = protocols.read_text()
    inner = packets.ethernet(0x0800, packets.ipv4(17, packets.udp(b"x")))
    packet = packets.ethernet(0x0800, packets.ipv4(17, packets.udp(packets.geneve(0x6558, inner), target=6081)))
    reader.unlink()
    protocols.write_text(registered.replace(line, ""))
    named = [path for path in (package / "decode").glob("*.py") if "geneve" in path.read_text().lower()]
    before = column_of(package, packet, "tunnel")
    reader.write_text(file)
    protocols.write_text(registered)

    assert named == []
    assert (before, column_of(package, packet, "tunnel")) == ("none", "geneve")


def test_an_application_is_a_file_and_a_line(tmp_path):
    """A protocol that nobody knew, with a first byte of its own, is recognised by what the page asks for."""
    package = shutil.copytree(ROOT / "streamgauge", tmp_path / "streamgauge")
    (package / "decode" / "gopher_kernels.py").write_text(
        (package / "decode" / "ssh_kernels.py")
        .read_text()
        .replace("0x53,", "0x09,")
        .replace("0x5353482D", "0x0930780D")
    )
    protocols = package / "protocols.py"
    last = '    SSH = 9, "ssh_kernels"\n'
    protocols.write_text(protocols.read_text().replace(last, last + '    GOPHER = 10, "gopher_kernels"\n'))
    packet = packets.ethernet(0x0800, packets.ipv4(6, packets.tcp(b"\t0x\r\n")))

    assert column_of(package, packet, "app") == "gopher"
    assert column_of(ROOT / "streamgauge", packet, "app") == "None"


def test_what_is_named_exists():
    """Each file the page names is there."""
    for name in re.findall(r"`((?:streamgauge|tests)/[\w/]+\.py)`", PAGE):
        assert (ROOT / name).exists(), name
