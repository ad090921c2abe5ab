"""What is marked as exact does not change under torch.autocast."""

import torch
from torch import Tensor

from groundup.kernels.exact import exact


def product(x: Tensor, y: Tensor) -> Tensor:
    """x @ y."""
    return x @ y


def test_an_exact_product_stays_fp32_under_autocast() -> None:
    x, y = (torch.randn(8, 8, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    with torch.autocast("cpu", torch.bfloat16):
        rounded, kept, after = product(x, y), exact(product)(x, y), product(x, y)
    assert (rounded.dtype, kept.dtype, after.dtype) == (torch.bfloat16, torch.float32, torch.bfloat16)
    assert torch.equal(kept, x @ y)
    assert torch.equal(exact(product)(x, y), x @ y)
    assert exact(product).__doc__ == "x @ y."
