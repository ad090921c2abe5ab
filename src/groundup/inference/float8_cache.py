"""Keys and values rounded to float8 as they are remembered: what a cache of half the size would do to the quality.

Numbers are e4m3 without a scale, up to 448 (Micikevicius et al. 2022, arXiv:2209.05433, section 3), which keys behind a
norm and values do not reach; what is larger becomes 448. Emulated: they are kept in the model's format, so nothing is
saved here, but a product with them is what a processor that reads float8 computes.

Shapes: B batch, T query time, G key/value heads, K head width.
"""

import torch
from torch import Tensor

from groundup.models.cache import KVCache, LayerCache, RingCache, SlotCache
from groundup.models.language_model import LanguageModel

FORMAT = torch.float8_e4m3fn
LARGEST = torch.finfo(FORMAT).max


def with_float8(cache: KVCache) -> KVCache:
    """The same memory, whose keys, values and latents are rounded when they are written."""
    return cache.with_layers(_rounding)


def float8_cache_losses(model: LanguageModel, tokens_BT: Tensor, targets_BT: Tensor) -> Tensor:
    """`LanguageModel.token_losses` where each token finds the ones before it in such a cache."""
    B, T = tokens_BT.shape
    cache = with_float8(model.new_cache(B, T))
    return model.losses(model(tokens_BT, torch.arange(T).expand(B, T), cache), targets_BT)


class RoundedSlots(SlotCache):
    """A memory by position that is given rounded keys and values."""

    def __init__(self, exact: SlotCache | RingCache) -> None:
        self._exact = exact

    def update(self, positions_BT: Tensor, k_BGTK: Tensor, v_BGTK: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self._exact.update(positions_BT, rounded(k_BGTK), rounded(v_BGTK))

    def keep_rows(self, rows: Tensor) -> None:
        self._exact.keep_rows(rows)


def rounded(x: Tensor) -> Tensor:
    """The nearest float8 numbers, in the format of x."""
    return x.clamp(-LARGEST, LARGEST).to(FORMAT).to(x.dtype)


def _rounding(part: LayerCache) -> LayerCache:
    return RoundedSlots(part) if isinstance(part, (SlotCache, RingCache)) else part
