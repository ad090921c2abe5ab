"""float8 against a list of its 256 numbers, and products of rounded operands against fp64."""

import bisect
import functools
import itertools
import math
import shutil
from fractions import Fraction

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from groundup.kernels.float8 import BACKWARD, FORWARD, float8_product, float8_products, rounded, weight_product

E4M3, E5M2 = torch.float8_e4m3fn, torch.float8_e5m2
BITS = {E4M3: (4, 3), E5M2: (5, 2)}


@functools.cache
def numbers(dtype: torch.dtype) -> list[Fraction]:
    """All finite numbers that are not negative, in the order of their codes, which is their own."""
    exponent_bits, mantissa_bits = BITS[dtype]
    bias = 2 ** (exponent_bits - 1) - 1
    found = []
    for code in range(128):
        exponent, mantissa = code >> mantissa_bits, code & (1 << mantissa_bits) - 1
        top = exponent == (1 << exponent_bits) - 1
        if top and (dtype == E5M2 or mantissa == 7):  # infinity and NaN; in e4m3 only one NaN
            continue
        part = Fraction(mantissa, 1 << mantissa_bits)
        found.append((part if exponent == 0 else 1 + part) * Fraction(2) ** (max(exponent, 1) - bias))
    return found


def nearest(value: float, dtype: torch.dtype) -> float:
    """The nearest number, of two the one with the even code."""
    known, size = numbers(dtype), abs(Fraction(value))
    above = min(bisect.bisect_left(known, size), len(known) - 1)
    below = max(above - 1, 0)
    gap = (known[above] - size) - (size - known[below])
    code = above if gap < 0 or (gap == 0 and above % 2 == 0) else below
    return math.copysign(float(known[code]), value)


def expected(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, float]:
    """The rounded tensor with its scale taken out again, and the scale, one number at a time."""
    most, scale = max(abs(value) for value in x.flatten().tolist()), Fraction(1)
    if most:
        while Fraction(most) * scale * 2 <= numbers(dtype)[-1]:
            scale *= 2
        while Fraction(most) * scale > numbers(dtype)[-1]:
            scale /= 2
    values = [nearest(float(Fraction(value) * scale), dtype) / float(scale) for value in x.flatten().tolist()]
    return torch.tensor(values).view(x.shape), float(scale)


def test_the_list_of_numbers() -> None:
    assert (len(numbers(E4M3)), numbers(E4M3)[-1], numbers(E4M3)[1]) == (127, 448, Fraction(1, 512))
    assert (len(numbers(E5M2)), numbers(E5M2)[-1], numbers(E5M2)[1]) == (124, 57344, Fraction(1, 65536))


@pytest.mark.parametrize("dtype", [E4M3, E5M2], ids=str)
@given(values=st.lists(st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False), min_size=1, max_size=40))
def test_rounding_is_to_the_nearest_of_256_numbers(dtype: torch.dtype, values: list[float]) -> None:
    x = torch.tensor(values)
    assume(x.abs().max() > 1e-20)  # below, the scale is not the largest any more
    found, (numbers_in_order, scale) = rounded(x, dtype), expected(x, dtype)
    assert found.values.dtype == dtype
    assert found.scale.item() == scale
    assert torch.equal(found.to(torch.float32), numbers_in_order)
    assert torch.equal(found.to(torch.bfloat16).float(), numbers_in_order), "they are exact in bf16 too"


@pytest.mark.parametrize("dtype", [E4M3, E5M2], ids=str)
def test_every_number_and_every_tie(dtype: torch.dtype) -> None:
    """The maximum among them fixes the scale at 1."""
    known = numbers(dtype)
    ties = [(one + other) / 2 for one, other in itertools.pairwise(known)]
    x = torch.tensor([float(value) for value in (*known, *ties)])
    x = torch.cat((x, -x))
    found = rounded(x, dtype)
    assert found.scale.item() == 1
    assert torch.equal(found.to(torch.float32), torch.tensor([nearest(value, dtype) for value in x.tolist()]))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # PyTorch's compiler warns about its own ways
