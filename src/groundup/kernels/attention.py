"""Scaled dot-product attention: softmax(QKᵀ/√K + mask) V (Vaswani et al. 2017, arXiv:1706.03762, eq. 1).

Shapes: B batch, H query heads, G key/value heads (H a multiple of G), T query time, S key time, K head width.

Three implementations of one operation, `attend`:

- `attend_reference`: the formula, in fp32. The oracle of the other two.
- `attend_causal_blocked`: for training on a CPU. Queries are cut into blocks along time and each block sees only keys
  up to its own end, so that with n blocks (n-1)/2n of the score matrix is never computed. PyTorch's CPU kernel is fast
  forward but slow backward; plain matrix products in bf16 around a compiled fp32 softmax are 2.3 times as fast.
- PyTorch's fused kernel: on a GPU, and wherever there is an explicit mask (generation).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from groundup.kernels.dispatch import record

MIN_BLOCK = 64


def attend(q_BHTK: Tensor, k_BGSK: Tensor, v_BGSK: Tensor, mask_BTS: Tensor | None = None) -> Tensor:
    """Attention output, shape BHTK. Without a mask it is causal and S must equal T; True in a mask means visible."""
    if mask_BTS is not None:
        record("attention.masked", "torch_sdpa")
        mask_B1TS = mask_BTS[:, None]
        return F.scaled_dot_product_attention(q_BHTK, k_BGSK, v_BGSK, attn_mask=mask_B1TS, enable_gqa=True)
    assert q_BHTK.shape[2] == k_BGSK.shape[2], "attention to other keys than the queries' own needs a mask"
    if q_BHTK.device.type == "cpu" and torch.is_grad_enabled():
        record("attention.causal", "blocked")
        return attend_causal_blocked(q_BHTK, k_BGSK, v_BGSK)
    record("attention.causal", "torch_sdpa")
    return F.scaled_dot_product_attention(q_BHTK, k_BGSK, v_BGSK, is_causal=True, enable_gqa=True)


def attend_reference(q_BHTK: Tensor, k_BGSK: Tensor, v_BGSK: Tensor, mask_BTS: Tensor | None = None) -> Tensor:
    """The formula, step by step in fp32; the result has the dtype of `q`."""
    k_BHSK, v_BHSK = (repeat_heads(x, q_BHTK.shape[1]).float() for x in (k_BGSK, v_BGSK))
    scores_BHTS = q_BHTK.float() @ k_BHSK.mT / math.sqrt(q_BHTK.shape[-1])
    if mask_BTS is None:
        T, S = scores_BHTS.shape[-2:]
        mask_BTS = torch.ones(T, S, dtype=torch.bool, device=scores_BHTS.device).tril()[None]
    scores_BHTS = scores_BHTS.masked_fill(~mask_BTS[:, None], -math.inf)
    weights_BHTS = torch.softmax(scores_BHTS, dim=-1)
    return (weights_BHTS @ v_BHSK).to(q_BHTK.dtype)


def attend_causal_blocked(q_BHTK: Tensor, k_BGSK: Tensor, v_BGSK: Tensor) -> Tensor:
    """Causal self-attention in query blocks; matrix products in the input's dtype, softmax in fp32."""
    T = q_BHTK.shape[2]
    k_BHSK, v_BHSK = (repeat_heads(x, q_BHTK.shape[1]) for x in (k_BGSK, v_BGSK))
    block = max(MIN_BLOCK, -(-T // 4))
    outputs = []
    for start in range(0, T, block):
        end = min(start + block, T)
        q_BHbK, k_BHeK, v_BHeK = q_BHTK[:, :, start:end], k_BHSK[:, :, :end], v_BHSK[:, :, :end]
        scores_BHbe = (q_BHbK @ k_BHeK.mT).float() / math.sqrt(q_BHTK.shape[-1])
        rows = torch.arange(start, end, device=q_BHTK.device)[:, None]
        columns = torch.arange(end, device=q_BHTK.device)[None, :]
        weights_BHbe = torch.softmax(scores_BHbe.masked_fill(columns > rows, -math.inf), dim=-1)
        outputs.append(weights_BHbe.to(v_BHeK.dtype) @ v_BHeK)
    return torch.cat(outputs, dim=2)


def repeat_heads(x_BGSK: Tensor, num_heads: int) -> Tensor:
    """Each key/value head serves num_heads / G query heads (Ainslie et al. 2023, arXiv:2305.13245)."""
    B, G, S, K = x_BGSK.shape
    if num_heads == G:
        return x_BGSK
    return x_BGSK[:, :, None].expand(B, G, num_heads // G, S, K).reshape(B, num_heads, S, K)
