"""Weights in 8 and 4 bits: rounding against the formula, in every decoder, and through a checkpoint."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_engines import BYTES, tiny_engine

from groundup.checkpoint.store import read_checkpoint, write_checkpoint
from groundup.core.errors import ConfigError
from groundup.inference.engine import load_engine
from groundup.inference.quantization import activation_aware, observed, quantizable, quantized_weights
from groundup.inference.quantization_config import QuantizationConfig
from groundup.inference.requests import Request, Sampling
from groundup.kernels.matvec import multiply_and_sum
from groundup.models.building import build_model
from groundup.models.config import DecoderConfig, Layer
from groundup.models.initialization import initialize
from groundup.models.mixer_config import Attention, GatedMLP, LatentAttention, MixtureOfExperts
from groundup.models.quantized_weight import QuantizedWeight, put_quantized, quantize, restore, restored_weights

WAYS = [(bits, group) for bits in (8, 4) for group in (64, 16)]


def rounded_by_numpy(weight, bits, group):
    """Each group's numbers at the nearest of the values its scale allows, one by one."""
    result = np.empty_like(weight)
    for row in range(weight.shape[0]):
        for first in range(0, weight.shape[1], group):
            part = weight[row, first : first + group]
            extreme = part[np.argmax(np.abs(part))]
            levels = np.arange(-127, 128) * (abs(extreme) / 127) if bits == 8 else np.arange(-8, 8) * (extreme / -8)
            result[row, first : first + group] = levels[np.argmin(np.abs(part[:, None] - levels), axis=1)]
    return result


