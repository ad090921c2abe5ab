"""Unembedding and cross-entropy as one operation: -log softmax(h Wᵀ)[target], in fp32.

Shapes: `...` any leading shape, D width, V vocabulary.
"""

import torch
from torch import Tensor


def linear_cross_entropy(hidden_D: Tensor, weight_VD: Tensor, targets: Tensor) -> Tensor:
    """Negative log-likelihood in nats, fp32, of shape `targets`: logsumexp(logits) - logits[target].

    The matrix product runs in the input's dtype; the logits are widened before the logsumexp, because bf16's 8 bits
    would round a loss of 3 to steps of 0.02.
    """
    logits_V = (hidden_D @ weight_VD.mT).float()
    target_logits = logits_V.gather(-1, targets[..., None])[..., 0]
    return torch.logsumexp(logits_V, dim=-1) - target_logits


def cross_entropy_reference(hidden_D: Tensor, weight_VD: Tensor, targets: Tensor) -> Tensor:
    """The definition, in fp64: softmax, then the logarithm of the target's probability."""
    probabilities_V = torch.softmax(hidden_D.double() @ weight_VD.double().mT, dim=-1)
    return -probabilities_V.gather(-1, targets[..., None])[..., 0].log()
