"""A decoder of bytes without a tokenizer: small layers for every byte, large ones for every patch of bytes.

    x = encoder(embed(bytes))                        local layers over all bytes
    r_p = W_in x at the last byte of patch p         that byte's state has seen the patch
    g_p = norm(global layers(r_0 … r_p))             one step for each patch
    x = x + W_out g_p                                from that last byte on, until the next patch ends
    hidden = norm(decoder(x))                        local layers again

A hidden state predicts the byte behind it, so the bytes of patch p + 1 are predicted with g_p: the shift by one patch
that keeps the global layers from looking ahead. The first token of a document is a patch of its own, as the padding in
front of it is in MegaByte (Yu et al. 2023, arXiv:2305.07185, section 2).

Where patches end is fixed as there, or decided by the text as in SpaceByte (Slagle 2024, arXiv:2404.14408, section 2):
behind words and special tokens. SpaceByte's are the two stacks of local layers too. Two differences from it: all bytes
of a patch receive the global state, not the first one alone, and matrices change the width, not zeros and cuts. As in
SpaceByte, and unlike MegaByte, the local layers see over the borders of patches, as far as their windows reach.

Costs: the number of patches changes from batch to batch with the text, and with it the shapes of the global layers.
B batch, T bytes, L local width, P patches, D global width, V vocabulary.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from groundup.models.cache import KVCache, LayerCache
from groundup.models.hierarchical_config import NUM_BYTES, FixedPatches, HierarchicalConfig, Patches
from groundup.models.language_model import LanguageModel, positions_from_zero
from groundup.models.layers import affine, dropout
from groundup.models.normalization import Normalization
from groundup.models.stack import new_caches, run, stack


class PatchCache(LayerCache):
    """How many patches each row has had, (B,), what the newest one tells the bytes behind it, (B, L), and whether the
    row's last token was spacelike, (B,)."""

    def __init__(self, count_B: Tensor, told_BL: Tensor, spacelike_B: Tensor) -> None:
        self.count_B, self.told_BL, self.spacelike_B = count_B, told_BL, spacelike_B


class HierarchicalCache(KVCache):
    """The memories of the three stacks, and that of patches."""

    def __init__(
        self, encoder: list[LayerCache], patches: list[LayerCache], decoder: list[LayerCache], memory: PatchCache
    ) -> None:
        super().__init__([*encoder, *patches, *decoder, memory])
        self.parts = encoder, patches, decoder, memory

    def with_layers(self, change: Callable[[LayerCache], LayerCache]) -> KVCache:
        encoder, patches, decoder, memory = self.parts
        changed = change(memory)
        assert isinstance(changed, PatchCache)
        return HierarchicalCache(
            [change(layer) for layer in encoder],
            [change(layer) for layer in patches],
            [change(layer) for layer in decoder],
            changed,
        )


