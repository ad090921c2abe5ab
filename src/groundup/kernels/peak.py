"""The machine's matrix-product rate, measured: the denominator of model FLOPs utilisation (MFU) on a CPU, and what
decides the number format."""

import time

import torch

SIZE, REPEATS = 2048, 12
SMALL = 512  # some milliseconds in all, and the ratio of two formats is already that of larger products
BF16_MUST_BE_FASTER_BY = 1.2


def measured_matmul_flops(dtype: torch.dtype, size: int | None = None) -> float:
    """Best FLOP/s of a square matrix product (2,048 wide) over a few repeats, at the current number of threads."""
    size = size or product_size(dtype)
    left, right = (torch.randn(size, size).to(dtype) for _ in range(2))
    torch.matmul(left, right)
    best = float("inf")
    for _ in range(REPEATS):
        start = time.perf_counter()
        torch.matmul(left, right)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def product_size(dtype: torch.dtype) -> int:
    """How wide the measured product is. CPUs without instructions for fp16 need minutes for the large ones."""
    return SMALL if dtype == torch.float16 else SIZE


def fastest_dtype() -> torch.dtype:
    """bf16 where its matrix products are clearly faster than fp32's here, else fp32."""
    bf16, fp32 = (measured_matmul_flops(dtype, SMALL) for dtype in (torch.bfloat16, torch.float32))
    return torch.bfloat16 if bf16 > BF16_MUST_BE_FASTER_BY * fp32 else torch.float32
