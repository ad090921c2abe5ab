"""The delta rule against its recurrence written out and against Qwen3-Next; chunks of any length."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recurrent_mixers import DELTA_RULES, PACKED, D, randn, random_mixer
from torch import Tensor
from transformers import Qwen3NextConfig
from transformers.models.qwen3_next import modeling_qwen3_next as qwen

from groundup.models import mixer_config
from groundup.models.delta_rule import (
    DeltaRule,
    chunked_delta_rule,
    delta_rule,
    delta_rule_step,
    inverse_of_unit_lower,
    softplus,
    spread_decays,
    unit,
)


def written_out(module: DeltaRule, weights: dict[str, Tensor], x_TD: Tensor, positions_T: Tensor) -> Tensor:
    """One row in float64, token by token and head by head."""
    H, (K, V), W = module.config.num_heads, module.widths, module.config.convolution
    silu = torch.nn.functional.silu
    states, history, rows = [torch.zeros(V, K, dtype=torch.float64)] * H, [], []
    for x_D, position in zip(x_TD, positions_T.tolist(), strict=True):
        if position == 0:
            states, history = [torch.zeros(V, K, dtype=torch.float64)] * H, []
        history.append(torch.cat([weights[name] @ x_D for name in ("query", "key", "value")]))
        recent = history[-W:]
        taps = weights["convolution"][:, W - len(recent) :]
        mixed = silu((taps * torch.stack(recent, dim=1)).sum(dim=1))
        q, k, v = (part.unflatten(0, (H, -1)) for part in mixed.split((H * K, H * K, H * V)))
        gate, outputs = silu(weights["gate"] @ x_D).unflatten(0, (H, V)), []
        for h in range(H):
            q_h, k_h = (x[h] / torch.sqrt(x[h] @ x[h] + 1e-6) for x in (q, k))
            beta, alpha = torch.sigmoid(weights["beta"][h] @ x_D), torch.ones((), dtype=torch.float64)
            if module.config.gated:
                step = torch.nn.functional.softplus(weights["decay"][h] @ x_D + weights["decay_bias"][h])
                alpha = torch.exp(-torch.exp(weights["log_decay_rate"][h]) * step)
            rotation = torch.eye(K, dtype=torch.float64) - beta * torch.outer(k_h, k_h)
            states[h] = alpha * states[h] @ rotation + beta * torch.outer(v[h], k_h)  # eq. 10
            y = states[h] @ q_h / math.sqrt(K)
            y = y / torch.sqrt(y.square().mean() + module.epsilon) * weights["output_gain"]
            outputs.append(y * gate[h])
        rows.append(weights["output"] @ torch.cat(outputs))
    return torch.stack(rows)


@pytest.mark.parametrize("config", DELTA_RULES.values(), ids=DELTA_RULES)
@pytest.mark.parametrize("positions_T", [torch.arange(5, 78), PACKED[:20]], ids=["one document", "packed"])
def test_outputs_and_gradients_are_those_of_the_formula(config: mixer_config.DeltaRule, positions_T: Tensor) -> None:
    module, x_TD, wanted_TD = random_mixer(config), randn(len(positions_T), D), randn(len(positions_T), D, seed=2)
    weights = {name: p.detach().double().requires_grad_() for name, p in module.named_parameters()}
    expected = written_out(module, weights, x_TD.double(), positions_T)
    found = module(x_TD[None], positions_T[None] if positions_T[0] == 0 else positions_T, None)[0]
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)
    (found * wanted_TD).mean().backward()
    (expected * wanted_TD).mean().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad.double(), weights[name].grad, atol=1e-4, rtol=1e-4)


def random_inputs(B: int, H: int, T: int, K: int, V: int, seed: int, dtype: torch.dtype) -> list[Tensor]:
    """Queries, keys, values, β and log decays."""
    q, k = (unit(randn(B, H, T, K, seed=seed + i, dtype=dtype)) for i in range(2))
    v, beta = randn(B, H, T, V, seed=seed + 2, dtype=dtype), torch.sigmoid(randn(B, H, T, seed=seed + 3, dtype=dtype))
    return [q, k, v, beta, -randn(B, H, T, seed=seed + 4, dtype=dtype).exp()]


@settings(max_examples=25, deadline=None)
@given(
    T=st.integers(1, 40), chunk=st.sampled_from([1, 2, 8, 64]), begun=st.booleans(), packed=st.booleans(),
    decays=st.booleans(), seed=st.integers(0, 1000),
)  # fmt: skip
def test_chunks_are_the_recurrence(T: int, chunk: int, begun: bool, packed: bool, decays: bool, seed: int) -> None:
    B, H, K, V = 2, 3, 4, 5
    q, k, v, beta, log_decay = random_inputs(B, H, T, K, V, seed, torch.float64)
    log_decay = log_decay if decays else torch.zeros(1, 1, T).double()
    begin = randn(B, H, K, V, seed=seed + 5, dtype=torch.float64) if begun else None
    starts = randn(B, T, seed=seed + 6) > 1 if packed else None
    found, last = delta_rule(q, k, v, beta, log_decay, begin, starts, chunk)
    for b, h in torch.cartesian_prod(torch.arange(B), torch.arange(H)).tolist():
        S = torch.zeros(K, V).double() if begin is None else begin[b, h]
        for t in range(T):
            if starts is not None and starts[b, t]:
                S = torch.zeros_like(S)
            S = log_decay.expand(B, H, T)[b, h, t].exp() * S
            S = S + beta[b, h, t] * torch.outer(k[b, h, t], v[b, h, t] - S.T @ k[b, h, t])
            torch.testing.assert_close(found[b, h, t], S.T @ q[b, h, t], atol=1e-10, rtol=1e-10)
        torch.testing.assert_close(last[b, h], S, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("oracle", [qwen.torch_chunk_gated_delta_rule, qwen.torch_recurrent_gated_delta_rule])
@pytest.mark.parametrize("begun", [False, True])
def test_the_rule_is_qwens(oracle: Any, begun: bool) -> None:
    B, H, T, K, V = 2, 3, 150, 16, 8
    inputs = [x.requires_grad_() for x in random_inputs(B, H, T, K, V, 7, torch.float32)]
    begin = randn(B, H, K, V, seed=3).requires_grad_() if begun else None
    leaves = [*inputs, *([begin] if begin is not None else [])]
    q, k, v, beta, log_decay = (x.transpose(1, 2) for x in inputs)
    expected, expected_last = oracle(q, k, v, g=log_decay, beta=beta, initial_state=begin, output_final_state=True)
    q, k, v, beta, log_decay = inputs
    found, last = delta_rule(q / math.sqrt(K), k, v, beta, log_decay, begin)
    torch.testing.assert_close((found.transpose(1, 2), last), (expected, expected_last), atol=1e-5, rtol=0)
    wanted, wanted_last = randn(B, T, H, V, seed=4), randn(B, H, K, V, seed=5)
    of_found = torch.autograd.grad((found.transpose(1, 2) * wanted).sum() + (last * wanted_last).sum(), leaves)
    of_expected = torch.autograd.grad((expected * wanted).sum() + (expected_last * wanted_last).sum(), leaves)
    torch.testing.assert_close(of_found, of_expected, atol=1e-4, rtol=1e-4)


def test_the_layer_is_qwens() -> None:
    config = Qwen3NextConfig(
        hidden_size=D, linear_num_key_heads=3, linear_num_value_heads=3, linear_key_head_dim=8,
        linear_value_head_dim=10, linear_conv_kernel_dim=4, rms_norm_eps=1e-5, num_hidden_layers=1,
        layer_types=["linear_attention"],
    )  # fmt: skip
    theirs = qwen.Qwen3NextGatedDeltaNet(config, 0)
    ours = random_mixer(mixer_config.DeltaRule(num_heads=3, key_width=8, value_width=10))
    with torch.no_grad():
        wide = [getattr(ours, name).unflatten(0, (3, -1)) for name in ("query", "key", "value", "gate")]
        theirs.in_proj_qkvz.weight.copy_(torch.cat(wide, dim=1).flatten(0, 1))  # head by head
        theirs.in_proj_ba.weight.copy_(torch.stack((ours.beta, ours.decay), dim=1).flatten(0, 1))
        theirs.conv1d.weight.copy_(ours.convolution[:, None])
        for name, parameter in (
            ("dt_bias", ours.decay_bias),
            ("A_log", ours.log_decay_rate),
            ("norm.weight", ours.output_gain),
            ("out_proj.weight", ours.output),
        ):
            theirs.get_parameter(name).copy_(parameter)
    x_BTD, wanted_BTD = randn(2, 100, D), randn(2, 100, D, seed=2)
    found, expected = ours(x_BTD, torch.arange(100), None), theirs(x_BTD)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    (found * wanted_BTD).mean().backward()
    (expected * wanted_BTD).mean().backward()
    for own, name in (("log_decay_rate", "A_log"), ("output_gain", "norm.weight"), ("output", "out_proj.weight")):
        one, other = ours.get_parameter(own).grad, theirs.get_parameter(name).grad
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("C", [1, 2, 8, 64])
@pytest.mark.parametrize("alike", [0.0, 2.0])
def test_the_inverse_by_blocks_is_the_inverse(C: int, alike: float) -> None:
    k_BCK = unit(randn(3, C, 16) + alike)  # at 2 all keys are alike, and powers of the matrix have entries of 1e17
    x_BCC = k_BCK @ k_BCK.mT
    expected = torch.linalg.inv(x_BCC.double().tril(-1) + torch.eye(C).double())
    torch.testing.assert_close(inverse_of_unit_lower(x_BCC).double(), expected, atol=1e-5, rtol=0)


def test_one_token_of_the_chunked_form_is_a_step() -> None:
    inputs, state = random_inputs(2, 3, 1, 4, 5, 0, torch.float32), randn(2, 3, 4, 5)
    q, k, v, beta, log_decay = inputs
    y, after = chunked_delta_rule(q, k, v, beta, log_decay, state, None, 64)
    q, k, v, beta, log_decay = (x[:, :, 0] for x in inputs)
    y_step, after_step = delta_rule_step(q, k, v, beta, log_decay, state)
    torch.testing.assert_close((y[:, :, 0], after), (y_step, after_step))


def test_a_value_is_found_again_at_its_key_and_replaced_by_a_newer_one() -> None:
    k = torch.eye(4)[[0, 1, 0]][None, None]
    v, always, never = randn(1, 1, 3, 5), torch.ones(1, 1, 3), torch.zeros(1, 1, 3)
    _, state = delta_rule(k, k, v, always, never)
    torch.testing.assert_close(state[0, 0, :2], v[0, 0, [2, 1]])
    assert not state[0, 0, 2:].any()


def test_what_decays_to_nothing_has_finite_gradients() -> None:
    q, k, v, beta, _ = random_inputs(1, 1, 100, 4, 4, 0, torch.float32)
    log_decay = torch.full((1, 1, 100), -300.0, requires_grad=True)
    y, _ = delta_rule(q, k, v, beta, log_decay)
    y.sum().backward()
    torch.testing.assert_close(y, (q * k).sum(-1, keepdim=True) * beta[..., None] * v)
    assert log_decay.grad is not None
    assert log_decay.grad.isfinite().all()


def test_fresh_decays_are_spread_over_their_range() -> None:
    log_rate_H, step_bias_H = spread_decays(5)
    torch.testing.assert_close(log_rate_H.exp(), torch.tensor([1.0, 4.75, 8.5, 12.25, 16.0]))
    torch.testing.assert_close(softplus(step_bias_H), torch.tensor([1e-3, 10**-2.5, 1e-2, 10**-1.5, 0.1]))
    x = torch.linspace(-60, 60, 99)
    torch.testing.assert_close(softplus(x), torch.nn.functional.softplus(x))
    assert all(one.isfinite().all() for one in spread_decays(1))
