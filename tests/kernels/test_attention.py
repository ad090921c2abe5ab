"""Attention: every implementation against the formula, forward and gradient; the formula against plain loops."""

import math

import pytest
import torch
from torch import Tensor

from groundup.kernels.attention import MIN_BLOCK, attend, attend_causal_blocked, attend_reference, repeat_heads
from groundup.kernels.dispatch import chosen

K = 16
HEADS = [(4, 4), (4, 2), (4, 1)]
# One position, around one block, several whole blocks, and blocks of which the last is cut.
LENGTHS = [1, MIN_BLOCK - 1, MIN_BLOCK, MIN_BLOCK + 1, 4 * MIN_BLOCK, 4 * MIN_BLOCK + 1, 5 * MIN_BLOCK - 3]
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 3e-2}


def query_key_value(T: int, S: int, heads: tuple[int, int], dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(T + S)
    shapes = [(2, heads[0], T, K), (2, heads[1], S, K), (2, heads[1], S, K)]
    return [torch.randn(shape, generator=generator).to(dtype).requires_grad_() for shape in shapes]


def output_and_gradients(attention, inputs: list[Tensor], *rest: Tensor) -> list[Tensor]:
    output = attention(*inputs, *rest)
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(1)).to(output.dtype)
    return [output.detach(), *torch.autograd.grad((output * weights).sum(), inputs)]


def assert_close(found: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        scale = max(1.0, other.abs().max().item())
        torch.testing.assert_close(one, other, atol=tolerance * scale, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("T", LENGTHS)
def test_blocked_is_the_formula(T: int, heads: tuple[int, int], dtype: torch.dtype) -> None:
    inputs = query_key_value(T, T, heads, dtype)
    found = output_and_gradients(attend_causal_blocked, inputs)
    assert_close(found, output_and_gradients(attend_reference, inputs), TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize(("T", "S"), [(1, 40), (17, 40), (40, 40)])
def test_masked_is_the_formula(T: int, S: int, heads: tuple[int, int], dtype: torch.dtype) -> None:
    inputs = query_key_value(T, S, heads, dtype)
    mask_BTS = torch.rand(2, T, S, generator=torch.Generator().manual_seed(2)) < 0.3
    mask_BTS[..., 0] = True  # each query sees something
    found = output_and_gradients(attend, inputs, mask_BTS)
    assert_close(found, output_and_gradients(attend_reference, inputs, mask_BTS), TOLERANCE[dtype])
    assert chosen()["attention.masked"] == "torch_sdpa"


@pytest.mark.parametrize("heads", HEADS)
def test_without_gradients_it_is_the_formula_too(heads: tuple[int, int]) -> None:
    inputs = query_key_value(70, 70, heads)
    with torch.no_grad():
        assert_close([attend(*inputs)], [attend_reference(*inputs)], TOLERANCE[torch.float32])
    assert chosen()["attention.causal"] == "torch_sdpa"


def test_training_on_a_cpu_uses_the_blocks_and_says_so() -> None:
    inputs = query_key_value(70, 70, (2, 2))
    assert torch.equal(attend(*inputs), attend_causal_blocked(*inputs))
    assert chosen()["attention.causal"] == "blocked"


def test_the_formula_is_what_loops_compute() -> None:
    q_BHTK, k_BGSK, v_BGSK = (x.detach() for x in query_key_value(5, 5, (4, 2)))
    found = attend_reference(q_BHTK, k_BGSK, v_BGSK)
    for b in range(2):
        for h in range(4):
            g = h // 2
            for t in range(5):
                scores = [torch.dot(q_BHTK[b, h, t], k_BGSK[b, g, s]).item() / math.sqrt(K) for s in range(t + 1)]
                total = sum(math.exp(score) for score in scores)
                expected = sum(math.exp(score) / total * v_BGSK[b, g, s] for s, score in enumerate(scores))
                torch.testing.assert_close(found[b, h, t], expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("attention", [attend_reference, attend_causal_blocked])
def test_later_keys_and_values_have_no_influence(attention) -> None:
    q_BHTK, k_BGSK, v_BGSK = (x.detach().clone() for x in query_key_value(100, 100, (2, 2)))
    before = attention(q_BHTK, k_BGSK, v_BGSK)
    k_BGSK[:, :, 70:], v_BGSK[:, :, 70:] = 1e3, -1e3
    after = attention(q_BHTK, k_BGSK, v_BGSK)
    assert torch.equal(after[:, :, :70], before[:, :, :70])
    assert not torch.equal(after[:, :, 70:], before[:, :, 70:])


def test_large_scores_overflow_nothing() -> None:
    inputs = [x.detach() * 1e3 for x in query_key_value(80, 80, (2, 1))]
    assert_close([attend_causal_blocked(*inputs)], [attend_reference(*inputs)], 1e-5)
    assert attend_causal_blocked(*inputs).isfinite().all()


def test_neighbouring_query_heads_share_a_key_head() -> None:
    x_BGSK = torch.randn(2, 3, 5, K)
    repeated = repeat_heads(x_BGSK, 6)
    for head in range(6):
        assert torch.equal(repeated[:, head], x_BGSK[:, head // 2])
