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
    """The file, the word and the branch stand in the code letter by letter."""
    file, word, branch = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)

    assert file == (ROOT / "streamgauge" / "decode" / "geneve_kernels.py").read_text()
    assert word in (ROOT / "streamgauge" / "schema.py").read_text()
    assert branch in (ROOT / "streamgauge" / "decode" / "tunnel_kernels.py").read_text()


def tunnel_of(package: Path, packet: bytes) -> str:
    """Return how a copy of the package, its kernels as ordinary Python, calls the tunnel of a packet."""
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
print(encode.to_arrow(rows, encode.Origin("n", "i")).column("tunnel")[0].as_py())
"""
    environment = os.environ | {"PYTHONPATH": str(package.parent), "NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-c", program, packet.hex()]
    ran = subprocess.run(command, env=environment, cwd=package.parent, capture_output=True, text=True, check=True)
    return ran.stdout.strip()


def test_the_steps_of_the_page_add_the_protocol(tmp_path):
    """Without the example's file and branch its tunnel stays closed; what the page shows opens it."""
    package = shutil.copytree(ROOT / "streamgauge", tmp_path / "streamgauge")
    file, _, branch = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    tunnels, reader = package / "decode" / "tunnel_kernels.py", package / "decode" / "geneve_kernels.py"
    code = tunnels.read_text()
    inner = packets.ethernet(0x0800, packets.ipv4(17, packets.udp(b"x")))
    packet = packets.ethernet(0x0800, packets.ipv4(17, packets.udp(packets.geneve(0x6558, inner), target=6081)))
    reader.unlink()
    registration = "from streamgauge.decode.geneve_kernels import GENEVE_PORT, read_geneve\n"
    tunnels.write_text(code.replace(branch, "").replace(registration, "GENEVE_PORT = 6081\n"))
    before = tunnel_of(package, packet)
    reader.write_text(file)
    tunnels.write_text(code)

    assert registration in code
    assert (before, tunnel_of(package, packet)) == ("none", "geneve")


def test_what_is_named_exists():
    """Each file the page names is there."""
    for name in re.findall(r"`((?:streamgauge|tests)/[\w/]+\.py)`", PAGE):
        assert (ROOT / name).exists(), name
