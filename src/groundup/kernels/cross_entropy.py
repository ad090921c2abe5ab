"""Unembedding and cross-entropy as one operation: -log softmax(h Wᵀ)[target], in fp32.

- `linear_cross_entropy`: a loss for each target, through logits of all of them.
- `mean_cross_entropy`: their weighted mean, chunk by chunk, which is what training needs: less memory, and faster.
- `cross_entropy_reference`: the definition. The oracle of the other two.

Shapes: `...` any leading shape, N rows, n rows of a chunk, D width, V vocabulary.
"""

from collections.abc import Callable
from typing import NamedTuple, cast

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

CHUNK = (
    512  # rows: the logits of as many fit into a cache, and adding up the weight's gradient takes 3 % of the products
)


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


# --- the weighted mean, with its gradient in the forward pass --------------------------------------------------------


class Chunk(NamedTuple):
    """Of some rows: losses (N,) in fp32, and their gradient by the logits (N, V), each times its row's weight."""

    losses_N: Tensor
    gradient_NV: Tensor


ChunkLoss = Callable[[Tensor, Tensor, Tensor, float | None, float], Chunk]


def chunk_loss(
    logits_NV: Tensor, targets_N: Tensor, weights_N: Tensor, soft_cap: float | None = None, z_loss: float = 0.0
) -> Chunk:
    """Losses of rows of logits and w (softmax - onehot), the latter in the format of the logits.

    With a soft cap the slope 1 - tanh² comes on top; with a z-loss λ the softmax is weighted by 1 + 2λ logsumexp.
    """
    logits32_NV, slope_NV = logits_NV.float(), None
    if soft_cap is not None:
        squashed_NV = torch.tanh(logits32_NV / soft_cap)
        logits32_NV, slope_NV = soft_cap * squashed_NV, 1 - squashed_NV.square()
    most_N1 = logits32_NV.amax(dim=-1, keepdim=True)
    powers_NV = torch.exp(logits32_NV - most_N1)
    sum_N1 = powers_NV.sum(dim=-1, keepdim=True)
    log_sum_N1 = most_N1 + torch.log(sum_N1)
    losses_N1 = log_sum_N1 - logits32_NV.gather(-1, targets_N[:, None])
    share_N1 = weights_N[:, None] / sum_N1
    if z_loss:
        losses_N1 = losses_N1 + z_loss * log_sum_N1.square()
        share_N1 = share_N1 * (1 + 2 * z_loss * log_sum_N1)
    hit_NV = torch.arange(logits_NV.shape[-1], device=logits_NV.device) == targets_N[:, None]
    gradient_NV = powers_NV * share_N1 - torch.where(hit_NV, weights_N[:, None], 0.0)
    if slope_NV is not None:
        gradient_NV = gradient_NV * slope_NV
    return Chunk(losses_N1[:, 0], gradient_NV.to(logits_NV.dtype))


def mean_cross_entropy(
    hidden_D: Tensor,
    weight_VD: Tensor,
    targets: Tensor,
    weights: Tensor,
    soft_cap: float | None = None,
    z_loss: float = 0.0,
    of_chunk: ChunkLoss = chunk_loss,
) -> Tensor:
    """Σ w·loss / Σ w of the losses of `linear_cross_entropy`, a scalar in fp32; `weights` has the shape of `targets`.

    The rows pass in chunks: logits, losses and gradient of one chunk are done before those of the next, while they are
    in the cache, so that logits of all rows never exist (Hsu et al. 2024, arXiv:2410.10989, section 3.2). The forward
    pass computes the gradients too, so that the backward pass only scales them. `of_chunk` may be a compiled
    `chunk_loss`.
    """
    rows = hidden_D.flatten(0, -2), weight_VD, targets.flatten(), weights.flatten().float()
    if torch.is_grad_enabled() and (hidden_D.requires_grad or weight_VD.requires_grad):
        return _MeanCrossEntropy.apply(*rows, soft_cap, z_loss, of_chunk)
    losses = linear_cross_entropy(*rows[:3], soft_cap, z_loss)
    return (losses * rows[3]).sum() / rows[3].sum()


class _MeanCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        hidden_ND: Tensor,
        weight_VD: Tensor,
        targets_N: Tensor,
        weights_N: Tensor,
        soft_cap: float | None,
        z_loss: float,
        of_chunk: ChunkLoss,
    ) -> Tensor:
        loss, by_hidden = torch.zeros((), device=hidden_ND.device), []
        # fp32: a bf16 sum over many chunks would be rounded as often.
        by_weight_VD = torch.zeros(weight_VD.shape, device=weight_VD.device)
        chunks = zip(*(each.split(CHUNK) for each in (hidden_ND, targets_N, weights_N)), strict=True)
        for hidden_nD, targets_n, weights_n in chunks:
            losses_n, gradient_nV = of_chunk(hidden_nD @ weight_VD.mT, targets_n, weights_n, soft_cap, z_loss)
            loss += (losses_n * weights_n).sum()  # as a product, torch.autocast would round it to bf16
            if hidden_ND.requires_grad:
                by_hidden.append((gradient_nV @ weight_VD).to(hidden_ND.dtype))
            if weight_VD.requires_grad:
                by_weight_VD += gradient_nV.mT @ hidden_nD
        total = weights_N.sum()
        # The gradients are linear in the weights, which are divided by their sum only in the backward pass: in fp16,
        # the quotients would vanish.
        ctx.save_for_backward(torch.cat(by_hidden) if by_hidden else hidden_ND, by_weight_VD, total)
        return loss / total

    @staticmethod
    @once_differentiable
    def backward(ctx: torch.autograd.function.BackwardCFunction, by_loss: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        by_hidden_ND, by_weight_VD, total = cast(tuple[Tensor, ...], ctx.saved_tensors)
        scale = by_loss / total
        by_hidden_ND = (by_hidden_ND * scale).to(by_hidden_ND.dtype)
        return by_hidden_ND, by_weight_VD * scale, None, None, None, None, None
