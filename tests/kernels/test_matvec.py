"""Products of few rows by multiply-and-sum: the same numbers as a matrix product, and only where it is asked for."""

import pytest
import torch

from groundup.kernels import matvec
from groundup.kernels.attention import attend_by_sums, attend_reference
from groundup.models.layers import affine


@pytest.mark.parametrize("shape", [(1, 1, 48), (3, 1, 48), (2, 2, 48)])
def test_it_is_the_matrix_product(shape):
    generator = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(*size, generator=generator) for size in (shape, (20, 48), (20,)))
    with matvec.multiply_and_sum(4):
        assert matvec.few(x)
        torch.testing.assert_close(affine(x, weight, bias), x @ weight.mT + bias)


@pytest.mark.parametrize("outputs", [1, 2, 7])  # two halves, and the row that is left
def test_halves_are_put_together_in_order(outputs):
    generator = torch.Generator().manual_seed(outputs)
    x, weight = torch.randn(2, 48, generator=generator), torch.randn(outputs, 48, generator=generator)
    torch.testing.assert_close(matvec.vector_product(x, weight), x @ weight.mT)


def test_the_sum_of_bf16_numbers_is_fp32():
    generator = torch.Generator().manual_seed(1)
    x, weight = (torch.randn(*size, generator=generator).bfloat16() for size in ((1, 4096), (16, 4096)))
    exact = x.double() @ weight.double().mT
    torch.testing.assert_close(matvec.vector_product(x, weight).double(), exact, rtol=2**-8, atol=0.02)


def test_few_are_counted_in_rows_and_only_inside():
    x = torch.zeros(2, 3, 8)
    assert not matvec.few(x)
    with matvec.multiply_and_sum(5):
        assert not matvec.few(x)
        assert matvec.few(x[:1])
        with matvec.multiply_and_sum(6):
            assert matvec.few(x)
        assert not matvec.few(x)
    assert not matvec.inside()


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_attention_of_one_query(groups, bias):
    generator = torch.Generator().manual_seed(groups)
    q, k, v = (torch.randn(3, *size, generator=generator) for size in ((4, 1, 16), (groups, 9, 16), (groups, 9, 8)))
    mask = torch.arange(9) < torch.tensor([[[1]], [[5]], [[9]]])
    added = torch.randn(1, 4, 1, 9, generator=generator) if bias else None
    expected = attend_reference(q, k, v, mask, bias_BHTS=added)
    torch.testing.assert_close(attend_by_sums(q, k, v, mask, bias_BHTS=added), expected)
