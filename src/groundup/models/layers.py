"""The decoder's mathematics as functions of explicit weights.

Shapes: B batch, T time, D width, F hidden width, H heads, K head width; `...` is any leading shape.
"""

import torch
from torch import Tensor


def affine(x: Tensor, weight_OI: Tensor) -> Tensor:
    """x Wᵀ, from (..., I) to (..., O); no bias."""
    return x @ weight_OI.mT


def rms_norm(x_D: Tensor, gain_D: Tensor, epsilon: float) -> Tensor:
    """x / √(mean(x²) + ε) · gain over the last axis (Zhang & Sennrich 2019, arXiv:1910.07467, eq. 4).

    Computed in fp32: in bf16 the mean of squares keeps only 8 bits.
    """
    x32 = x_D.float()
    scale = torch.rsqrt(x32.square().mean(dim=-1, keepdim=True) + epsilon)
    return (x32 * scale * gain_D.float()).to(x_D.dtype)


def swiglu(x_D: Tensor, gate_FD: Tensor, up_FD: Tensor, down_DF: Tensor) -> Tensor:
    """W_down (SiLU(W_gate x) · W_up x), SiLU(z) = z σ(z) (Shazeer 2020, arXiv:2002.05202, eq. 6)."""
    gate_F = affine(x_D, gate_FD)
    return affine(gate_F * torch.sigmoid(gate_F) * affine(x_D, up_FD), down_DF)


def rope_angles(positions_BT: Tensor, head_width: int, base: float) -> tuple[Tensor, Tensor]:
    """cos and sin of position / base^(2i/K) for i < K/2, each (B, T, K/2), fp32 (Su et al. 2021, arXiv:2104.09864)."""
    index = torch.arange(0, head_width, 2, dtype=torch.float32, device=positions_BT.device)
    angles = positions_BT[..., None].float() * base ** (-index / head_width)
    return angles.cos(), angles.sin()


def rotate(x_BHTK: Tensor, cos_BTk: Tensor, sin_BTk: Tensor) -> Tensor:
    """Turn each pair (x_i, x_{i+K/2}) by its angle (eq. 34 of the RoPE paper, in the half-split layout of Llama)."""
    cos, sin = cos_BTk[:, None], sin_BTk[:, None]
    first, second = x_BHTK.float().chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, first * sin + second * cos), dim=-1).to(x_BHTK.dtype)