class Hierarchical(LanguageModel):
    """Hidden states of bytes; `unembed` turns them into logits, `token_losses` into negative log-likelihoods."""

    def __init__(self, config: HierarchicalConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Parameter(torch.empty(config.vocab_size, config.local_width))
        self.encoder_blocks = stack(config.encoder)
        self.patch_input = nn.Parameter(torch.empty(config.width, config.local_width))
        self.global_blocks = stack(config.global_decoder)
        self.global_norm = Normalization(config.norm, config.width)
        self.patch_output = nn.Parameter(torch.empty(config.local_width, config.width))
        self.decoder_blocks = stack(config.local_decoder)
        self.final_norm = Normalization(config.norm, config.local_width)
        if not config.tie_embeddings:
            self.unembedding = nn.Parameter(torch.empty(config.vocab_size, config.local_width))

    def forward(self, tokens_BT: Tensor, positions: Tensor | None = None, cache: KVCache | None = None) -> Tensor:
        """Final normed hidden states (B, T, L). Positions are those of bytes, as in `Decoder.forward`."""
        if positions is None:
            positions = positions_from_zero(tokens_BT, cache)
        assert cache is None or isinstance(cache, HierarchicalCache)
        encoder, patches, decoder, memory = (None, None, None, None) if cache is None else cache.parts
        x_BTL = dropout(self.embedding[tokens_BT], self.config.dropout, self.training)
        x_BTL = run(self.encoder_blocks, x_BTL, positions, encoder, self.recompute)
        found = find_patches(tokens_BT, positions, self.config.patches, memory)
        x_BTL = x_BTL + self._told(x_BTL, found, patches, memory)
        return self.final_norm(run(self.decoder_blocks, x_BTL, positions, decoder, self.recompute))

    def _told(
        self, x_BTL: Tensor, found: "FoundPatches", caches: Sequence[LayerCache] | None, memory: PatchCache | None
    ) -> Tensor:
        """What the global layers tell each byte, (B, T, L)."""
        before_BL = torch.zeros_like(x_BTL[:, 0]) if memory is None else memory.told_BL
        told_BPL = before_BL[:, None]
        if found.last_byte_BP.shape[1]:  # with a cache there may be no new patch
            patches_BPL = x_BTL.take_along_dim(found.last_byte_BP[..., None], dim=1)
            r_BPD = affine(patches_BPL, self.patch_input)
            g_BPD = run(self.global_blocks, r_BPD, found.positions, caches, self.recompute)
            told_BPL = torch.cat((told_BPL, affine(self.global_norm(g_BPD), self.patch_output)), dim=1)
        told_BTL = told_BPL.take_along_dim(found.newest_BT[..., None], dim=1)
        if memory is not None:
            memory.told_BL = told_BTL[:, -1]
        return told_BTL

    def static_parts(self) -> Iterable[nn.Module]:
        """The local layers; the shapes of the global ones may change with the text."""
        return (*self.encoder_blocks, *self.decoder_blocks)

    def new_cache(self, batch: int, capacity: int) -> KVCache:
        """An empty memory for so many rows and bytes."""
        none_B = torch.zeros(batch, dtype=torch.long, device=self.embedding.device)
        told_BL = self.embedding.new_zeros(batch, self.config.local_width)
        return HierarchicalCache(
            new_caches(self.encoder_blocks, batch, capacity),
            new_caches(self.global_blocks, batch, self.config.patches.most(capacity)),
            new_caches(self.decoder_blocks, batch, capacity),
            PatchCache(none_B, told_BL, none_B.bool()),
        )


class FoundPatches(NamedTuple):
    """The patches that end in a piece of text. Where a row has fewer than P, others follow that no byte asks for.

    `last_byte_BP`: at which place of the row each ends; `positions`: their numbers in their documents, (P,) or (B, P),
    with -1 for those that no cache may keep; `newest_BT`: how many have ended up to each byte.
    """

    last_byte_BP: Tensor
    positions: Tensor
    newest_BT: Tensor


def find_patches(
    tokens_BT: Tensor, positions: Tensor, patches: Patches, memory: PatchCache | None = None
) -> FoundPatches:
    """The patches of a text, or of its next piece, which the memory takes note of."""
    ends_BT = patch_ends(tokens_BT, positions.expand(tokens_BT.shape), patches, memory)
    newest_BT = ends_BT.cumsum(dim=1)
    count_B1 = newest_BT[:, -1:]
    order_P = torch.arange(int(count_B1.max()), device=tokens_BT.device)
    last_byte_BP = torch.argsort((~ends_BT).byte(), dim=1, stable=True)[:, : len(order_P)]
    if memory is not None:
        had_B1 = memory.count_B[:, None].masked_fill(positions.expand(tokens_BT.shape)[:, :1] == 0, 0)
        memory.count_B = (had_B1 + count_B1)[:, 0]
        numbers = torch.where(order_P < count_B1, had_B1 + order_P, -1)
    elif positions.ndim == 2:
        starts_BP = (positions == 0).take_along_dim(last_byte_BP, dim=1)
        numbers = order_P - (order_P * starts_BP).cummax(dim=1).values  # anew in each document
    else:
        numbers = order_P
    return FoundPatches(last_byte_BP, numbers, newest_BT)


def patch_ends(tokens_BT: Tensor, positions_BT: Tensor, patches: Patches, memory: PatchCache | None = None) -> Tensor:
    """Which bytes are the last of their patches, (B, T); without a memory the first of each row always is, so that
    every byte has a patch behind it."""
    if isinstance(patches, FixedPatches):
        ends_BT = positions_BT % patches.size == 0
    else:
        spacelike_BT = spacelike(tokens_BT)
        first_B1 = spacelike_BT[:, :1] if memory is None else memory.spacelike_B[:, None]
        before_BT = torch.cat((first_B1, spacelike_BT), dim=1)
        ends_BT = spacelike_BT & ~before_BT[:, :-1] | (tokens_BT >= NUM_BYTES) | (positions_BT == 0)
        if memory is not None:
            real_B1 = (positions_BT >= 0).sum(dim=1, keepdim=True)  # padding comes after a row's tokens
            memory.spacelike_B = before_BT.take_along_dim(real_B1, dim=1)[:, 0]
    if memory is not None:
        return ends_BT & (positions_BT >= 0)
    return torch.cat((torch.ones_like(ends_BT[:, :1]), ends_BT[:, 1:]), dim=1)


def spacelike(tokens: Tensor) -> Tensor:
    """Neither an ASCII letter or digit nor a continuation byte of UTF-8; so the first byte of a character of several
    bytes is, and text without spaces has patches too. Special tokens are."""
    digit = (tokens >= ord("0")) & (tokens <= ord("9"))
    letter = (tokens >= ord("A")) & (tokens <= ord("Z")) | (tokens >= ord("a")) & (tokens <= ord("z"))
    continuation = (tokens >= 0x80) & (tokens < 0xC0)
    return ~(digit | letter | continuation)
