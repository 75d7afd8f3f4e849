"""Coverage-guided search (atheris, libFuzzer) for a difference between the kernels and the oracle.

    python -m tests.deep.guided -max_total_time=60 [folder of the corpus]

The kernels run as ordinary Python (``NUMBA_DISABLE_JIT=1``), so that each of their branches is seen.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

os.environ["NUMBA_DISABLE_JIT"] = "1"

import atheris

with atheris.instrument_imports(include=["streamgauge.decode"]):
    from tests.deep.seeds import SEEDS
    from tests.support import oracle
    from tests.support.decoding import decode_packets

    # The decoder imports its kernels late: now, while what is imported is instrumented.
    decode_packets([SEEDS[0][1]])

LINKS = sorted({link for link, _ in SEEDS})
#: Before a packet: which link type, whether tunnels are opened, bytes that the capture lacks.
HEAD = 2


def test_one_input(content):
    """One input of the fuzzer: head and packet."""
    if len(content) < HEAD:
        return
    packet = content[HEAD:]
    how = {
        "link": LINKS[(content[0] >> 1) % len(LINKS)],
        "decapsulate": bool(content[0] & 1),
        "wire": len(packet) + content[1],
    }
    if [oracle.decode(packet, **how)] != decode_packets([packet], **how):
        raise AssertionError(f"kernels and oracle differ: {how} {packet.hex()}")


def main():
    with tempfile.TemporaryDirectory() as folder:
        for number, (link, packet) in enumerate(SEEDS):
            Path(folder, str(number)).write_bytes(bytes([LINKS.index(link) << 1 | 1, 0]) + packet)
        atheris.Setup([*sys.argv, folder], test_one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
