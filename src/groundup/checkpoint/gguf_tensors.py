"""The tensor types of a GGUF file: blocks of weights to fp32, and fp32 to those that are written.

The last axis of a tensor is cut into blocks. A quantised block holds small integers q with a scale d in fp16, and what
its type adds to that (the layouts are those of ggml: `ggml-common.h` and `ggml-quants.c` of llama.cpp):

    F32 F16 BF16    1 weight      the number itself
    Q8_0            32 weights    d q             q in 8 bits, signed
    Q4_0, Q5_0      32            d (q - 8), d (q - 16)
    Q4_1, Q5_1      32            d q + m
    Q4_K, Q5_K      256           (d s) q - (m t)      s and t in 6 bits for each 32 weights
    Q6_K            256           (d s) (q - 32)       s in 8 bits, signed, for each 16 weights

Every operation is done in fp32 in ggml's order, so results are ggml's to the bit.
Shapes: N blocks, X bytes of one, W weights of one.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from groundup.core.errors import InputError

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Quants = npt.NDArray[Any]  # small integers; NumPy's types widen them where its values do not

WEIGHTS_AT_ONCE = 1 << 20  # decoded together: the parts stay in the processor's caches, and memory is bounded


class TensorType(NamedTuple):
    """`number` names the type in the file; a block of `weights` takes `size` bytes. `decode` makes (N, W) of (N, X),
    `encode` the reverse, None where groundup does not write the type."""

    name: str
    number: int
    weights: int
    size: int
    decode: Callable[[Bytes], Floats]
    encode: Callable[[Floats], Bytes] | None = None

    def bytes_of(self, shape: tuple[int, ...]) -> int:
        """What a tensor takes; a `ValueError` where its rows are no whole blocks."""
        row = shape[-1] if shape else 1
        if row % self.weights:
            raise ValueError(f"rows of {row} weights are no whole blocks of {self.weights}")
        count = 1
        for length in shape:
            count *= length
        return count // self.weights * self.size


def decode(kind: TensorType, data: Bytes, shape: tuple[int, ...]) -> Floats:
    """A tensor of this shape, fp32, from the bytes of its blocks."""
    blocks_NX = data.reshape(-1, kind.size)
    weights_NW = np.empty((len(blocks_NX), kind.weights), np.float32)
    step = WEIGHTS_AT_ONCE // kind.weights
    for start in range(0, len(blocks_NX), step):
        weights_NW[start : start + step] = kind.decode(blocks_NX[start : start + step])
    return weights_NW.reshape(shape)


def encode(kind: TensorType, weights: Floats) -> Bytes:
    """The bytes of a tensor's blocks; an `InputError` where the type cannot hold a weight."""
    assert kind.encode is not None, f"{kind.name} is not written"
    return kind.encode(np.ascontiguousarray(weights, np.float32).reshape(-1, kind.weights)).reshape(-1)


def _decode_f32(blocks_NX: Bytes) -> Floats:
    return blocks_NX.view("<f4")


def _encode_f32(weights_NW: Floats) -> Bytes:
    return weights_NW.astype("<f4", copy=False).view(np.uint8)


def _decode_f16(blocks_NX: Bytes) -> Floats:
    return blocks_NX.view("<f2").astype(np.float32)


def _encode_f16(weights_NW: Floats) -> Bytes:
    return _half(weights_NW).view(np.uint8)


def _decode_bf16(blocks_NX: Bytes) -> Floats:
    """The upper half of an fp32."""
    return (blocks_NX.view("<u2").astype(np.uint32) << 16).view(np.float32)


def _encode_bf16(weights_NW: Floats) -> Bytes:
    """Rounded to the nearest, ties to even; what is no number stays none."""
    bits = weights_NW.view(np.uint32)
    rounded = (bits + (0x7FFF + (bits >> 16 & 1))) >> 16
    return np.where(np.isnan(weights_NW), bits >> 16 | 64, rounded).astype("<u2").view(np.uint8)


def _decode_q8_0(blocks_NX: Bytes) -> Floats:
    return _number(blocks_NX, 0) * blocks_NX[:, 2:].view(np.int8)


def _encode_q8_0(weights_NW: Floats) -> Bytes:
    """d = max |x| / 127, q = x / d rounded, halves away from zero as C's `roundf` does."""
    scale_N1 = np.abs(weights_NW).max(axis=1, keepdims=True) / np.float32(127)
    stored_N1 = _half(scale_N1)
    normal_N1 = scale_N1 >= np.finfo(np.float32).tiny  # below it 1 / d overflows; d is 0 in fp16 far above it
    inverse_N1 = np.divide(1, scale_N1, out=np.zeros_like(scale_N1), where=normal_N1)
    size_NW = np.abs(weights_NW * inverse_N1)
    whole_NW = np.floor(size_NW)
    rounded_NW = np.copysign(whole_NW + (size_NW - whole_NW >= 0.5), weights_NW)
    return np.concatenate((stored_N1.view(np.uint8), rounded_NW.astype(np.int8).view(np.uint8)), axis=1)


def _decode_q4_0(blocks_NX: Bytes) -> Floats:
    return _number(blocks_NX, 0) * (_nibbles(blocks_NX[:, 2:]).view(np.int8) - np.int8(8))


