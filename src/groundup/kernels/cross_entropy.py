"""Unembedding and cross-entropy as one operation: -log softmax(h Wᵀ)[target], in fp32.

Shapes: `...` any leading shape, D width, V vocabulary.
"""

import torch
from torch import Tensor


def linear_cross_entropy(
    hidden_D: Tensor, weight_VD: Tensor, targets: Tensor, soft_cap: float | None = None, z_loss: float = 0.0
) -> Tensor:
    """Negative log-likelihood in nats, fp32, of shape `targets`: logsumexp(logits) - logits[target].

    `soft_cap` c bounds logits to c tanh(logit / c); `z_loss` adds so much of logsumexp(logits)².

    The matrix product runs in the input's dtype; the logits are widened before the logsumexp, because bf16's 8 bits
    would round a loss of 3 to steps of 0.02.
    """
    logits_V = (hidden_D @ weight_VD.mT).float()
    if soft_cap is not None:
        logits_V = soft_cap * torch.tanh(logits_V / soft_cap)
    target_logits = logits_V.gather(-1, targets[..., None])[..., 0]
    log_sum = torch.logsumexp(logits_V, dim=-1)
    losses = log_sum - target_logits
    return losses + z_loss * log_sum.square() if z_loss else losses


def cross_entropy_reference(hidden_D: Tensor, weight_VD: Tensor, targets: Tensor) -> Tensor:
    """The definition, in fp64: softmax, then the logarithm of the target's probability."""
    probabilities_V = torch.softmax(hidden_D.double() @ weight_VD.double().mT, dim=-1)
    return -probabilities_V.gather(-1, targets[..., None])[..., 0].log()
