"""Linear and cross-entropy in one: the definition in fp64, and PyTorch's loss of materialised logits."""

import shutil

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from groundup.kernels.cross_entropy import (
    CHUNK,
    chunk_loss,
    cross_entropy_reference,
    linear_cross_entropy,
    mean_cross_entropy,
)

D, V = 24, 301


def hidden_weight_targets(shape: tuple[int, ...], scale: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(len(shape))
    hidden = scale * torch.randn(*shape, D, generator=generator)
    weight = torch.randn(V, D, generator=generator) / D**0.5
    return hidden.requires_grad_(), weight.requires_grad_(), torch.randint(V, shape, generator=generator)


@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 3, 4)])
@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_it_is_the_definition(shape: tuple[int, ...], scale: float) -> None:
    hidden, weight, targets = hidden_weight_targets(shape, scale)
    found = linear_cross_entropy(hidden, weight, targets)
    assert found.shape == shape
    assert found.dtype == torch.float32
    expected = cross_entropy_reference(hidden, weight, targets)
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", [(7,), (3, 5)])
def test_value_and_gradients_are_those_of_pytorch(shape: tuple[int, ...]) -> None:
    hidden, weight, targets = hidden_weight_targets(shape)
    scales = torch.rand(shape, generator=torch.Generator().manual_seed(3))
    found = linear_cross_entropy(hidden, weight, targets)
    logits = (hidden @ weight.mT).flatten(0, -2)
    expected = F.cross_entropy(logits, targets.flatten(), reduction="none").view(shape)
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=1e-6)
    gradients = torch.autograd.grad((found * scales).sum(), (hidden, weight))
    for one, other in zip(gradients, torch.autograd.grad((expected * scales).sum(), (hidden, weight)), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


def test_huge_logits_overflow_nothing() -> None:
    hidden = torch.tensor([[1e4], [-1e4]])
    weight = torch.tensor([[1.0], [-1.0]])
    losses = linear_cross_entropy(hidden, weight, torch.tensor([0, 0]))
    assert losses.tolist() == [0.0, 2e4]


def test_bf16_products_are_summed_in_fp32() -> None:
    hidden, weight, targets = hidden_weight_targets((2000,))
    low = linear_cross_entropy(hidden.bfloat16(), weight.bfloat16(), targets)
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, linear_cross_entropy(hidden, weight, targets), atol=6e-2, rtol=0)
    assert low.unique().numel() > 1900, "a loss rounded to bf16 would have a few hundred values"


# --- the weighted mean -----------------------------------------------------------------------------------------------


def mean_of_losses(
    hidden: Tensor, weight: Tensor, targets: Tensor, weights: Tensor, soft_cap: float | None, z_loss: float
) -> Tensor:
    """The oracle: autograd through PyTorch's own loss of all logits, in fp64."""
    logits = (hidden.double() @ weight.double().mT).flatten(0, -2)
    if soft_cap is not None:
        logits = soft_cap * torch.tanh(logits / soft_cap)
    losses = F.cross_entropy(logits, targets.flatten(), reduction="none") + z_loss * logits.logsumexp(-1).square()
    return (losses * weights.flatten()).sum() / weights.sum()


@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, CHUNK), (2 * CHUNK + 3,)])
@pytest.mark.parametrize(("soft_cap", "z_loss"), [(None, 0.0), (2.0, 0.0), (None, 0.1), (3.0, 0.01)])
def test_the_mean_and_its_gradients_are_those_of_all_logits(
    shape: tuple[int, ...], soft_cap: float | None, z_loss: float
) -> None:
    hidden, weight, targets = hidden_weight_targets(shape, scale=2.0)
    weights = torch.rand(shape, generator=torch.Generator().manual_seed(3)).round(decimals=1)
    assert (weights == 0).any() or len(shape) == 1
    found = mean_cross_entropy(hidden, weight, targets, weights, soft_cap, z_loss)
    expected = mean_of_losses(hidden, weight, targets, weights, soft_cap, z_loss)
    assert (found.shape, found.dtype) == ((), torch.float32)
    torch.testing.assert_close(found.double(), expected, atol=2e-6, rtol=1e-6)
    gradients = torch.autograd.grad(3 * found, (hidden, weight))
    for one, other in zip(gradients, torch.autograd.grad(3 * expected, (hidden, weight)), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=2e-5)
    with torch.no_grad():
        torch.testing.assert_close(mean_cross_entropy(hidden, weight, targets, weights, soft_cap, z_loss), found)


def test_only_the_gradients_that_are_asked_for() -> None:
    hidden, weight, targets = hidden_weight_targets((CHUNK + 1,))
    both = torch.autograd.grad(mean_cross_entropy(hidden, weight, targets, torch.ones(CHUNK + 1)), (hidden, weight))
    alone = mean_cross_entropy(hidden.detach(), weight, targets, torch.ones(CHUNK + 1))
    torch.testing.assert_close(torch.autograd.grad(alone, weight)[0], both[1])
    alone = mean_cross_entropy(hidden, weight.detach(), targets, torch.ones(CHUNK + 1))
    torch.testing.assert_close(torch.autograd.grad(alone, hidden)[0], both[0])


def test_the_weights_gradient_is_summed_in_fp32() -> None:
    """Over 20 chunks, a sum in bf16 would be further from the exact gradient than its own last rounding."""
    hidden, weight, targets = hidden_weight_targets((20 * CHUNK,))
    low_hidden, low_weight = (each.detach().bfloat16().requires_grad_() for each in (hidden, weight))
    ones = torch.ones(20 * CHUNK)
    (found,) = torch.autograd.grad(mean_cross_entropy(low_hidden, low_weight, targets, ones), low_weight)
    exact = mean_of_losses(low_hidden, low_weight, targets, ones, None, 0.0)
    (expected,) = torch.autograd.grad(exact, low_weight)
    assert found.dtype == torch.bfloat16
    assert ((found - expected).norm() / expected.norm()).item() < 4e-3


def test_in_fp16_small_gradients_survive_a_scaled_loss() -> None:
    """A million targets make a gradient of 1e-6 each; what a loss scaler multiplies must not have vanished before."""
    hidden, weight, targets = hidden_weight_targets((64,))
    low = [each.detach().half().requires_grad_() for each in (hidden, weight)]
    scale, weights = 2.0**15, torch.full((64,), 2.0**-20)
    weights[0] = 1 - 63 * 2.0**-20
    gradients = torch.autograd.grad(scale * mean_cross_entropy(low[0], low[1], targets, weights), low)
    expected = torch.autograd.grad(scale * mean_of_losses(*low, targets, weights, None, 0.0), low)
    assert gradients[0][1:].abs().amax() > 0
    torch.testing.assert_close(gradients[1], expected[1], atol=2.0**-3, rtol=1e-2)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # PyTorch's compiler warns about its own ways
def test_a_compiled_chunk_gives_the_same() -> None:
    if shutil.which("g++") is None:
        pytest.skip("there is no C++ compiler; scripts/install-system-packages.sh installs one")
    hidden, weight, targets = hidden_weight_targets((CHUNK + 9,))
    weights = torch.ones(CHUNK + 9)
    compiled = torch.compile(chunk_loss, dynamic=False)
    for of_chunk in (chunk_loss, compiled):
        loss = mean_cross_entropy(hidden, weight, targets, weights, 5.0, 0.1, of_chunk)
        gradients = torch.autograd.grad(loss, (hidden, weight))
        if of_chunk is chunk_loss:
            expected = (loss, *gradients)
    torch.testing.assert_close((loss, *gradients), expected, atol=1e-6, rtol=1e-5)
