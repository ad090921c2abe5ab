"""The shapes of the models that train beside each other, and the random text that they train on. No torch at import.

D width, L depth, H heads, F hidden width, V vocabulary, T context, B batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

BATCHES = 8  # different ones, which come again and again


@dataclass(frozen=True)
class Shape:
    """One size. `mlp_width` is that of a gated MLP; the GPT-2-style baseline has 4 D, which are as many parameters."""

    width: int
    depth: int
    heads: int
    mlp_width: int
    vocabulary: int = 10_000
    context: int = 256
    batch: int = 16

    @property
    def tokens(self) -> int:
        """Of one step."""
        return self.batch * self.context

    @property
    def matrix_parameters(self) -> int:
        """N of 6 N D: what stands in matrix products, L (4 D² + 3 D F) and the unembedding V D."""
        D = self.width
        return self.depth * (4 * D * D + 3 * D * self.mlp_width) + self.vocabulary * D

    @property
    def parameters(self) -> int:
        """Of a Llama: also the embedding, and two gains a layer and one at the end."""
        return self.matrix_parameters + self.vocabulary * self.width + (2 * self.depth + 1) * self.width

    @property
    def flops_per_token(self) -> int:
        """6 N: 2 forward, 4 backward (Kaplan et al. 2020, arXiv:2001.08361); attention's own products do not count."""
        return 6 * self.matrix_parameters


# Named by the parameters of their layers. "tiny" shows that the benchmark runs.
SHAPES = {
    "5M": Shape(width=256, depth=6, heads=4, mlp_width=704),
    "19M": Shape(width=512, depth=6, heads=8, mlp_width=1344),
    "tiny": Shape(width=64, depth=2, heads=2, mlp_width=192, vocabulary=500, context=64, batch=4),
}


def random_batches(shape: Shape, seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    """Token ids (B, T) and the ids that follow them: the same on all sides."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    size = (BATCHES, shape.batch, shape.context + 1)
    ids = torch.randint(shape.vocabulary, size, generator=generator)
    return [(rows[:, :-1].contiguous(), rows[:, 1:].contiguous()) for rows in ids]
