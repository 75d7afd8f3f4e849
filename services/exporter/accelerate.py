"""How the exporter's kernels are compiled.

A kernel allocates nothing and raises nothing, so arrays need no reference counts in it: their atomic counters would
cost most of the time. Machine code is cached by the file of the kernel, so each such file holds all that its kernels
call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numba

if TYPE_CHECKING:
    from collections.abc import Callable


#: ``_nrt`` is no published option, so the types do not know it.
_OPTIONS: Final[dict[str, Any]] = {"nogil": True, "error_model": "numpy", "_nrt": False}


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a kernel that Python calls."""
    return numba.njit(cache=True, **_OPTIONS)(function)  # type: ignore[no-any-return]


def inner(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that only kernels of the same file call; its body is placed in its caller."""
    return numba.njit(forceinline=True, **_OPTIONS)(function)  # type: ignore[no-any-return]
