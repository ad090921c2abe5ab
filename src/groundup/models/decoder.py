"""The decoder: token ids to hidden states.

    hidden = embed(tokens)
    for each layer:  hidden = block(hidden)        `block.py`, with a sequence and a channel mixer
    logits = unembed(norm(hidden))

Everything that can be chosen is in `config.py`; each mixer has a file of its own. Weights are plain parameters with
names in full words; the mathematics is in `layers.py`, `positions.py` and `kernels/`.
Shapes: B batch, T time, D width, V vocabulary.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from groundup.models.cache import KVCache
from groundup.models.config import DecoderConfig, Norm
from groundup.models.language_model import LanguageModel, positions_from_zero
from groundup.models.layers import dropout
from groundup.models.multi_token import PredictionHead
from groundup.models.ngram_embedding import NgramEmbedding
from groundup.models.normalization import Normalization
from groundup.models.positions import sinusoids
from groundup.models.stack import new_caches, run, stack


class Decoder(LanguageModel):
    """Hidden states of tokens; `unembed` turns them into logits, `token_losses` into negative log-likelihoods."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config, self.logit_soft_cap, self.z_loss = config, config.logit_soft_cap, config.z_loss
        self.embedding = nn.Parameter(torch.empty(config.vocab_size, config.width))
        lengths, buckets = config.ngram_lengths, config.ngram_buckets
        self.ngrams = NgramEmbedding(lengths, buckets, config.width) if lengths else None
        if config.position_embedding == "learned":
            self.position_embedding = nn.Parameter(torch.empty(config.context_length, config.width))
        self.blocks = stack(config)
        final = config.norm if config.placement != "post" else Norm("none")  # post-norm ends with a norm anyway
        self.final_norm = Normalization(final, config.width)
        if not config.tie_embeddings:
            self.unembedding = nn.Parameter(torch.empty(config.vocab_size, config.width))
        self.prediction_heads = nn.ModuleList(PredictionHead(config) for _ in range(config.prediction_heads))

    def forward(self, tokens_BT: Tensor, positions: Tensor | None = None, cache: KVCache | None = None) -> Tensor:
        """Final normed hidden states (B, T, D). Positions count from 0 unless given, as they must be with a cache;
        `positions.py` says what their shapes mean."""
        if positions is None:
            positions = positions_from_zero(tokens_BT, cache)
        return self.final_norm(self.states(tokens_BT, positions, cache))

    def states(self, tokens_BT: Tensor, positions: Tensor, cache: KVCache | None) -> Tensor:
        """Hidden states before the last norm."""
        x_BTD = self.embed(tokens_BT, positions)
        if self.ngrams is not None:
            x_BTD = x_BTD + self.ngrams(tokens_BT, positions, None if cache is None else cache.tokens)
        return run(self.blocks, x_BTD, positions, None if cache is None else cache.layers, self.recompute)

    def embed(self, tokens_BT: Tensor, positions: Tensor) -> Tensor:
        """Token embeddings, with those of the positions where the config has such."""
        x_BTD = self.embedding[tokens_BT]
        if self.config.embedding_scale != 1:
            x_BTD = x_BTD * torch.tensor(self.config.embedding_scale, dtype=x_BTD.dtype)  # rounded, as Gemma does
        if self.config.position_embedding == "learned":
            x_BTD = x_BTD + self.position_embedding[positions]
        elif self.config.position_embedding == "sinusoidal":
            x_BTD = x_BTD + sinusoids(positions, self.config.width).to(x_BTD.dtype)
        return dropout(x_BTD, self.config.dropout, self.training)

    def static_parts(self) -> Iterable[nn.Module]:
        return self.blocks

    def new_cache(self, batch: int, capacity: int) -> KVCache:
        """An empty memory for so many rows and positions."""
        tokens = None if self.ngrams is None else self.ngrams.new_cache(batch, capacity)
        return KVCache(new_caches(self.blocks, batch, capacity), tokens)

    def token_losses(self, tokens_BT: Tensor, targets_BT: Tensor, positions: Tensor | None = None) -> Tensor:
        """As `LanguageModel.token_losses`, in training with what the heads for further tokens add."""
        if self.training and self.prediction_heads:
            positions = positions_from_zero(tokens_BT, None) if positions is None else positions
            return self._losses_of_all_heads(tokens_BT, targets_BT, positions)
        return super().token_losses(tokens_BT, targets_BT, positions)

    def mean_loss(
        self, tokens_BT: Tensor, targets_BT: Tensor, weights_BT: Tensor, positions: Tensor | None = None
    ) -> Tensor:
        """As `LanguageModel.mean_loss`, in training with what the heads for further tokens add."""
        if self.training and self.prediction_heads:
            return (self.token_losses(tokens_BT, targets_BT, positions) * weights_BT).sum() / weights_BT.sum()
        return super().mean_loss(tokens_BT, targets_BT, weights_BT, positions)

    def _losses_of_all_heads(self, tokens_BT: Tensor, targets_BT: Tensor, positions: Tensor) -> Tensor:
        """Each position's loss and the weighted mean of those of the heads, as far as its document reaches."""
        hidden_BTD = self.states(tokens_BT, positions, None)
        losses_BT = self.losses(self.final_norm(hidden_BTD), targets_BT)
        for ahead, head in enumerate(self.prediction_heads[: tokens_BT.shape[1] - 1], 1):
            assert isinstance(head, PredictionHead)
            rest = tokens_BT.shape[1] - ahead  # positions whose target so far ahead is known
            came_BTD = self.embed(targets_BT[:, ahead - 1 : -1], positions[..., ahead:])
            hidden_BTD = head(hidden_BTD[:, :rest], came_BTD, positions[..., :rest])
            further_BT = self.losses(head.final_norm(hidden_BTD), targets_BT[:, ahead:])
            further_BT = further_BT * (positions[..., ahead:] >= ahead)  # not where another document has begun
            share = self.config.prediction_weight / len(self.prediction_heads)
            losses_BT = losses_BT + share * torch.nn.functional.pad(further_BT, (0, ahead))
        return losses_BT
