"""Linear attention against its sums written out, and its scan against the recurrence."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recurrent_mixers import LINEAR_ATTENTIONS, PACKED, D, randn, random_mixer
from torch import Tensor

from groundup.models import mixer_config
from groundup.models.linear_attention import chunked_scan, scan, scan_step
from groundup.models.position_config import Rotary


def written_out(config: mixer_config.LinearAttention, weights: dict[str, Tensor], x_TD: Tensor, at_T: Tensor) -> Tensor:
    """One row in float64: every query with every key of its document up to its own."""
    H, document_T = config.num_heads, (at_T == 0).cumsum(0)
    rows = []
    for t in range(len(x_TD)):
        heads = []
        for head in range(H):
            width = len(weights["query"]) // H
            of_head = slice(head * width, (head + 1) * width)
            q = features(config, weights["query"][of_head] @ x_TD[t], at_T[t])
            numerator, denominator = torch.zeros(width, dtype=torch.float64), torch.zeros((), dtype=torch.float64)
            for s in range(t + 1):
                if document_T[s] == document_T[t]:
                    weight = q @ features(config, weights["key"][of_head] @ x_TD[s], at_T[s])
                    numerator = numerator + weight * (weights["value"][of_head] @ x_TD[s])
                    denominator = denominator + weight
            heads.append(numerator / denominator)
        rows.append(weights["output"] @ torch.cat(heads))
    return torch.stack(rows)


def features(config: mixer_config.LinearAttention, x_K: Tensor, position: Tensor) -> Tensor:
    if isinstance(config.position, Rotary):
        half = round(config.position.fraction * len(x_K)) // 2
        frequencies = config.position.base ** (-torch.arange(half, dtype=torch.float64) / half)
        turned = torch.complex(x_K[:half], x_K[half : 2 * half]) * torch.exp(1j * position * frequencies)
        x_K = torch.cat((turned.real, turned.imag, x_K[2 * half :]))
    return torch.nn.functional.elu(x_K) + 1


@pytest.mark.parametrize("config", LINEAR_ATTENTIONS.values(), ids=LINEAR_ATTENTIONS)
@pytest.mark.parametrize("positions_T", [torch.arange(5, 18), PACKED[:12]], ids=["one document", "packed"])
def test_outputs_and_gradients_are_those_of_the_formula(
    config: mixer_config.LinearAttention, positions_T: Tensor
) -> None:
    module, T = random_mixer(config), len(positions_T)
    x_BTD, wanted_BTD = randn(2, T, D), randn(2, T, D, seed=2)
    weights = {name: p.detach().double().requires_grad_() for name, p in module.named_parameters()}
    expected = torch.stack([written_out(module.config, weights, x_TD.double(), positions_T) for x_TD in x_BTD])
    packed = bool(positions_T[0] == 0)
    found = module(x_BTD, positions_T.expand(2, -1) if packed else positions_T, None)
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=0)
    (found * wanted_BTD).sum().backward()
    (expected * wanted_BTD).sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad.double(), weights[name].grad, atol=1e-4, rtol=1e-4)


def recurrence(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, state: Tensor | None, starts: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The scan token by token and head by head; q, k (B, G, T, K), v (B, G, R, T, V)."""
    B, G, R, T, V = v.shape
    log_decay = log_decay.expand(B, G, R, T)
    y, last = torch.zeros(B, G, R, T, V, dtype=v.dtype), torch.zeros(B, G, R, q.shape[-1], V, dtype=v.dtype)
    for b, g, r in torch.cartesian_prod(torch.arange(B), torch.arange(G), torch.arange(R)).tolist():
        S = torch.zeros(q.shape[-1], V, dtype=v.dtype) if state is None else state[b, g, r]
        for t in range(T):
            if starts is not None and starts[b, t]:
                S = torch.zeros_like(S)
            S = log_decay[b, g, r, t].exp() * S + torch.outer(k[b, g, t], v[b, g, r, t])
            y[b, g, r, t] = S.T @ q[b, g, t]
        last[b, g, r] = S
    return y, last


@settings(max_examples=25, deadline=None)
@given(
    T=st.integers(1, 40), chunk=st.sampled_from([1, 2, 5, 8, 64]), begun=st.booleans(), packed=st.booleans(),
    decays=st.booleans(), seed=st.integers(0, 1000),
)  # fmt: skip
def test_the_scan_is_its_recurrence(T: int, chunk: int, begun: bool, packed: bool, decays: bool, seed: int) -> None:
    B, G, R, K, V = 2, 2, 3, 4, 5
    q, k = (randn(B, G, T, K, seed=seed + i, dtype=torch.float64) for i in range(2))
    v = randn(B, G, R, T, V, seed=seed + 2, dtype=torch.float64)
    log_decay = (
        -randn(B, G, R, T, seed=seed + 3, dtype=torch.float64).exp() if decays else torch.zeros(1, 1, 1, T).double()
    )
    state = randn(B, G, R, K, V, seed=seed + 4, dtype=torch.float64) if begun else None
    starts = randn(B, T, seed=seed + 5) > 1 if packed else None
    found = scan(q, k, v, log_decay, state, starts, chunk)
    for one, other in zip(found, recurrence(q, k, v, log_decay, state, starts), strict=True):
        torch.testing.assert_close(one, other, atol=1e-10, rtol=1e-10)


def test_one_token_of_the_chunked_form_is_a_step() -> None:
    q, k, v, log_decay = randn(2, 3, 1, 4), randn(2, 3, 1, 4), randn(2, 3, 2, 1, 5), -randn(2, 3, 2, 1).abs()
    state = randn(2, 3, 2, 4, 5)
    y, after = chunked_scan(q, k, v, log_decay, state, None, 64)
    y_step, after_step = scan_step(q[:, :, 0], k[:, :, 0], v[..., 0, :], log_decay[..., 0], state)
    torch.testing.assert_close((y[..., 0, :], after), (y_step, after_step))


def test_what_decays_to_nothing_has_finite_gradients() -> None:
    q, k, v = randn(1, 1, 100, 4), randn(1, 1, 100, 4), randn(1, 1, 1, 100, 4)
    log_decay = torch.full((1, 1, 1, 100), -300.0, requires_grad=True)
    y, _ = scan(q, k, v, log_decay)
    y.sum().backward()
    torch.testing.assert_close(y[0, 0, 0], (q * k).sum(-1)[0, 0, :, None] * v[0, 0, 0])
    assert log_decay.grad is not None
    assert log_decay.grad.isfinite().all()


def test_a_slow_decay_after_a_fast_one_is_exact() -> None:
    q, k, v = randn(1, 1, 64, 4), randn(1, 1, 64, 4), randn(1, 1, 1, 64, 4)
    log_decay = torch.full((1, 1, 1, 64), -1e-3)
    log_decay[..., 20] = -3000.0
    expected, _ = scan(q.double(), k.double(), v.double(), log_decay.double())
    torch.testing.assert_close(scan(q, k, v, log_decay)[0].double(), expected, atol=3e-6, rtol=1e-6)
