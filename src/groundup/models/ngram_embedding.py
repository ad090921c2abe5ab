"""Embeddings of n-grams: what the last n tokens are, as a row of a hashed table, added to the token's embedding.

    x_t = E[w_t] + Σ_n E_n[hash(w_{t-n+1}, ..., w_t) mod buckets]

Huang et al. 2025, arXiv:2501.16975, section 3.1. A lookup costs no FLOPs, so the tables hold what a small model would
otherwise spend its first layers and many steps on: which token follows which. They start at zero.

B batch, T time, D width, S slots.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from groundup.models.cache import TokenCache

NOTHING = -1  # stands for the tokens before the first one of a document
MULTIPLIER, SHIFT = 0x9E3779B1, 15  # odd, so that multiplying by it modulo 2^64 loses nothing; Knuth, TAOCP 3, 6.4


class NgramEmbedding(nn.Module):
    """A table for each length; `tables` is (lengths, buckets, D)."""

    def __init__(self, lengths: Sequence[int], buckets: int, width: int) -> None:
        super().__init__()
        self.lengths = tuple(lengths)
        self.tables = nn.Parameter(torch.empty(len(lengths), buckets, width))

    @property
    def back(self) -> int:
        """How many tokens an embedding looks back."""
        return max(self.lengths) - 1

    def new_cache(self, batch: int, capacity: int) -> TokenCache:
        """An empty memory for so many rows and positions."""
        return TokenCache(batch, capacity, self.back, NOTHING, self.tables.device)

    def forward(self, tokens_BT: Tensor, positions: Tensor, cache: TokenCache | None) -> Tensor:
        """What is added to the embeddings of tokens at these positions, (B, T, D)."""
        if cache is None:
            earlier = [before(tokens_BT, positions, distance) for distance in range(1, self.back + 1)]
        else:
            earlier = cache.update(positions.expand(tokens_BT.shape), tokens_BT)
        window = [tokens_BT, *earlier]
        x_BTD = torch.zeros((), dtype=self.tables.dtype, device=tokens_BT.device)
        for table_ND, length in zip(self.tables, self.lengths, strict=True):
            x_BTD = x_BTD + table_ND[hashed(window[:length], len(table_ND))]
        return x_BTD


def before(tokens_BT: Tensor, positions: Tensor, distance: int) -> Tensor:
    """The token so far in front of each, NOTHING where its document had not begun."""
    shifted_BT = torch.nn.functional.pad(tokens_BT, (distance, 0), value=NOTHING)[:, : tokens_BT.shape[1]]
    return torch.where(positions >= distance, shifted_BT, NOTHING)


def hashed(tokens: Sequence[Tensor], buckets: int) -> Tensor:
    """A bucket for each n-gram; multiplicative hashing, one token after the other, of a tensor for each place."""
    key = torch.zeros_like(tokens[0])
    for token in tokens:
        key = times_multiplier(key + token + 1)
        key = key ^ (key >> SHIFT)
    return key % buckets


def times_multiplier(key: Tensor) -> Tensor:
    """key · MULTIPLIER modulo 2^64, int64. A compiler may assume that signed numbers never overflow, so what it sees is
    unsigned; PyTorch's own kernels keep to the modulus, and on a GPU have no unsigned product."""
    if torch.compiler.is_compiling():
        return (key.view(torch.uint64) * MULTIPLIER).view(torch.int64)
    return key * MULTIPLIER
