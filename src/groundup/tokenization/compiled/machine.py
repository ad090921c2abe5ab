"""Raw memory and bits: the few machine operations that Numba's Python has no word for, each one LLVM instruction.

An address is an int64, and so is a mask of 64 bits: one integer type keeps Numba from turning sums into floats. None of these looks at bounds: the callers own buffers that end in `PADDING` spare bytes, and
they keep the arrays behind their addresses alive (Numba frees an array after its last use by name).

    load8, load32, load64; store32, store64     little-endian words at any address, aligned or not
    bytes_between(address, low, high)           64 bytes -> 64 bits: bit i says low <= byte i <= high
    lowest_bit, highest_bit                     index of the lowest or highest set bit of a mask that is not 0
    count_bits                                  how many bits are set
    shift_right(mask, count)                    as `>>`, but with zeros from the left whatever the sign
    prefetch(address)                           start to bring a cache line, do not wait for it

`bytes_between` is where the speed of the scanners comes from: on a machine with AVX-512 it is two instructions, on
one with AVX2 or NEON a handful; LLVM chooses.
"""

# pyright: reportIndexIssue=false, reportArgumentType=false, reportReturnType=false
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

PADDING = 64  # bytes that may be read behind the end of any buffer: one block of `bytes_between`

_BYTE, _WORD32, _WORD64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_BLOCK = ir.VectorType(_BYTE, 64)
Builder = Any
Codegen = Callable[[Any, Builder, Any, tuple[Any, ...]], Any]


def _load(builder: Builder, address: Any, kind: ir.Type) -> Any:
    return builder.load(builder.inttoptr(address, kind.as_pointer()), align=1)


def _loader(kind: ir.Type) -> Codegen:
    def codegen(context: Any, builder: Builder, signature: Any, args: tuple[Any, ...]) -> Any:
        return builder.zext(_load(builder, args[0], kind), _WORD64)

    return codegen


def _storer(kind: ir.Type) -> Codegen:
    def codegen(context: Any, builder: Builder, signature: Any, args: tuple[Any, ...]) -> Any:
        value = args[1] if kind is _WORD64 else builder.trunc(args[1], kind)
        builder.store(value, builder.inttoptr(args[0], kind.as_pointer()), align=1)
        return context.get_dummy_value()

    return codegen


@intrinsic
def load8(typing_context: Any, address: Any) -> Any:
    """The byte at an address, as an int64."""
    return types.int64(types.int64), _loader(_BYTE)


@intrinsic
def load32(typing_context: Any, address: Any) -> Any:
    """The 32-bit word at an address, as an int64."""
    return types.int64(types.int64), _loader(_WORD32)


@intrinsic
def load64(typing_context: Any, address: Any) -> Any:
    """The 64-bit word at an address."""

    def codegen(context: Any, builder: Builder, signature: Any, args: tuple[Any, ...]) -> Any:
        return _load(builder, args[0], _WORD64)

    return types.int64(types.int64), codegen


@intrinsic
def store8(typing_context: Any, address: Any, value: Any) -> Any:
    """Write the low byte of a word."""
    return types.void(types.int64, types.int64), _storer(_BYTE)


@intrinsic
def store32(typing_context: Any, address: Any, value: Any) -> Any:
    """Write the low 32 bits of a word."""
    return types.void(types.int64, types.int64), _storer(_WORD32)


@intrinsic
def store64(typing_context: Any, address: Any, value: Any) -> Any:
    """Write a 64-bit word."""
    return types.void(types.int64, types.int64), _storer(_WORD64)


@intrinsic
def bytes_between(typing_context: Any, address: Any, low: Any, high: Any) -> Any:
    """A mask of the 64 bytes at an address: bit i is set where low <= byte i <= high."""

    def codegen(context: Any, builder: Builder, signature: Any, args: tuple[Any, ...]) -> Any:
        address, low, high = args
        block = _load(builder, address, _BLOCK)
        least = builder.trunc(low, _BYTE)
        span = builder.trunc(builder.sub(high, low), _BYTE)
        inside = builder.icmp_unsigned("<=", builder.sub(block, _splat(builder, least)), _splat(builder, span))
        return builder.bitcast(inside, _WORD64)

    return types.int64(types.int64, types.int64, types.int64), codegen


def _splat(builder: Builder, value: Any) -> Any:
    first = builder.insert_element(ir.Constant(_BLOCK, ir.Undefined), value, ir.Constant(_WORD32, 0))
    return builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(_WORD32, 64), [0] * 64))


@intrinsic
def lowest_bit(typing_context: Any, mask: Any) -> Any:
    """The index of the lowest set bit; 64 for an empty mask."""

    def codegen(context: Any, builder: Builder, signature: Any, args: tuple[Any, ...]) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.int64), codegen


@intrinsic
def highest_bit(typing_context: Any, mask: Any) -> Any:
    """The index of the highest set bit; the mask must not be empty."""

    def codegen(context: Any, builder: Builder, signature: Any, args: tuple[Any, ...]) -> Any:
        return builder.sub(ir.Constant(_WORD64, 63), builder.ctlz(args[0], ir.Constant(ir.IntType(1), 0)))

    return types.int64(types.int64), codegen


@intrinsic
def count_bits(typing_context: Any, mask: Any) -> Any:
    """How many bits of a mask are set."""

    def codegen(context: Any, builder: Builder, signature: Any, args: tuple[Any, ...]) -> Any:
        return builder.ctpop(args[0])

    return types.int64(types.int64), codegen


@intrinsic
def shift_right(typing_context: Any, mask: Any, count: Any) -> Any:
    """Bits moved towards index 0, zeros behind them; count is 0 to 63."""

    def codegen(context: Any, builder: Builder, signature: Any, args: tuple[Any, ...]) -> Any:
        return builder.lshr(args[0], args[1])

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def prefetch(typing_context: Any, address: Any) -> Any:
    """Ask for the cache line at an address."""

    def codegen(context: Any, builder: Builder, signature: Any, args: tuple[Any, ...]) -> Any:
        pointer = builder.inttoptr(args[0], _BYTE.as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [_BYTE.as_pointer(), _WORD32, _WORD32, _WORD32])
        function = builder.module.declare_intrinsic("llvm.prefetch", [_BYTE.as_pointer()], kind)
        read, keep, data = (ir.Constant(_WORD32, value) for value in (0, 3, 1))
        builder.call(function, [pointer, read, keep, data])
        return context.get_dummy_value()

    return types.void(types.int64), codegen
