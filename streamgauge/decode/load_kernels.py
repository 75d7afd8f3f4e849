"""Big-endian loads from the capture buffer, and the prefetch. None of them checks a length: callers do."""

from __future__ import annotations

# mypy: ignore-errors
# (Numba types kernels when it compiles them.)
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from streamgauge.decode.accelerate import INTERPRETED, PLAIN_LOADS, hot

_MASK_64 = 0xFFFF_FFFF_FFFF_FFFF

#: Any integer as a signed 64-bit one: mixed with an unsigned 64-bit integer, Numba would make it a float.
signed = int if INTERPRETED else np.int64
_unsigned = int if INTERPRETED else np.uint64


# --- Plain variant: one element at a time ---------------------------------------------------------------------------


@hot
def _plain_load8(data, at):
    return signed(data[at])


@hot
def _plain_load16(data, at):
    return (signed(data[at]) << 8) | signed(data[at + 1])


@hot
def _plain_load32(data, at):
    return (_plain_load16(data, at) << 16) | _plain_load16(data, at + 2)


@hot
def _plain_load64(data, at):
    return _unsigned((_plain_load32(data, at) << 32) | _plain_load32(data, at + 4))


@hot
def _plain_prefetch(data, at):
    """Do nothing: a prefetch has no result."""


# --- Compiled variant: one load, one swap ---------------------------------------------------------------------------


def _address(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Emit the address of ``data[at]``."""
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    index = context.cast(builder, arguments[1], signature.args[1], types.intp)
    return cgutils.pointer_add(builder, array.data, index)


def _swapped_load(bits: int, result: Any) -> Any:
    """Make an intrinsic that loads ``bits`` bits in network byte order."""

    def load(_typing_context, data, at):
        def emit(context, builder, signature, arguments):
            pointer = builder.bitcast(_address(context, builder, signature, arguments), ir.IntType(bits).as_pointer())
            value = builder.load(pointer)
            value.align = 1
            if bits > 8:
                value = builder.bswap(value)
            return value if bits == 64 else builder.zext(value, ir.IntType(64))

        return result(data, at), emit

    return intrinsic(load)


@intrinsic
def _compiled_prefetch(_typing_context, data, at):
    """Ask for the cache line of ``data[at]``; the address may lie outside of the buffer."""

    def emit(context, builder, signature, arguments):
        pointer = _address(context, builder, signature, arguments)
        word = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, word, word, word])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        builder.call(function, [pointer, word(0), word(3), word(1)])
        return context.get_dummy_value()

    return types.void(data, at), emit


if PLAIN_LOADS:
    load8, load16, load32, load64, prefetch = _plain_load8, _plain_load16, _plain_load32, _plain_load64, _plain_prefetch
else:
    load8 = _swapped_load(8, types.int64)
    load16 = _swapped_load(16, types.int64)
    load32 = _swapped_load(32, types.int64)
    load64 = _swapped_load(64, types.uint64)
    prefetch = _compiled_prefetch


@hot
def swap16(value):
    """Return a 16-bit value in the other byte order."""
    return ((value & 0xFF) << 8) | (value >> 8)


@hot
def swap32(value):
    """Return a 32-bit value in the other byte order."""
    return (swap16(value & 0xFFFF) << 16) | swap16(value >> 16)


if INTERPRETED:

    def wrap64(value):
        """Return a value as an unsigned 64-bit integer."""
        return int(value) & _MASK_64

else:

    @hot
    def wrap64(value):
        """Return a value as an unsigned 64-bit integer."""
        return np.uint64(value)