def _decode_q4_1(blocks_NX: Bytes) -> Floats:
    return _number(blocks_NX, 0) * _nibbles(blocks_NX[:, 4:]) + _number(blocks_NX, 2)


def _decode_q5_0(blocks_NX: Bytes) -> Floats:
    quants_NW = _nibbles(blocks_NX[:, 6:]) | _bits(blocks_NX[:, 2:6]) << 4
    return _number(blocks_NX, 0) * (quants_NW.view(np.int8) - np.int8(16))


def _decode_q5_1(blocks_NX: Bytes) -> Floats:
    quants_NW = _nibbles(blocks_NX[:, 8:]) | _bits(blocks_NX[:, 4:8]) << 4
    return _number(blocks_NX, 0) * quants_NW + _number(blocks_NX, 2)


def _decode_q4_k(blocks_NX: Bytes) -> Floats:
    return _scaled(blocks_NX, _nibbles(blocks_NX[:, 16:].reshape(-1, 4, 32)))


def _decode_q5_k(blocks_NX: Bytes) -> Floats:
    """The fifth bits of the eight parts lie in one another's places: bit i of byte j is that of weight j of part i."""
    fifth_N8W = blocks_NX[:, None, 16:48] >> np.arange(8, dtype=np.uint8)[:, None] & 1
    quants_N8W = _nibbles(blocks_NX[:, 48:].reshape(-1, 4, 32)).reshape(-1, 8, 32)
    return _scaled(blocks_NX, quants_N8W | fifth_N8W << 4)


def _decode_q6_k(blocks_NX: Bytes) -> Floats:
    """In each half of a block 64 bytes hold the lower four bits of 128 weights, and 32 bytes their upper two."""
    lower = _nibbles(blocks_NX[:, :128].reshape(-1, 2, 64)).reshape(-1, 16, 16)
    upper = blocks_NX[:, 128:192].reshape(-1, 2, 1, 32) >> np.arange(0, 8, 2, dtype=np.uint8)[:, None] & 3
    quants = (lower | upper.reshape(-1, 16, 16) << 4).view(np.int8) - np.int8(32)
    scales_NS = _number(blocks_NX, 208) * blocks_NX[:, 192:208].view(np.int8)
    return (scales_NS[:, :, None] * quants).reshape(-1, 256)


def _scaled(blocks_NX: Bytes, quants: Quants) -> Floats:
    """(d s) q - (m t) for the eight parts of a block; the twelve bytes behind d and m hold s and t, six bits each."""
    first, second, third = blocks_NX[:, 4:8], blocks_NX[:, 8:12], blocks_NX[:, 12:16]
    scales_N8 = np.concatenate((first & 63, third & 15 | first >> 6 << 4), axis=1)
    minima_N8 = np.concatenate((second & 63, third >> 4 | second >> 6 << 4), axis=1)
    steps_N8, offsets_N8 = _number(blocks_NX, 0) * scales_N8, _number(blocks_NX, 2) * minima_N8
    weights_N8W = steps_N8[:, :, None] * quants.reshape(-1, 8, 32)
    weights_N8W -= offsets_N8[:, :, None]
    return weights_N8W.reshape(-1, 256)


def _number(blocks_NX: Bytes, at: int) -> Floats:
    """The fp16 at a place of each block, (N, 1)."""
    return np.ascontiguousarray(blocks_NX[:, at : at + 2]).view("<f2").astype(np.float32)


def _nibbles(data: Bytes) -> Quants:
    """The lower halves of the bytes of the last axis, then their upper halves."""
    return np.concatenate((data & 15, data >> 4), axis=-1)


def _bits(data: Bytes) -> Quants:
    """The bits of the bytes of the last axis, the lowest first."""
    return np.unpackbits(data, axis=-1, bitorder="little")


def _half(numbers: Floats) -> npt.NDArray[np.float16]:
    with np.errstate(over="ignore"):
        halves = numbers.astype("<f2")
    if not np.isfinite(halves).all():
        raise InputError("A weight is too large for fp16 or not finite, so it cannot be written as f16 or q8_0.")
    return halves


F32 = TensorType("F32", 0, 1, 4, _decode_f32, _encode_f32)
F16 = TensorType("F16", 1, 1, 2, _decode_f16, _encode_f16)
BF16 = TensorType("BF16", 30, 1, 2, _decode_bf16, _encode_bf16)
Q8_0 = TensorType("Q8_0", 8, 32, 34, _decode_q8_0, _encode_q8_0)
TYPES = (
    F32,
    F16,
    BF16,
    TensorType("Q4_0", 2, 32, 18, _decode_q4_0),
    TensorType("Q4_1", 3, 32, 20, _decode_q4_1),
    TensorType("Q5_0", 6, 32, 22, _decode_q5_0),
    TensorType("Q5_1", 7, 32, 24, _decode_q5_1),
    Q8_0,
    TensorType("Q4_K", 12, 256, 144, _decode_q4_k),
    TensorType("Q5_K", 13, 256, 176, _decode_q5_k),
    TensorType("Q6_K", 14, 256, 210, _decode_q6_k),
)
TYPE_OF_NUMBER = {kind.number: kind for kind in TYPES}
