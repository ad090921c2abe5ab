"""Blocks of quantised weights, against the `gguf` package of llama.cpp."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from groundup.checkpoint import gguf_tensors
from groundup.checkpoint.gguf_tensors import BF16, F16, F32, Q8_0, TYPES, TensorType, decode, encode
from groundup.core.errors import InputError

ROWS, BLOCKS = 6, 4
HALVES = {"Q4_1": (0, 2), "Q5_1": (0, 2), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,)}  # places of fp16 numbers

every_type = pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.name)


def random_blocks(kind: TensorType) -> np.ndarray:
    """Any bytes, but for fp16 numbers that are finite."""
    generator = np.random.default_rng(0)
    blocks = generator.integers(0, 256, (ROWS * BLOCKS, kind.size), dtype=np.uint8)
    numbers = generator.normal(size=(ROWS * BLOCKS, kind.weights))
    if kind.weights == 1:
        return numbers.astype({"F32": "<f4", "F16": "<f2"}.get(kind.name, "<f4")).view(np.uint8)[:, -kind.size :].copy()
    for place in HALVES.get(kind.name, (0,)):
        blocks[:, place : place + 2] = numbers[:, place : place + 1].astype("<f2").view(np.uint8)
    return blocks


@every_type
def test_numbers_and_sizes_are_those_of_ggml(kind: TensorType) -> None:
    gguf = pytest.importorskip("gguf")
    theirs = gguf.GGMLQuantizationType[kind.name]
    assert (kind.number, (kind.weights, kind.size)) == (theirs.value, gguf.GGML_QUANT_SIZES[theirs])


@every_type
def test_blocks_become_the_weights_of_ggml_to_the_bit(kind: TensorType, monkeypatch: pytest.MonkeyPatch) -> None:
    gguf = pytest.importorskip("gguf")
    blocks = random_blocks(kind)
    shape = (ROWS, BLOCKS * kind.weights)
    expected = gguf.quants.dequantize(blocks.reshape(ROWS, -1), gguf.GGMLQuantizationType[kind.name])
    expected = expected.view(np.float32) if kind is F32 else expected
    assert np.isfinite(expected).all()
    assert np.ptp(expected) > 1
    found = decode(kind, blocks.reshape(-1), shape)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)
    monkeypatch.setattr(gguf_tensors, "WEIGHTS_AT_ONCE", 5 * kind.weights)
    np.testing.assert_array_equal(decode(kind, blocks.reshape(-1), shape), expected)


@pytest.mark.parametrize("kind", [F32, F16, BF16, Q8_0], ids=lambda kind: kind.name)
def test_weights_become_the_bytes_of_ggml(kind: TensorType) -> None:
    gguf = pytest.importorskip("gguf")
    weights = np.random.default_rng(1).normal(size=(9, 96)).astype(np.float32)
    weights[0] = 0
    weights[1, :32] = np.arange(32) - 15.5  # with a maximum of 127: halves, which are rounded away from zero
    weights[1, 31] = -127
    weights[2, :32] = 0.49999997
    weights[2, 31] = 127
    weights[3] *= 1e-7  # scales below the normal numbers of fp16
    expected = gguf.quants.quantize(weights, gguf.GGMLQuantizationType[kind.name])
    np.testing.assert_array_equal(encode(kind, weights), expected.view(np.uint8).reshape(-1))


@given(arrays(np.float32, (2, 64), elements=st.floats(-1e6, 1e6, width=32)))
def test_q8_0_misses_a_weight_by_half_a_step_at_most(weights: np.ndarray) -> None:
    found = decode(Q8_0, encode(Q8_0, weights), weights.shape)
    step = np.abs(weights.reshape(-1, 32)).max(axis=1) / 127
    error = np.abs(found - weights).reshape(-1, 32).max(axis=1)
    assert (error <= step / 2 + 127 * np.maximum(step * 2.0**-11, 2.0**-25) * (1 + 1e-5)).all()  # the scale is fp16


def test_what_a_type_cannot_hold_is_refused() -> None:
    with pytest.raises(InputError, match="too large"):
        encode(F16, np.full(4, 7e4, np.float32))
    for number in (np.nan, np.inf, 1e10):
        with pytest.raises(InputError, match="too large"):
            encode(Q8_0, np.full(32, number, np.float32))
    with pytest.raises(ValueError, match="rows of 48 weights"):
        Q8_0.bytes_of((3, 48))
    assert Q8_0.bytes_of((3, 64)) == 3 * 2 * 34
    assert F32.bytes_of(()) == 4
