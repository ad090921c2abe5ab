"""The machine's matrix-product rate, measured: the denominator of model FLOPs utilisation (MFU) on a CPU."""

import time

import torch

SIZE, REPEATS = 2048, 12


def measured_matmul_flops(dtype: torch.dtype) -> float:
    """Best FLOP/s of a square 2,048 matrix product over a few repeats, at the current number of threads."""
    left, right = (torch.randn(SIZE, SIZE).to(dtype) for _ in range(2))
    torch.matmul(left, right)
    best = float("inf")
    for _ in range(REPEATS):
        start = time.perf_counter()
        torch.matmul(left, right)
        best = min(best, time.perf_counter() - start)
    return 2 * SIZE**3 / best
