"""Raw memory and bits: the few machine operations that Numba's Python has no word for, each one LLVM instruction.

An address is an int64, and so is a mask of 64 bits: one integer type keeps Numba from turning sums into floats. None of
these looks at bounds: the callers own buffers that end in `PADDING` spare bytes, and they keep the arrays behind their
addresses alive (Numba frees an array after its last use by name).

    load8, load32, load64; store32, store64     little-endian words at any address, aligned or not
    equal16, copy16                             the same for 16 bytes: compare, copy
    bytes_between(address, low, high)           64 bytes -> 64 bits: bit i says low <= byte i <= high
    least32(address)                            the smallest of 16 unsigned 32-bit words
    lowest_bit, highest_bit                     index of the lowest or highest set bit of a mask that is not 0
    count_bits                                  how many bits are set
    shift_right(mask, count)                    as `>>`, but with zeros from the left whatever the sign
    prefetch(address)                           start to bring a cache line, do not wait for it

`bytes_between` is where the speed of the scanners comes from: on a machine with AVX-512 it is two instructions, on
one with AVX2 or NEON a handful; LLVM chooses.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

PADDING = 64  # bytes that may be read behind the end of any buffer: one block of `bytes_between`

_BIT, _BYTE, _WORD32, _WORD64 = (ir.IntType(bits) for bits in (1, 8, 32, 64))
_BLOCK = ir.VectorType(_BYTE, 64)
_PAIR = ir.VectorType(_WORD64, 2)
_WORDS = ir.VectorType(_WORD32, 16)
Builder = Any  # llvmlite's builder and its values have no types
Value = Any


def _operation(result: Any, arguments: int) -> Callable[[Callable[..., Value]], Callable[..., Any]]:
    """Make a Numba operation on int64 arguments of the function that builds its LLVM code."""

    def make(build: Callable[..., Value]) -> Callable[..., Any]:
        def codegen(context: Any, builder: Builder, signature: Any, args: tuple[Value, ...]) -> Value:
            value = build(builder, *args)
            return context.get_dummy_value() if result is types.void else value

        typed = result(*[types.int64] * arguments), codegen
        typers = {  # Numba counts the parameters
            1: lambda typing_context, one: typed,
            2: lambda typing_context, one, two: typed,
            3: lambda typing_context, one, two, three: typed,
        }
        typer = typers[arguments]
        typer.__name__ = typer.__qualname__ = build.__name__
        typer.__doc__ = build.__doc__
        return intrinsic(typer)

    return make


def _load(builder: Builder, address: Value, kind: ir.Type) -> Value:
    return builder.load(builder.inttoptr(address, kind.as_pointer()), align=1)


def _store(builder: Builder, address: Value, value: Value) -> None:
    builder.store(value, builder.inttoptr(address, value.type.as_pointer()), align=1)


@_operation(types.int64, 1)
def load8(builder: Builder, address: Value) -> Value:
    """The byte at an address, 0 to 255."""
    return builder.zext(_load(builder, address, _BYTE), _WORD64)


@_operation(types.int64, 1)
def load32(builder: Builder, address: Value) -> Value:
    """The 32-bit word at an address, 0 to 2^32 - 1."""
    return builder.zext(_load(builder, address, _WORD32), _WORD64)


@_operation(types.int64, 1)
def load64(builder: Builder, address: Value) -> Value:
    """The 64-bit word at an address."""
    return _load(builder, address, _WORD64)


@_operation(types.void, 2)
def store8(builder: Builder, address: Value, value: Value) -> None:
    """Write the low byte of a word."""
    _store(builder, address, builder.trunc(value, _BYTE))


@_operation(types.void, 2)
def store32(builder: Builder, address: Value, value: Value) -> None:
    """Write the low 32 bits of a word."""
    _store(builder, address, builder.trunc(value, _WORD32))


@_operation(types.void, 2)
def store64(builder: Builder, address: Value, value: Value) -> None:
    """Write a 64-bit word."""
    _store(builder, address, value)


@_operation(types.boolean, 2)
def equal16(builder: Builder, left: Value, right: Value) -> Value:
    """Whether the 16 bytes at two addresses are the same."""
    wide = ir.IntType(128)
    return builder.icmp_unsigned("==", _load(builder, left, wide), _load(builder, right, wide))


@_operation(types.void, 3)
def copy16(builder: Builder, source: Value, to: Value, low_mask: Value) -> None:
    """Copy 16 bytes, the first 8 through a mask."""
    mask = builder.insert_element(ir.Constant(_PAIR, [-1, -1]), low_mask, ir.Constant(_WORD32, 0))
    _store(builder, to, builder.and_(_load(builder, source, _PAIR), mask))


@_operation(types.int64, 3)
def bytes_between(builder: Builder, address: Value, low: Value, high: Value) -> Value:
    """A mask of the 64 bytes at an address: bit i is set where low <= byte i <= high."""
    least = _splat(builder, builder.trunc(low, _BYTE))
    span = _splat(builder, builder.trunc(builder.sub(high, low), _BYTE))
    above = builder.sub(_load(builder, address, _BLOCK), least)
    return builder.bitcast(builder.icmp_unsigned("<=", above, span), _WORD64)


def _splat(builder: Builder, value: Value) -> Value:
    first = builder.insert_element(ir.Constant(_BLOCK, ir.Undefined), value, ir.Constant(_WORD32, 0))
    return builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(_WORD32, 64), [0] * 64))


@_operation(types.int64, 1)
def least32(builder: Builder, address: Value) -> Value:
    """The smallest of the 16 unsigned 32-bit words at an address."""
    kind = ir.FunctionType(_WORD32, [_WORDS])
    reduce = cgutils.get_or_insert_function(builder.module, kind, "llvm.vector.reduce.umin.v16i32")
    return builder.zext(builder.call(reduce, [_load(builder, address, _WORDS)]), _WORD64)


@_operation(types.int64, 1)
def lowest_bit(builder: Builder, mask: Value) -> Value:
    """The index of the lowest set bit; 64 for an empty mask."""
    return builder.cttz(mask, ir.Constant(_BIT, 0))


@_operation(types.int64, 1)
def highest_bit(builder: Builder, mask: Value) -> Value:
    """The index of the highest set bit; the mask must not be empty."""
    return builder.sub(ir.Constant(_WORD64, 63), builder.ctlz(mask, ir.Constant(_BIT, 0)))


@_operation(types.int64, 1)
def count_bits(builder: Builder, mask: Value) -> Value:
    """How many bits of a mask are set."""
    return builder.ctpop(mask)


@_operation(types.int64, 2)
def shift_right(builder: Builder, mask: Value, count: Value) -> Value:
    """Bits moved towards index 0, zeros behind them; count is 0 to 63."""
    return builder.lshr(mask, count)


@_operation(types.void, 1)
def prefetch(builder: Builder, address: Value) -> None:
    """Ask for the cache line at an address."""
    pointer = _BYTE.as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [pointer, _WORD32, _WORD32, _WORD32])
    function = builder.module.declare_intrinsic("llvm.prefetch", [pointer], kind)
    read, keep, data = (ir.Constant(_WORD32, value) for value in (0, 3, 1))
    builder.call(function, [builder.inttoptr(address, pointer), read, keep, data])
