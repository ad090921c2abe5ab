"""Products with packed weights: the numbers of the plain product, and packed anew when a weight has changed."""

import pytest
import torch
from torch import nn

from groundup.kernels.packed_product import PackedWeights, can_pack, packed_product, packed_products, packs
from groundup.models.layers import affine

needs_bf16 = pytest.mark.skipif(not can_pack(torch.device("cpu")), reason="the processor has no bf16 instructions")


def numbers(*sizes):
    generator = torch.Generator().manual_seed(sum(sizes))
    return torch.randn(*sizes, generator=generator).bfloat16()


@needs_bf16
@pytest.mark.parametrize("shape", [(1, 96), (7, 96), (3, 1, 96), (2, 20, 96)])
def test_it_is_the_plain_product(shape):
    x, weight, bias = numbers(*shape), numbers(50, 96), numbers(50)
    exact = (x.double() @ weight.double().mT) + bias
    with packed_products(PackedWeights()):
        y = affine(x, weight, bias)
    assert y.shape == (*shape[:-1], 50)
    torch.testing.assert_close(y.double(), exact, rtol=2**-7, atol=0.1)


@needs_bf16
def test_a_weight_is_packed_once_and_again_when_it_has_changed():
    x, weight, other = numbers(4, 96), nn.Parameter(numbers(50, 96), requires_grad=False), numbers(50, 96) + 1
    weights = PackedWeights()
    with packed_products(weights):
        before = packed_product(x, weight)
        assert weights.of(weight) is weights.of(weight)
        weight.copy_(other)
        after = packed_product(x, weight)
    assert torch.equal(after, x @ other.mT)
    assert not torch.equal(before, after)


def test_only_inside_and_only_bf16():
    x, weight = numbers(4, 96), numbers(50, 96)
    assert not packs(weight)
    assert torch.equal(packed_product(x, weight), x @ weight.mT)
    with packed_products(PackedWeights()):
        assert packs(weight)
        assert not packs(weight.float())
        with packed_products(None):
            assert not packs(weight)
    assert not packs(weight)
