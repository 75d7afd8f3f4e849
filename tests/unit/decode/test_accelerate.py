"""Kernels load late, and their cache on disk knows the whole package."""

from __future__ import annotations

import subprocess
import sys

import pytest

from streamgauge.decode import accelerate, warm_up
from streamgauge.decode.packet_kernels import decode_packets


def test_importing_the_package_loads_no_compiler():
    """--help and configuration checks must not pay for Numba."""
    code = "import sys, streamgauge.decode, streamgauge.decode.capture_file; print('numba' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert run.stdout.strip() == "False"


@pytest.mark.skipif(accelerate.PLAIN_LOADS, reason="kernels are not cached in this mode")
def test_compiled_kernels_are_cached_by_the_whole_package():
    """The key of compiled code changes with any source of the package, not only with the kernel's own file."""
    warm_up()
    cache = decode_packets._cache
    [signature] = decode_packets.signatures

    assert cache._whole_package in cache._index_key(signature, decode_packets.targetctx.codegen())


@pytest.mark.skipif(accelerate.PLAIN_LOADS, reason="kernels are not compiled in this mode")
def test_warm_up_compiles_everything():
    """After warm_up nothing is left to compile: each kernel that Python calls has its one signature."""
    from streamgauge.decode.pcap_kernels import index_records
    from streamgauge.decode.pcapng_kernels import index_blocks

    warm_up()

    assert [len(kernel.signatures) for kernel in (decode_packets, index_records, index_blocks)] == [1, 1, 1]


@pytest.mark.skipif(accelerate.PLAIN_LOADS, reason="kernels are not cached in this mode")
def test_without_a_place_for_the_cache_kernels_are_compiled_anew(monkeypatch):
    """A file system that is all read-only costs time at the start, and nothing else."""

    def nowhere(_function):
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr(accelerate, "_WholePackageCache", nowhere)

    assert accelerate.entry(lambda number: number + 1)(1) == 2
