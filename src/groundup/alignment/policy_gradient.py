"""The policy-gradient mathematics of GRPO (Shao et al. 2024, arXiv:2402.03300, section 4.1).

    advantage_i = (r_i - mean(r)) / (std(r) + ε)            over the group of answers to one prompt
    ratio_t     = exp(log π(a_t) - log π_old(a_t))
    loss_t      = -min(ratio_t · A, clip(ratio_t, 1-ε_low, 1+ε_high) · A)

Shapes: P prompts, G answers a prompt (a group), B = P·G rows, T time.
"""

import torch
from torch import Tensor

MAX_LOG_RATIO = 20.0  # exp(20) is finite in fp32 and beyond any clip; exp(89) is not


def group_advantages(rewards_PG: Tensor, normalize: bool = True, epsilon: float = 1e-6) -> Tensor:
    """Rewards relative to their group, shape (P, G); a group of equal rewards gets zeros.

    The standard deviation is the unbiased one (ddof 1): one success in a group of 8 has advantage 2.474. Without
    `normalize` it is left out, as in Dr. GRPO (Liu et al. 2025, arXiv:2503.20783).
    """
    equal_P1 = (rewards_PG == rewards_PG[:, :1]).all(dim=1, keepdim=True)  # rounding must not make an advantage of it
    centered_PG = (rewards_PG - rewards_PG.mean(dim=1, keepdim=True)).masked_fill(equal_P1, 0.0)
    if not normalize:
        return centered_PG
    return centered_PG / (rewards_PG.std(dim=1, keepdim=True, correction=1) + epsilon)


def clipped_losses(
    logprobs_BT: Tensor, old_logprobs_BT: Tensor, advantages_B: Tensor, clip_low: float, clip_high: float
) -> tuple[Tensor, Tensor]:
    """Loss and ratio of each token, both (B, T)."""
    ratios_BT = (logprobs_BT - old_logprobs_BT).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()
    clipped_BT = ratios_BT.clamp(1 - clip_low, 1 + clip_high)
    advantages_B1 = advantages_B[:, None]
    return -torch.minimum(ratios_BT * advantages_B1, clipped_BT * advantages_B1), ratios_BT


def aggregate(losses_BT: Tensor, mask_BT: Tensor, how: str, max_length: int) -> Tensor:
    """One number from token losses.

    "grpo": mean over rows of each row's token mean; "dapo": sum over all tokens / number of tokens (arXiv:2503.14476);
    "dr_grpo": sum / (B · max_length), so that no row's length changes its weight (arXiv:2503.20783).
    Rows without tokens count as zero.
    """
    masked_BT = losses_BT * mask_BT
    if how == "grpo":
        return (masked_BT.sum(dim=1) / mask_BT.sum(dim=1).clamp(min=1)).mean()
    if how == "dapo":
        return masked_BT.sum() / mask_BT.sum().clamp(min=1)
    assert how == "dr_grpo", f"there is no aggregation {how!r}"
    return masked_BT.sum() / (losses_BT.shape[0] * max_length)


def kl_k3(logprobs_BT: Tensor, reference_BT: Tensor) -> Tensor:
    """Estimate of KL(π‖ref) on samples of π: exp(q-p) - (q-p) - 1 ≥ 0 (Schulman 2020, joschu.net/blog/kl-approx)."""
    difference_BT = (reference_BT - logprobs_BT).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    return difference_BT.exp() - difference_BT - 1
