"""Attention that computes queries only: keys and values are those of an earlier layer (cross-layer attention, Brandon
et al. 2024, arXiv:2405.12981). It caches nothing, so sharing in pairs halves the cache.

B batch, T time, D width, H heads, K head width.
"""

import torch
from torch import Tensor, nn

from groundup.models.attention import Attention, heads, look_up, rotation
from groundup.models.cache import LayerCache
from groundup.models.config import DecoderConfig
from groundup.models.layers import affine


class SharedAttention(nn.Module):
    """Self-attention with the keys and values that `source` has just made for the same tokens."""

    query_bias: Tensor | None
    output_bias: Tensor | None
    query_gain: Tensor | None
    sink: Tensor | None

    def __init__(self, source: Attention, decoder: DecoderConfig) -> None:
        super().__init__()
        self.config, self.epsilon, self.head_width = source.config, source.epsilon, source.head_width
        self._source = (source,)  # in a tuple: its parameters are not ours
        source.shares_keys = True
        D, H, K = decoder.width, source.config.num_heads, source.head_width
        self.query = nn.Parameter(torch.empty(H * K, D))
        self.output = nn.Parameter(torch.empty(D, H * K))
        for name, width in (("query", H * K), ("output", D)):
            self.register_parameter(f"{name}_bias", nn.Parameter(torch.zeros(width)) if source.config.bias else None)
        gain = None if source.query_gain is None else nn.Parameter(torch.ones_like(source.query_gain))
        self.register_parameter("query_gain", gain)
        self.register_parameter("sink", nn.Parameter(torch.zeros(H)) if source.config.sinks else None)

    def new_cache(self, batch: int, capacity: int) -> LayerCache:
        """Nothing: the source remembers."""
        return LayerCache()

    def forward(self, x_BTD: Tensor, positions: Tensor, cache: LayerCache | None) -> Tensor:
        projected_BTE = affine(x_BTD, self.query, self.query_bias)
        angles = rotation(self.config, self.head_width, positions)
        q_BHTK = heads(projected_BTE, self.query_gain, self.config, angles, self.head_width, self.epsilon)
        found_BTE = look_up(self.config, q_BHTK, self._source[0].keys, positions, self.sink)
        return affine(found_BTE, self.output, self.output_bias)
