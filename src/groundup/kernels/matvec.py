"""Products of few rows with a large weight, where reading the weight is the work: y = x Wᵀ for x of 1 to some 8 rows.

A matrix product (GEMM) is made to reuse what it has read for many rows. With few it reads the weight at a third of the
memory's rate, because it first packs it into tiles. What a compiler makes of "multiply, then sum" over a row of the
weight reads it in order, once, converting it to fp32 on the way, so a weight of fewer bits is read in less time:

    y_no = Σ_g s_og Σ_j q_ogj x_ngj          q the weight's numbers in G groups along its row, s their scales

With more rows than one, each has a sum of its own in the same loop, so what was read and converted serves all of them.

All of this is slow unless it is compiled, so it stands only in functions that are (`inference/decode_step.py`), inside
`multiply_and_sum`. How many rows are few, a measurement says.

Shapes: N rows, I in, O out, G groups, J columns of a group.
"""

from collections.abc import Iterator, Sequence
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
    y_NO = scaled_sums([written_down(x)[:, None]], [weight_OI[:, None]])
    return y_NO.to(x.dtype).view(*x.shape[:-1], -1)


def written_down(x: Tensor) -> Tensor:
    """x (..., I) as rows (N, I), fp32. A compiler would compute what x is made of, such as a norm, again for each
    output; a strided view is of something in memory, so it is computed once."""
    x_NI = x.reshape(-1, x.shape[-1]).float()
    return x_NI.as_strided(x_NI.shape, (x_NI.shape[1], 1))


def scaled_sums(
    x: Sequence[Tensor],
    weight: Sequence[Tensor],
    scales_OG: Tensor | None = None,
    zeros_NG: Tensor | None = None,
) -> Tensor:
    """Σ_g s_og (Σ_p Σ_j w_p,ogj x_p,ngj - z_ng) as (N, O), fp32, from parts (N, G, J) of x and (O, G, J) of the weight.

    Without scales they are 1, and without zeros z is 0. Where additions are what is waited for, as with small numbers
    that are read fast, a weight in several parts has fewer of them in a row.
    """
    sums = []
    for number, row in enumerate(zip(*x, strict=True)):  # no broadcast: the rows' sums become one loop over the weight
        products = [w_OGJ.float() * x_GJ for w_OGJ, x_GJ in zip(weight, row, strict=True)]
        y_OG = pairwise_sum(products).sum(dim=-1)
        y_OG = y_OG if zeros_NG is None else y_OG - zeros_NG[number]
        sums.append((y_OG if scales_OG is None else y_OG * scales_OG).sum(dim=-1))
    return torch.stack(sums)


def pairwise_sum(terms: Sequence[Tensor]) -> Tensor:
    """(a + b) + (c + d), whose halves do not wait for each other."""
    if len(terms) == 1:
        return terms[0]
    half = len(terms) // 2
    return pairwise_sum(terms[:half]) + pairwise_sum(terms[half:])
