"""What is done with hidden states, whatever made them: logits, losses, and what mixers add to the loss.

B batch, T time, N counted tokens, D width, V vocabulary.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from groundup.kernels.cross_entropy import linear_cross_entropy, mean_cross_entropy
from groundup.models.cache import KVCache
from groundup.models.layers import affine, soft_cap
from groundup.models.mixture_of_experts import MixtureOfExperts
from groundup.models.quantized_weight import dense


class LanguageModel(nn.Module):
    """A subclass has a config with `tie_embeddings`, an `embedding` (V, D), an `unembedding` unless it is tied, and a
    forward from tokens to the hidden states (B, T, D) that predict the next ones."""

    embedding: Tensor
    unembedding: Tensor
    config: Any
    logit_soft_cap: float | None = None
    z_loss: float = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.cross_entropy = linear_cross_entropy  # training may put compiled forms here
        self.mean_cross_entropy: Callable[..., Tensor] = mean_cross_entropy
        self.recompute = 0  # blocks at a time whose activations are computed again in the backward pass; 0 keeps all

    def forward(self, tokens_BT: Tensor, positions: Tensor | None = None, cache: KVCache | None = None) -> Tensor:
        raise NotImplementedError

    def new_cache(self, batch: int, capacity: int) -> KVCache:
        """An empty memory for so many rows and positions."""
        raise NotImplementedError

    def static_parts(self) -> Iterable[nn.Module]:
        """The modules that training compiles one by one, which see the same shapes in every step."""
        return ()

    @property
    def output_weight(self) -> Tensor:
        """The matrix of the logits (V, D)."""
        return dense(self.unembedding_or_embedding)

    @property
    def unembedding_or_embedding(self) -> Tensor:
        """The same as the model holds it: quantised, it is no tensor."""
        return self.embedding if self.config.tie_embeddings else self.unembedding

    def unembed(self, hidden_BTD: Tensor) -> Tensor:
        """Logits over the vocabulary (B, T, V), fp32."""
        return soft_cap(affine(hidden_BTD, self.unembedding_or_embedding).float(), self.logit_soft_cap)

    def token_losses(self, tokens_BT: Tensor, targets_BT: Tensor, positions: Tensor | None = None) -> Tensor:
        """-log p(target | tokens so far) in nats (B, T), fp32; in training with what `z_loss` adds. Positions are those
        of `forward`."""
        return self.losses(self(tokens_BT, positions), targets_BT)

    def losses(self, hidden_BTD: Tensor, targets_BT: Tensor) -> Tensor:
        """`token_losses` from hidden states."""
        return self.cross_entropy(hidden_BTD, self.output_weight, targets_BT, *self._loss_options())

    def mean_loss(
        self, tokens_BT: Tensor, targets_BT: Tensor, weights_BT: Tensor, positions: Tensor | None = None
    ) -> Tensor:
        """Σ w·loss / Σ w of the `token_losses`, whose logits never exist all at once."""
        hidden_BTD, options = self(tokens_BT, positions), self._loss_options()
        return self.mean_cross_entropy(hidden_BTD, self.output_weight, targets_BT, weights_BT, *options)

    def losses_where(
        self, tokens_BT: Tensor, targets_BT: Tensor, counted_BT: Tensor, positions: Tensor | None = None
    ) -> Tensor:
        """`token_losses` where `counted_BT` is true and 0 elsewhere, without computing logits that do not count.

        Where answers are short and prompts long, the unembedding is most of the work. Never compiled: the number of
        counted tokens changes from batch to batch.
        """
        hidden_ND, targets_N = self(tokens_BT, positions)[counted_BT], targets_BT[counted_BT]
        losses_N = linear_cross_entropy(hidden_ND, self.output_weight, targets_N, *self._loss_options())
        return torch.zeros(targets_BT.shape, device=losses_N.device).masked_scatter(counted_BT, losses_N)

    def _loss_options(self) -> tuple[float | None, float]:
        return self.logit_soft_cap, self.z_loss if self.training else 0.0

    def auxiliary_loss(self) -> Tensor | float:
        """What mixers add to the loss of the last forward in training: balance of experts."""
        mixtures = [module for module in self.modules() if isinstance(module, MixtureOfExperts)]
        return sum(mixture.auxiliary_loss for mixture in mixtures if mixture.auxiliary_loss is not None)

    def after_step(self) -> None:
        """What changes after an optimizer step without a gradient: biases that balance experts."""
        for module in self.modules():
            if isinstance(module, MixtureOfExperts):
                module.update_balance_bias()


def positions_from_zero(tokens_BT: Tensor, cache: KVCache | None) -> Tensor:
    """The positions (T,) of tokens for which none are given."""
    assert cache is None, "with a cache, only the caller knows the positions"
    return torch.arange(tokens_BT.shape[1], device=tokens_BT.device)
