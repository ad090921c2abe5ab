"""The decoder: token ids to hidden states.

    hidden = embed(tokens)
    for each layer:  hidden = block(hidden)        `block.py`, with a sequence and a channel mixer
    logits = unembed(norm(hidden))

Everything that can be chosen is in `config.py`; each mixer has a file of its own. Weights are plain parameters with
names in full words; the mathematics is in `layers.py`, `positions.py` and `kernels/`.
Shapes: B batch, T time, D width, V vocabulary.
"""

from typing import Any

import torch
from torch import Tensor, nn

from groundup.kernels.cross_entropy import linear_cross_entropy
from groundup.models.block import Block
from groundup.models.cache import KVCache
from groundup.models.config import DecoderConfig, Norm
from groundup.models.layers import affine, dropout, soft_cap
from groundup.models.mixers import channel_mixer, sequence_mixer
from groundup.models.mixture_of_experts import MixtureOfExperts
from groundup.models.multi_token import PredictionHead
from groundup.models.normalization import Normalization
from groundup.models.positions import sinusoids


class Decoder(nn.Module):
    """Hidden states of tokens; `unembed` turns them into logits, `token_losses` into negative log-likelihoods."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.cross_entropy = linear_cross_entropy  # training may put its compiled form here
        self.embedding = nn.Parameter(torch.empty(config.vocab_size, config.width))
        if config.position_embedding == "learned":
            self.position_embedding = nn.Parameter(torch.empty(config.context_length, config.width))
        self.blocks = nn.ModuleList()
        sequences: list[nn.Module] = []
        for layer in config.all_layers:
            sequences.append(sequence_mixer(layer.sequence, config, sequences))
            self.blocks.append(Block(config, sequences[-1], channel_mixer(layer.channel, config)))
        final = config.norm if config.placement != "post" else Norm("none")  # post-norm ends with a norm anyway
        self.final_norm = Normalization(final, config.width)
        if not config.tie_embeddings:
            self.unembedding = nn.Parameter(torch.empty(config.vocab_size, config.width))
        self.prediction_heads = nn.ModuleList(PredictionHead(config) for _ in range(config.prediction_heads))

    def forward(self, tokens_BT: Tensor, positions: Tensor | None = None, cache: KVCache | None = None) -> Tensor:
        """Final normed hidden states (B, T, D). Positions count from 0 unless given, as they must be with a cache;
        `positions.py` says what their shapes mean."""
        if positions is None:
            assert cache is None, "with a cache, only the caller knows the positions"
            positions = torch.arange(tokens_BT.shape[1], device=tokens_BT.device)
        return self.final_norm(self.states(tokens_BT, positions, cache))

    def states(self, tokens_BT: Tensor, positions: Tensor, cache: KVCache | None) -> Tensor:
        """Hidden states before the last norm."""
        x_BTD = self.embed(tokens_BT, positions)
        for layer, block in enumerate(self.blocks):
            x_BTD = block(x_BTD, positions, cache.layers[layer] if cache is not None else None)
        return x_BTD

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

    def new_cache(self, batch: int, capacity: int) -> KVCache:
        """An empty memory for so many rows and positions."""
        mixers: list[Any] = [block.get_submodule("sequence") for block in self.blocks]
        return KVCache([mixer.new_cache(batch, capacity) for mixer in mixers])

    @property
    def output_weight(self) -> Tensor:
        return self.embedding if self.config.tie_embeddings else self.unembedding

    def unembed(self, hidden_BTD: Tensor) -> Tensor:
        """Logits over the vocabulary (B, T, V), fp32."""
        return soft_cap(affine(hidden_BTD, self.output_weight).float(), self.config.logit_soft_cap)

    def token_losses(self, tokens_BT: Tensor, targets_BT: Tensor) -> Tensor:
        """-log p(target | tokens so far) in nats (B, T), fp32; in training with what `z_loss` and the heads for further
        tokens add."""
        if self.training and self.prediction_heads:
            return self._losses_of_all_heads(tokens_BT, targets_BT)
        return self._losses(self(tokens_BT), targets_BT)

    def _losses(self, hidden_BTD: Tensor, targets_BT: Tensor) -> Tensor:
        z_loss = self.config.z_loss if self.training else 0.0
        return self.cross_entropy(hidden_BTD, self.output_weight, targets_BT, self.config.logit_soft_cap, z_loss)

    def _losses_of_all_heads(self, tokens_BT: Tensor, targets_BT: Tensor) -> Tensor:
        """Each position's loss and the weighted mean of those of the heads, as far as targets reach."""
        positions_T = torch.arange(tokens_BT.shape[1], device=tokens_BT.device)
        hidden_BTD = self.states(tokens_BT, positions_T, None)
        losses_BT = self._losses(self.final_norm(hidden_BTD), targets_BT)
        for ahead, head in enumerate(self.prediction_heads, 1):
            assert isinstance(head, PredictionHead)
            rest = tokens_BT.shape[1] - ahead  # positions whose target so far ahead is known
            came_BTD = self.embed(targets_BT[:, ahead - 1 : -1], positions_T[ahead:])
            hidden_BTD = head(hidden_BTD[:, :rest], came_BTD, positions_T[:rest])
            further_BT = self._losses(head.final_norm(hidden_BTD), targets_BT[:, ahead:])
            share = self.config.prediction_weight / len(self.prediction_heads)
            losses_BT = losses_BT + share * torch.nn.functional.pad(further_BT, (0, ahead))
        return losses_BT

    def auxiliary_loss(self) -> Tensor | float:
        """What mixers add to the loss of the last forward in training: balance of experts."""
        mixtures = [module for module in self.modules() if isinstance(module, MixtureOfExperts)]
        return sum(mixture.auxiliary_loss for mixture in mixtures if mixture.auxiliary_loss is not None)

    def after_step(self) -> None:
        """What changes after an optimizer step without a gradient: biases that balance experts."""
        for module in self.modules():
            if isinstance(module, MixtureOfExperts):
                module.update_balance_bias()

    def losses_where(self, tokens_BT: Tensor, targets_BT: Tensor, counted_BT: Tensor) -> Tensor:
        """`token_losses` where `counted_BT` is true and 0 elsewhere, without computing logits that do not count.

        Where answers are short and prompts long, the unembedding is most of the work. Never compiled: the number of
        counted tokens changes from batch to batch.
        """
        z_loss = self.config.z_loss if self.training else 0.0
        hidden_ND, targets_N = self(tokens_BT)[counted_BT], targets_BT[counted_BT]
        losses_N = linear_cross_entropy(hidden_ND, self.output_weight, targets_N, self.config.logit_soft_cap, z_loss)
        return torch.zeros(targets_BT.shape, device=losses_N.device).masked_scatter(counted_BT, losses_N)
