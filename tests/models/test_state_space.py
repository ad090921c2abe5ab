"""Mamba-2 against its recurrence written out and against transformers' module."""

import pytest
import torch
from recurrent_mixers import PACKED, STATE_SPACES, D, randn, random_mixer
from torch import Tensor
from transformers import Mamba2Config
from transformers.models.mamba2 import modeling_mamba2 as mamba

from groundup.models import mixer_config
from groundup.models.delta_rule import softplus
from groundup.models.linear_attention import scan
from groundup.models.state_space import StateSpace


def written_out(module: StateSpace, weights: dict[str, Tensor], x_TD: Tensor, positions_T: Tensor) -> Tensor:
    """One row in float64, token by token and head by head, with the paper's letters."""
    config, silu = module.config, torch.nn.functional.silu
    H, G, N, P, W = config.num_heads(D), config.groups, config.state_width, config.head_width, config.convolution
    states, history, rows = [torch.zeros(N, P, dtype=torch.float64)] * H, [], []
    for u_D, position in zip(x_TD, positions_T.tolist(), strict=True):
        if position == 0:
            states, history = [torch.zeros(N, P, dtype=torch.float64)] * H, []
        history.append(torch.cat([weights[name] @ u_D for name in ("value", "key", "query")]))
        recent = history[-W:]
        convolved = (weights["convolution"][:, W - len(recent) :] * torch.stack(recent, dim=1)).sum(dim=1)
        x, B, C = silu(convolved + weights["convolution_bias"]).split((H * P, G * N, G * N))
        x, B, C = x.view(H, P), B.view(G, N), C.view(G, N)
        z = (weights["gate"] @ u_D).view(H, P)
        gated = []
        for h in range(H):
            g = h * G // H
            dt = torch.nn.functional.softplus(weights["step"][h] @ u_D + weights["step_bias"][h])
            A = -torch.exp(weights["log_decay_rate"][h])
            states[h] = torch.exp(dt * A) * states[h] + dt * torch.outer(B[g], x[h])
            gated.append((states[h].T @ C[g] + weights["skip"][h] * x[h]) * silu(z[h]))
        groups = torch.cat(gated).view(G, -1)
        normed = groups / torch.sqrt(groups.square().mean(dim=-1, keepdim=True) + module.epsilon)
        rows.append(weights["output"] @ (normed.flatten() * weights["output_gain"]))
    return torch.stack(rows)


@pytest.mark.parametrize("config", STATE_SPACES.values(), ids=STATE_SPACES)
@pytest.mark.parametrize("positions_T", [torch.arange(5, 78), PACKED[:20]], ids=["one document", "packed"])
def test_outputs_and_gradients_are_those_of_the_formula(config: mixer_config.StateSpace, positions_T: Tensor) -> None:
    module, x_TD, wanted_TD = random_mixer(config), randn(len(positions_T), D), randn(len(positions_T), D, seed=2)
    weights = {name: p.detach().double().requires_grad_() for name, p in module.named_parameters()}
    expected = written_out(module, weights, x_TD.double(), positions_T)
    found = module(x_TD[None], positions_T[None] if positions_T[0] == 0 else positions_T, None)[0]
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)
    (found * wanted_TD).mean().backward()
    (expected * wanted_TD).mean().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad.double(), weights[name].grad, atol=1e-5, rtol=1e-4)


FUSED = ("gate", "value", "key", "query", "step")  # their in-projection, in its order
NAMES = {  # theirs and ours, beside the fused in-projection
    "conv1d.bias": "convolution_bias", "dt_bias": "step_bias", "A_log": "log_decay_rate", "D": "skip",
    "norm.weight": "output_gain", "out_proj.weight": "output",
}  # fmt: skip


@pytest.mark.parametrize("groups", [1, 2])
def test_the_layer_is_that_of_transformers(groups: int) -> None:
    ours = random_mixer(mixer_config.StateSpace(head_width=12, state_width=6, groups=groups, chunk=32))
    config = Mamba2Config(
        hidden_size=D, expand=2, num_heads=4, head_dim=12, state_size=6, n_groups=groups, conv_kernel=4, chunk_size=32,
        num_hidden_layers=1, layer_norm_epsilon=1e-5,
    )  # fmt: skip
    theirs = mamba.Mamba2Mixer(config, 0)
    with torch.no_grad():
        theirs.in_proj.weight.copy_(torch.cat([ours.get_parameter(name) for name in FUSED]))
        theirs.conv1d.weight.copy_(ours.convolution[:, None])
        for name, own in NAMES.items():
            theirs.get_parameter(name).copy_(ours.get_parameter(own))
    x_BTD, wanted_BTD = randn(2, 100, D), randn(2, 100, D, seed=2)
    found, expected = ours(x_BTD, torch.arange(100), None), theirs(x_BTD)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    (found * wanted_BTD).mean().backward()
    (expected * wanted_BTD).mean().backward()
    for name, own in NAMES.items():
        torch.testing.assert_close(ours.get_parameter(own).grad, theirs.get_parameter(name).grad, atol=1e-4, rtol=1e-4)
    assert theirs.in_proj.weight.grad is not None
    parts = theirs.in_proj.weight.grad.split([len(ours.get_parameter(name)) for name in FUSED])
    for name, part in zip(FUSED, parts, strict=True):
        torch.testing.assert_close(ours.get_parameter(name).grad, part, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("T", [1, 31, 32, 100])
def test_the_scan_is_that_of_transformers(T: int) -> None:
    B, G, R, K, V = 2, 2, 3, 5, 4
    k, q, v = randn(B, G, T, K, seed=1), randn(B, G, T, K, seed=2), randn(B, G, R, T, V, seed=3)
    step, rate = softplus(randn(B, G, R, T, seed=4)), randn(G * R, seed=5).exp()
    begin = randn(B, G, R, K, V, seed=6)
    expected, last = mamba.mamba2_chunk_scan(
        v.movedim(3, 1).flatten(2, 3), step.movedim(3, 1).flatten(2, 3), -rate, k.transpose(1, 2), q.transpose(1, 2),
        chunk_size=32, initial_states=begin.flatten(1, 2).mT, return_final_states=True,
    )  # fmt: skip
    log_decay = -rate.view(G, R, 1) * step
    found, state = scan(q, k, step[..., None] * v, log_decay, begin, chunk=32)
    torch.testing.assert_close(found.movedim(3, 1).flatten(2, 3), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(state.flatten(1, 2).mT, last, atol=1e-5, rtol=1e-5)
