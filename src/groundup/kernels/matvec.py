"""Products of few rows with a large weight, where reading the weight is the work: y = x Wᵀ for x of 1 to some 8 rows.

A matrix product (GEMM) is made to reuse what it has read for many rows. With few it reads the weight at a third of the
memory's rate, because it first packs it into tiles. What a compiler makes of "multiply, then sum" over a row of the
weight reads it in order, once, converting it to fp32 on the way, so a weight of fewer bits is read in less time:

    y_no = Σ_i w_oi x_ni

With more rows than one, each has a sum of its own in the same loop, so what was read and converted serves all of them.

All of this is slow unless it is compiled, so it stands only in functions that are (`inference/decode_step.py`), inside
`multiply_and_sum`. How many rows are few, a measurement says.

Shapes: N rows, I in, O out.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

_most_rows: int | None = None  # None outside `multiply_and_sum`


@contextmanager
def multiply_and_sum(most_rows: int) -> Iterator[None]:
    """Inside the block, products of at most so many rows are multiply-and-sum, and so is attention of one query.

    To be used around compiled functions.
    """
    global _most_rows
    before, _most_rows = _most_rows, most_rows
    try:
        yield
    finally:
        _most_rows = before


def inside() -> bool:
    """Whether this is inside `multiply_and_sum`."""
    return _most_rows is not None


def few(x: Tensor) -> bool:
    """Whether x (..., I) has few rows, for which a product is multiply-and-sum."""
    return _most_rows is not None and 0 < x.numel() <= _most_rows * x.shape[-1]


def vector_product(x: Tensor, weight_OI: Tensor) -> Tensor:
    """x Wᵀ, from (..., I) to (..., O), by multiply-and-sum in fp32."""
    rows = written_down(x)
    y_NO = by_halves(
        len(weight_OI), lambda part: torch.stack([(weight_OI[part].float() * x_I).sum(-1) for x_I in rows])
    )
    return y_NO.to(x.dtype).view(*x.shape[:-1], -1)


def written_down(x: Tensor) -> Tensor:
    """x (..., I) as rows (N, I), fp32. A compiler would compute what x is made of, such as a norm, again for each
    output; a strided view is of something in memory, so it is computed once."""
    x_NI = x.reshape(-1, x.shape[-1]).float()
    return x_NI.as_strided(x_NI.shape, (x_NI.shape[1], 1))


def by_halves(num_rows: int, product: Callable[[slice], Tensor]) -> Tensor:
    """(N, O) from the products (N, O / 2) with the upper and the lower rows of a weight. The compiler makes one loop of
    both: it reads two rows at the same time, so that their sums do not wait for each other (one addition must have
    ended before the next to the same sum begins), and x once for both."""
    half = num_rows // 2
    parts = [slice(half), slice(half, 2 * half), *([slice(2 * half, None)] if num_rows % 2 else [])]
    return torch.cat([product(part) for part in parts], dim=-1)
