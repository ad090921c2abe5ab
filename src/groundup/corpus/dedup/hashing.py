"""Hashes of bytes and integers, shared by all forms of deduplication: what two copies agree in.

A stretch of bytes is hashed in blocks of eight, little-endian, the last one padded with zeros:

    h <- seed;   h <- xorshift((h ^ block) M)  for each block;   hash = mix(h ^ length)        (mod 2^64, M odd)

Every step is a bijection of the block, so two different stretches of one length of at most eight bytes never collide,
and others do with probability about 2^-64. `mix` is the finaliser of splitmix64 (Steele, Lea and Flood 2014), a
bijection that spreads every bit. The same arithmetic in plain Python, `reference_hash`, is the oracle of the tests.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Hashes = NDArray[np.uint64]
Places = NDArray[np.int64]

MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
SEED = np.uint64(0x2545F4914F6CDD1D)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_27, _30, _31, _32 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(32)
MASK = (1 << 64) - 1


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """A kernel: machine code, kept on disk, that lets other threads run."""
    return njit(cache=True, nogil=True, error_model="numpy")(function)


@compiled
def mix(value: Any) -> Any:  # noqa: ANN401 - a number or an array of uint64
    """The finaliser of splitmix64; also of whole arrays."""
    value = (value ^ (value >> _30)) * _MIX_1
    value = (value ^ (value >> _27)) * _MIX_2
    return value ^ (value >> _31)


@compiled
def absorb(state: np.uint64, block: np.uint64) -> np.uint64:
    """One step of the hash: eight bytes into the state."""
    state = (state ^ block) * MULTIPLIER
    return state ^ (state >> _32)


@compiled
def hash_bytes(data: Bytes, start: int, end: int) -> np.uint64:
    """The hash of data[start:end]."""
    state, i = SEED, start
    while i + 8 <= end:
        state = absorb(state, eight_bytes(data, i, end))
        i += 8
    return mix(absorb(state, eight_bytes(data, i, end)) ^ np.uint64(end - start))


def _typed_load64(typing_context: Any, data: Any, place: Any) -> Any:  # noqa: ANN401 - Numba's and LLVM's values have no types
    """The eight bytes of an array from a place on, little-endian, aligned or not, without looking at its end."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ANN401
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        address = builder.gep(array.data, [arguments[1]])
        return builder.load(builder.bitcast(address, ir.IntType(64).as_pointer()), align=1)

    return types.uint64(data, types.int64), build


_load64: Callable[..., Any] = intrinsic(_typed_load64)


@compiled
def eight_bytes(data: Bytes, start: int, end: int) -> np.uint64:
    """data[start:end] as a number, little-endian; of more than eight bytes the first eight."""
    if start + 8 <= end:
        return _load64(data, start)
    block = np.uint64(0)
    for i in range(start, end):
        block |= np.uint64(data[i]) << np.uint64((i - start) << 3)
    return block


@compiled
def hash_stretches(data: Bytes, starts: Places, ends: Places) -> Hashes:
    """The hash of each data[start:end]."""
    hashes = np.empty(len(starts), np.uint64)
    for i in range(len(starts)):
        hashes[i] = hash_bytes(data, starts[i], ends[i])
    return hashes


def pack(texts: Sequence[str]) -> tuple[Bytes, Places]:
    """The UTF-8 bytes of all texts in one array, and where each begins (one more entry: where the last one ends).

    Half of a surrogate pair, which has no UTF-8 form, is written in the three bytes that it would have.
    """
    encoded = [text.encode(errors="surrogatepass") for text in texts]
    starts = np.zeros(len(texts) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)), out=starts[1:])
    return np.frombuffer(b"".join(encoded), np.uint8), starts


def reference_hash(data: bytes) -> int:
    """`hash_bytes` in plain Python."""
    state = int(SEED)
    for start in range(0, len(data) // 8 * 8 + 1, 8):
        block = int.from_bytes(data[start : start + 8], "little")
        state = (state ^ block) * int(MULTIPLIER) & MASK
        state ^= state >> 32
    return reference_mix(state ^ len(data))


def reference_mix(value: int) -> int:
    """`mix` in plain Python."""
    value = (value ^ (value >> 30)) * int(_MIX_1) & MASK
    value = (value ^ (value >> 27)) * int(_MIX_2) & MASK
    return value ^ (value >> 31)
