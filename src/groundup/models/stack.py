"""Layers of a decoder, one after the other: built, run, and given memories."""

from collections.abc import Sequence
from itertools import repeat
from typing import Any

from torch import Tensor, nn

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


def run(blocks: nn.ModuleList, x: Tensor, positions: Tensor, caches: Sequence[LayerCache] | None) -> Tensor:
    """One block after the other."""
    for block, cache in zip(blocks, repeat(None) if caches is None else caches, strict=caches is not None):
        x = block(x, positions, cache)
    return x


def new_caches(blocks: nn.ModuleList, batch: int, capacity: int) -> list[LayerCache]:
    """An empty memory for each block."""
    mixers: list[Any] = [block.get_submodule("sequence") for block in blocks]
    return [mixer.new_cache(batch, capacity) for mixer in mixers]