@pytest.mark.parametrize("dtype", [E4M3, E5M2], ids=str)
def test_compiled_rounding_is_the_same_to_the_bit(dtype: torch.dtype) -> None:
    if shutil.which("g++") is None:
        pytest.skip("there is no C++ compiler; scripts/install-system-packages.sh installs one")

    def both(x: Tensor) -> tuple[Tensor, Tensor]:
        found = rounded(x, dtype)
        return found.to(torch.bfloat16), found.scale

    known = torch.tensor([float(value) for value in numbers(dtype)])
    x = torch.cat((known, (known[1:] + known[:-1]) / 2, torch.randn(999, generator=torch.Generator().manual_seed(0))))
    for one, other in zip(torch.compile(both, dynamic=False)(x), both(x), strict=True):
        assert torch.equal(one, other)


def test_zeros_stay_and_what_is_no_number_is_not_hidden() -> None:
    assert torch.equal(rounded(torch.zeros(3), E4M3).to(torch.float32), torch.zeros(3))
    tiny = rounded(torch.full((3,), 1e-38), E4M3)
    assert torch.isfinite(tiny.to(torch.float32)).all()
    for bad in (math.inf, -math.inf, math.nan):
        for dtype in (E4M3, E5M2):
            assert rounded(torch.tensor([1.0, bad]), dtype).to(torch.bfloat16).isnan().all()


SHAPES = [((5, 7), (7, 4)), ((2, 3, 7), (7, 4)), ((3, 5, 7), (3, 7, 4)), ((2, 3, 5, 7), (3, 7, 4))]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("left", "right"), SHAPES, ids=str)
def test_products_are_those_of_rounded_operands(
    left: tuple[int, ...], right: tuple[int, ...], dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(shape, generator=generator).to(dtype).requires_grad_() for shape in (left, right))
    y = float8_product(x, weight)
    by_y = (1e-4 * torch.randn(y.shape, generator=generator)).to(dtype)
    y.backward(by_y)
    x8, weight8 = (expected(each.detach(), E4M3)[0].double() for each in (x, weight))
    by_y8 = expected(by_y, E5M2)[0].double()

    def assert_close(found: Tensor, exact: Tensor) -> None:
        error = (found.double() - exact).abs().max() / exact.abs().max()
        assert error < (2**-8 if dtype == torch.bfloat16 else 1e-6)

    assert_close(y, x8 @ weight8)
    assert x.grad is not None
    assert weight.grad is not None
    assert (y.dtype, x.grad.dtype, weight.grad.dtype) == (dtype, dtype, dtype)
    assert_close(x.grad, by_y8 @ weight8.mT)
    by_weight = (x8.mT @ by_y8).reshape(-1, *weight.shape) if weight.ndim == 3 else None
    if by_weight is None:
        by_weight = (x8.flatten(0, -2).mT @ by_y8.flatten(0, -2))[None]
    assert_close(weight.grad, by_weight.sum(0))


def test_a_rounded_product_is_not_a_plain_one() -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(64, 64, generator=generator) for _ in range(2))
    error = (float8_product(x, weight) - x @ weight).norm() / (x @ weight).norm()
    assert 0.01 < error < 0.05  # 3 bits of mantissa: a relative error of up to 1/16 in each factor


def test_products_are_rounded_inside_the_block_where_they_are_bf16() -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(size, 6, generator=generator).bfloat16() for size in (3, 6))
    plain, rounded_product = x @ weight.mT, float8_product(x, weight.mT)
    assert not torch.equal(plain, rounded_product)
    assert torch.equal(weight_product(x, weight.mT), plain)
    with float8_products():
        with float8_products():
            assert torch.equal(weight_product(x, weight.mT), rounded_product)
        assert torch.equal(weight_product(x, weight.mT), rounded_product)
        assert torch.equal(weight_product(x.float(), weight.float().mT), x.float() @ weight.float().mT)
        assert weight_product(x[:0], weight.mT).shape == (0, 6)
    assert torch.equal(weight_product(x, weight.mT), plain)
    assert (FORWARD, BACKWARD) == (E4M3, E5M2)


def test_after_a_fault_products_are_plain_again() -> None:
    x, weight = torch.randn(3, 6).bfloat16(), torch.randn(6, 6).bfloat16()
    with pytest.raises(RuntimeError, match="stop"), float8_products():
        raise RuntimeError("stop")
    assert torch.equal(weight_product(x, weight), x @ weight)
