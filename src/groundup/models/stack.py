"""Layers of a decoder, one after the other: built, run, and given memories."""

from collections.abc import Sequence
from itertools import repeat
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from groundup.models.block import Block
from groundup.models.cache import LayerCache
from groundup.models.config import DecoderConfig, Layer
from groundup.models.mixers import channel_mixer, sequence_mixer


def stack(config: DecoderConfig) -> nn.ModuleList:
    """The blocks of a decoder's layers."""
    sequences: list[nn.Module] = []
    blocks = nn.ModuleList()
    for layer in config.all_layers:
        block = block_of(layer, config, sequences)
        sequences.append(block.sequence)
        blocks.append(block)
    return blocks


def block_of(layer: Layer, config: DecoderConfig, before: Sequence[nn.Module]) -> Block:
    """The block of one layer; `before` are the sequence mixers of the layers in front of it."""
    return Block(config, sequence_mixer(layer.sequence, config, before), channel_mixer(layer.channel, config))


def run(
    blocks: nn.ModuleList, x: Tensor, positions: Tensor, caches: Sequence[LayerCache] | None, recompute: int = 0
) -> Tensor:
    """One block after the other. With `recompute`, the activations inside so many blocks at a time are not kept but
    computed again in the backward pass (Chen et al. 2016, arXiv:1604.06174)."""
    if not recompute or caches is not None or not torch.is_grad_enabled():
        for block, cache in zip(blocks, repeat(None) if caches is None else caches, strict=caches is not None):
            x = block(x, positions, cache)
        return x

    def few(x: Tensor, first: int) -> Tensor:
        for block in blocks[first : first + recompute]:
            x = block(x, positions, None)
        return x

    for first in range(0, len(blocks), recompute):
        x = checkpoint(few, x, first, use_reentrant=False)
    return x


def new_caches(blocks: nn.ModuleList, batch: int, capacity: int) -> list[LayerCache]:
    """An empty memory for each block."""
    mixers: list[Any] = [block.get_submodule("sequence") for block in blocks]
    return [mixer.new_cache(batch, capacity) for mixer in mixers]
