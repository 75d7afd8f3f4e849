"""The one place that knows Numba: how kernels are compiled and cached, and how they read bytes.

A kernel is a plain loop over arrays: it raises nothing, allocates nothing and guards every read with a length check,
because the loads in ``load_kernels`` do not check. Two variants of them exist:

* compiled: one unaligned load and a byte swap (half the compile time of byte arithmetic);
* plain: byte arithmetic on array elements, used when ``NUMBA_DISABLE_JIT=1`` (kernels are then ordinary Python) and
  when ``NUMBA_BOUNDSCHECK=1`` (every element access is then checked, which is how the fuzz tests prove the guards).
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numba
from numba.core import config
from numba.core.caching import FunctionCache

from streamgauge import schema
from streamgauge.protocols import App, Tunnel

if TYPE_CHECKING:
    from collections.abc import Callable

    Kernel = Callable[..., Any]


#: Kernels run as ordinary Python functions.
INTERPRETED: Final = bool(vars(config)["DISABLE_JIT"])
#: Loads go through array elements, so that Numba's bounds check sees them.
PLAIN_LOADS: Final = INTERPRETED or bool(vars(config)["BOUNDSCHECK"])

#: Kernels allocate nothing, so arrays need no reference counts in them; the atomic counters cost nine tenths of the
#: time (2.1 → 18 M packets/s on a 1 M packet trace).
_OPTIONS: Final[dict[str, Any]] = {"nogil": True, "error_model": "numpy", "_nrt": False}


def _fingerprint() -> str:
    """Return a digest of everything the compiled kernels depend on: their sources and the layout of the rows."""
    registered = [(protocol, protocol.module) for protocols in (App, Tunnel) for protocol in protocols]
    digest = hashlib.sha256(repr((schema.SLOTS, list(schema.Present), registered)).encode())
    here = Path(__file__).parent
    for folder in (here, here.parent / "flows"):
        for source in sorted(folder.glob("*.py")):
            digest.update(source.read_bytes())
    return digest.hexdigest()


class _WholePackageCache(FunctionCache):
    """Numba's cache on disk, keyed by the whole package.

    Numba itself only looks at the file of the function it compiles; a change in a callee's file, or a new column in the
    schema, would leave stale machine code in use.
    """

    _whole_package = _fingerprint()

    def _index_key(self, sig: object, codegen: object) -> tuple[object, ...]:
        key: tuple[object, ...] = super()._index_key(sig, codegen)  # type: ignore[no-untyped-call]
        return (*key, self._whole_package)


#: Kernels that only kernels call need no way in from Python; to compile one takes as long as much of the kernel.
_INNER_OPTIONS: Final = {**_OPTIONS, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def entry(function: Kernel) -> Kernel:
    """Compile a kernel that Python calls; the machine code, with all kernels it calls, is cached on disk."""
    compiled = numba.njit(**_OPTIONS)(function)
    if not PLAIN_LOADS:
        # Numba looks for a folder it may write to; where all is read-only, kernels are compiled anew at each start.
        with contextlib.suppress(RuntimeError):
            compiled._cache = _WholePackageCache(function)  # type: ignore[no-untyped-call]
    return compiled  # type: ignore[no-any-return]


def inner(function: Kernel) -> Kernel:
    """Compile a kernel that only kernels call: from Python it would crash."""
    return numba.njit(**_INNER_OPTIONS)(function)  # type: ignore[no-any-return]


def hot(function: Kernel) -> Kernel:
    """Compile a kernel that runs for (nearly) every packet: its body is placed in its caller, if that is a kernel."""
    return numba.njit(forceinline=True, **_OPTIONS)(function)  # type: ignore[no-any-return]
