"""Softmax attention over all tokens before or over a window of them: multi-head, grouped-query, multi-query.

    q, k, v = W_q x, W_k x, W_v x, in heads;  q, k normalised and turned by their positions;  y = W_o attend(q, k, v)

B batch, T time, D width, H heads, G key/value heads, K head width, S key time.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from groundup.kernels.attention import attend
from groundup.models import mixer_config
from groundup.models.cache import LayerCache, RingCache, SlotCache, key_value_cache
from groundup.models.config import DecoderConfig
from groundup.models.layers import affine, rms_norm
from groundup.models.position_config import Alibi, Rotary
from groundup.models.positions import (
    alibi_slopes,
    documents_of,
    rotary_angles,
    rotate,
    visible_in_cache,
)


class Keys(NamedTuple):
    """Keys and values (B, G, S, K) with their positions, (S,) or (B, S); from a cache, or the queries' own."""

    k_BGSK: Tensor
    v_BGSK: Tensor
    positions: Tensor
    cached: bool = False


class Attention(nn.Module):
    """Self-attention of one layer."""

    query_bias: Tensor | None
    key_bias: Tensor | None
    value_bias: Tensor | None
    output_bias: Tensor | None
    query_gain: Tensor | None
    key_gain: Tensor | None
    sink: Tensor | None

    def __init__(self, config: mixer_config.Attention, decoder: DecoderConfig) -> None:
        super().__init__()
        self.config, self.epsilon = config, decoder.norm.epsilon
        D, H, G, K = decoder.width, config.num_heads, config.num_kv_heads, config.width_of_head(decoder.width)
        self.head_width = K
        self.query = nn.Parameter(torch.empty(H * K, D))
        self.key = nn.Parameter(torch.empty(G * K, D))
        self.value = nn.Parameter(torch.empty(G * K, D))
        self.output = nn.Parameter(torch.empty(D, H * K))
        for name, width in (("query", H * K), ("key", G * K), ("value", G * K), ("output", D)):
            self.register_parameter(f"{name}_bias", nn.Parameter(torch.zeros(width)) if config.bias else None)
        for name, width in (("query", H * K), ("key", G * K)):
            gain = None if config.qk_norm == "none" else torch.ones(width if config.qk_norm == "width" else K)
            self.register_parameter(f"{name}_gain", None if gain is None else nn.Parameter(gain))
        self.register_parameter("sink", nn.Parameter(torch.zeros(H)) if config.sinks else None)
        self.shares_keys = False  # with later layers (`shared_attention.py`), which then find them in `keys`

    def new_cache(self, batch: int, capacity: int) -> LayerCache:
        """An empty memory for so many rows and positions."""
        widths = (self.head_width, self.head_width)
        return key_value_cache(batch, self.config.num_kv_heads, capacity, self.config.window, widths, self.query)

    def forward(self, x_BTD: Tensor, positions: Tensor, cache: LayerCache | None) -> Tensor:
        how = (self.config, rotation(self.config, self.head_width, positions), self.head_width, self.epsilon)
        q_BHTK = heads(affine(x_BTD, self.query, self.query_bias), self.query_gain, *how)
        k_BGTK = heads(affine(x_BTD, self.key, self.key_bias), self.key_gain, *how)
        v_BGTK = affine(x_BTD, self.value, self.value_bias).unflatten(-1, (-1, self.head_width)).transpose(1, 2)
        keys = Keys(k_BGTK, v_BGTK, positions)
        if cache is not None:
            assert isinstance(cache, (SlotCache, RingCache))
            keys = Keys(*cache.update(positions.expand(x_BTD.shape[:2]), k_BGTK, v_BGTK), cached=True)
        if self.shares_keys:
            self.keys = keys
        return affine(look_up(self.config, q_BHTK, keys, positions, self.sink), self.output, self.output_bias)


def rotation(config: mixer_config.Attention, head_width: int, positions: Tensor) -> tuple[Tensor, Tensor] | None:
    """Angles for queries and keys, where they are turned."""
    return rotary_angles(config.position, head_width, positions) if isinstance(config.position, Rotary) else None


def heads(
    projected_BTE: Tensor,
    gain: Tensor | None,
    config: mixer_config.Attention,
    angles: tuple[Tensor, Tensor] | None,
    head_width: int,
    epsilon: float,
) -> Tensor:
    """Queries or keys (B, H, T, K) from their projection: normalised, if there is a gain, and turned."""
    if gain is not None and config.qk_norm == "width":
        projected_BTE = rms_norm(projected_BTE, gain, epsilon)
    x_BTHK = projected_BTE.unflatten(-1, (-1, head_width))
    if gain is not None and config.qk_norm == "head":
        x_BTHK = rms_norm(x_BTHK, gain, epsilon)
    x_BHTK = x_BTHK.transpose(1, 2)
    return x_BHTK if angles is None else rotate(x_BHTK, *angles)


def look_up(
    config: mixer_config.Attention, q_BHTK: Tensor, keys: Keys, positions: Tensor, sink_H: Tensor | None
) -> Tensor:
    """What queries at these positions find, heads side by side: (B, T, H·K)."""
    mask_BTS = bias_BHTS = None
    if keys.cached:
        mask_BTS = visible_in_cache(positions.expand(q_BHTK.shape[0], -1), keys.positions, config.window)
    if isinstance(config.position, Alibi):
        distance = positions[..., :, None] - keys.positions[..., None, :]  # (T, S) or (B, T, S)
        slopes_H11 = alibi_slopes(config.num_heads)[:, None, None].to(distance.device)
        bias_BHTS = -slopes_H11 * distance.reshape(-1, 1, *distance.shape[-2:]).float()
    y_BHTK = attend(
        q_BHTK,
        keys.k_BGSK,
        keys.v_BGSK,
        mask_BTS,
        window=config.window,
        documents_BT=None if keys.cached else documents_of(positions),
        scale=config.scale,
        bias_BHTS=bias_BHTS,
        soft_cap=config.soft_cap,
        sink_H=sink_H,
    )
    return y_BHTK.transpose(1, 2).flatten(2)