@pytest.mark.parametrize(("bits", "group"), WAYS)
def test_rounding_finds_the_nearest_level(bits, group):
    weight = torch.randn(6, 64, generator=torch.Generator().manual_seed(bits + group))
    values, scales = quantize(weight, bits, group)
    assert values.numel() * (8 // bits) == weight.numel()
    assert scales.shape == (6, 64 // group)
    np.testing.assert_allclose(restore(values, scales), rounded_by_numpy(weight.numpy(), bits, group), atol=1e-5)


def test_a_row_of_zeros_stays_zero():
    for bits in (8, 4):
        assert not restore(*quantize(torch.zeros(2, 32), bits, 32)).any()


@pytest.mark.parametrize(("bits", "group"), WAYS)
@pytest.mark.parametrize("rows", [1, 3, 20])
@pytest.mark.parametrize("scaled", [False, True])
def test_products_are_those_of_the_restored_weight(bits, group, rows, scaled):
    generator = torch.Generator().manual_seed(0)
    weight, x = torch.randn(24, 64, generator=generator), torch.randn(rows, 1, 64, generator=generator)
    input_scales = torch.rand(64, generator=generator) + 0.5 if scaled else None
    quantized = QuantizedWeight(*quantize(weight, bits, group), input_scales)
    expected = x @ quantized.restored().mT
    torch.testing.assert_close(quantized(x), expected, atol=1e-4, rtol=1e-4)
    with multiply_and_sum(8):
        torch.testing.assert_close(quantized(x), expected, atol=1e-4, rtol=1e-4)


def test_scales_stay_exact_when_the_model_becomes_bf16():
    quantized = QuantizedWeight(*quantize(torch.randn(8, 32), 8, 32))
    before = quantized.scales_OG.clone()
    quantized.to(torch.bfloat16)
    assert torch.equal(quantized.scales_OG, before)
    assert quantized[torch.tensor([3])].dtype == torch.bfloat16


DECODERS = {
    "attention": Layer(Attention(2, 1), GatedMLP(hidden_width=64)),
    "latent": Layer(LatentAttention(2, 16, 16, 16, 32, 32), GatedMLP(hidden_width=64)),
    "experts": Layer(Attention(2, 1), MixtureOfExperts(num_experts=4, experts_per_token=2, shared_width=32)),
}


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("bits", [8, 4])
def test_a_quantised_model_computes_with_the_restored_weights(name, tied, bits):
    config = DecoderConfig(259, 32, 32, 2, (DECODERS[name],), tie_embeddings=tied)
    model = build_model(config)
    initialize(model, 0)
    state = quantized_weights(model.eval(), QuantizationConfig(bits=bits))
    assert any(key.endswith("values_OV") for key in state)
    quantized, restored = build_model(config).eval(), build_model(config).eval()
    put_quantized(quantized, state)
    quantized.load_state_dict(state)
    restored.load_state_dict(restored_weights(state))
    tokens = torch.randint(259, (2, 9), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        ours, expected = (each.unembed(each(tokens)) for each in (quantized, restored))
        torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(quantized.token_losses(tokens, tokens), restored.token_losses(tokens, tokens))
        original = model.unembed(model(tokens))
    # A matrix of 8 bits adds noise of 3σ / 127 / √12 or 0.7 %, one of 4 bits 16 times that, and some nine are in a row.
    assert 0 < (original - ours).square().mean().sqrt() < (0.04 if bits == 8 else 0.64) * original.std()


@pytest.mark.parametrize("tied", [False, True])
def test_a_quantised_model_in_bf16_has_losses_near_those_in_fp32(tied):
    config = DecoderConfig(259, 32, 32, 2, (DECODERS["attention"],), tie_embeddings=tied)
    model = build_model(config)
    initialize(model, 0)
    state = quantized_weights(model.eval(), QuantizationConfig())
    put_quantized(model, state)
    model.load_state_dict(state)
    tokens = torch.randint(259, (2, 9), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        exact = model.token_losses(tokens, tokens)
        model.to(torch.bfloat16)
        torch.testing.assert_close(model.token_losses(tokens, tokens), exact, atol=0.05, rtol=0.02)


def test_awq_errs_less_where_few_columns_carry_the_inputs():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(48, 64, generator=generator)
    inputs = torch.randn(500, 64, generator=generator) * torch.where(torch.arange(64) % 16 == 0, 20.0, 0.2)
    holder: Any = torch.nn.Module()
    holder.query = torch.nn.Parameter(weight)
    with observed(holder, dict(quantizable(holder))) as seen:
        for part in inputs.split(100):
            torch.testing.assert_close(holder.query(part), part @ weight.mT)  # pyright: ignore[reportCallIssue]
    assert isinstance(holder.query, torch.nn.Parameter)
    found = activation_aware(weight, 4, 64, seen["query"])

    def error(quantized):
        return ((quantized(inputs) - inputs @ weight.mT) ** 2).mean().item()

    plain, aware = error(QuantizedWeight(*quantize(weight, 4, 64))), error(QuantizedWeight(*found))
    assert aware < 0.5 * plain


def test_the_least_error_of_the_grid_is_that_of_the_outputs():
    """The error by Σ x xᵀ is that of the outputs themselves, so no other exponent is better on these inputs."""
    generator = torch.Generator().manual_seed(3)
    weight, inputs = torch.randn(8, 32, generator=generator), torch.randn(64, 32, generator=generator).exp()
    holder: Any = torch.nn.Module()
    holder.up = torch.nn.Parameter(weight)
    with observed(holder, dict(quantizable(holder))) as seen:
        holder.up(inputs)  # pyright: ignore[reportCallIssue]
    best = ((QuantizedWeight(*activation_aware(weight, 4, 32, seen["up"]))(inputs) - inputs @ weight.mT) ** 2).sum()
    sizes = inputs.abs().mean(dim=0)
    for exponent in range(20):
        t = sizes ** (exponent / 20)
        t = t / (t.max() * t.min()).sqrt()
        other = QuantizedWeight(*quantize(weight * t, 4, 32), t)
        assert best <= ((other(inputs) - inputs @ weight.mT) ** 2).sum() * (1 + 1e-4)


def test_a_quantised_checkpoint_generates_and_gives_plain_weights(tmp_path):
    engine = tiny_engine()
    state = quantized_weights(engine.model, QuantizationConfig())
    path = write_checkpoint(tmp_path, 1, engine.model.config, state, {}, BYTES)
    request = Request((65, 66, 67), Sampling(12, temperature=0))
    plain = build_model(engine.model.config)
    plain.load_state_dict(read_checkpoint(path).weights())  # what training and export are given
    quantized = load_engine(path, torch.float32)
    assert isinstance(quantized.model.unembedding, QuantizedWeight)
    engine.model.load_state_dict(plain.state_dict())
    assert quantized.generate([request])[0].ids == engine.generate([request])[0].ids


def test_groups_fit_the_rows():
    four = QuantizationConfig(bits=4)
    assert [four.group_of(columns) for columns in (768, 192, 96, 80)] == [128, 64, 32, 80]
    assert replace(four, bits=8).group_of(768) == 768
    assert QuantizationConfig(bits=8, group=32).group_of(768) == 32
    with pytest.raises(ConfigError, match="bits is 3"):
        QuantizationConfig(bits=3)  # pyright: ignore[reportArgumentType]
