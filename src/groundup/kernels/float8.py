"""Products with weights whose operands are rounded to float8: what training in float8 computes, emulated in bf16.

    y = Q(x) Q(W)        dx = Q'(dy) Q(W)ᵀ        dW = Q(x)ᵀ Q'(dy)

Q rounds to e4m3 (4 bits of exponent, 3 of mantissa, up to 448), whose precision weights and activations need, Q' to
e5m2 (5 and 2 bits, up to 57,344), whose range gradients need (Micikevicius et al. 2022, arXiv:2209.05433, sections 2
and 3). Before it is rounded, a tensor is multiplied by a scale that brings its largest entry near the maximum.

The scale is a power of two, taken from the tensor itself and not from those of earlier steps. So the rounded numbers
are exact in bf16 after the scale is taken out again, and their bf16 product, which sums in fp32, is that of a processor
that multiplies float8. It is slower than a plain product, by the rounding.

Shapes: ... I in, O out.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, cast

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction, FunctionCtx, once_differentiable

FORWARD, BACKWARD = torch.float8_e4m3fn, torch.float8_e5m2
SMALLEST = 2.0**-100  # a largest entry below it counts as this much, so that the scale is a number


class Float8(NamedTuple):
    """Numbers `values / scale`."""

    values: Tensor
    scale: Tensor

    def to(self, dtype: torch.dtype) -> Tensor:
        """The same numbers in bf16 or fp32, exactly."""
        return self.values.to(dtype) / self.scale


def rounded(x: Tensor, dtype: torch.dtype) -> Float8:
    """x times the largest power of two that keeps it below the format's maximum, rounded to nearest, ties to even."""
    largest = x.abs().amax().float()
    _, exponent = torch.frexp(torch.finfo(dtype).max / largest.clamp(min=SMALLEST))
    scale = torch.ldexp(torch.ones_like(largest), exponent - 1)
    scale = scale + 0 * largest  # NaN where an entry is infinite: e4m3 has no infinity, and PyTorch would make it 448
    return Float8((x.float() * scale).to(dtype), scale)


def float8_product(x: Tensor, weight_IO: Tensor) -> Tensor:
    """x W with the operands of all three products rounded, from (..., I) to (..., O); a stack of weights broadcasts."""
    return _Float8Product.apply(x, weight_IO)


class _Float8Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight_IO: Tensor) -> Tensor:
        x8, weight8 = rounded(x, FORWARD), rounded(weight_IO, FORWARD)
        ctx.save_for_backward(*x8, *weight8)
        return x8.to(x.dtype) @ weight8.to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: BackwardCFunction, by_y: Tensor) -> tuple[Tensor | None, Tensor | None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        saved, needed = cast(tuple[Tensor, ...], ctx.saved_tensors), cast(tuple[bool, ...], ctx.needs_input_grad)
        dtype, (x_values, x_scale, weight_values, weight_scale) = by_y.dtype, saved
        x, weight_IO = Float8(x_values, x_scale).to(dtype), Float8(weight_values, weight_scale).to(dtype)
        by_y = rounded(by_y, BACKWARD).to(dtype)
        by_x = by_weight = None
        if needed[0]:
            by_x = (by_y @ weight_IO.mT).sum_to_size(x.shape)
        if needed[1] and weight_IO.ndim == 2:
            by_weight = x.flatten(0, -2).mT @ by_y.flatten(0, -2)
        elif needed[1]:
            by_weight = (x.mT @ by_y).sum_to_size(weight_IO.shape)
        return by_x, by_weight


# --- where it is asked for --------------------------------------------------------------------------------------------

_emulated = False  # one for all threads: those of a backward pass compute activations again


@contextmanager
def float8_products() -> Iterator[None]:
    """Inside the block, products with weights are `float8_product`."""
    global _emulated
    before, _emulated = _emulated, True
    try:
        yield
    finally:
        _emulated = before


def weight_product(x: Tensor, weight_IO: Tensor) -> Tensor:
    """x W, as the models ask for it. What is fp32 in a bf16 model is meant to be exact, as a router is."""
    if _emulated and x.dtype == torch.bfloat16 and x.numel():
        return float8_product(x, weight_IO)
    return x @ weight_IO
