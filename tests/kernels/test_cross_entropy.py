"""Linear and cross-entropy in one: the definition in fp64, and PyTorch's loss of materialised logits."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from groundup.kernels.cross_entropy import cross_entropy_reference, linear_cross_entropy

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
