"""Scaled dot-product attention: softmax(QKᵀ/√K + mask) V (Vaswani et al. 2017, arXiv:1706.03762, eq. 1).

Shapes: B batch, H query heads, G key/value heads (H a multiple of G), T query time, S key time, K head width, V value
width.

Four implementations of one operation, `attend`:

- `attend_reference`: the formula, in fp32. The oracle of the others.
- `attend_causal_blocked`: for training on a CPU. Queries are cut into blocks along time and each block sees only keys
  up to its own end, so that with n blocks (n-1)/2n of the score matrix is never computed. PyTorch's CPU kernel is fast
  forward but slow backward; plain matrix products in bf16 around a compiled fp32 softmax are 2.3 times as fast.
- PyTorch's fused kernel: on a GPU, and wherever there is an explicit mask or bias (generation).
- `attend_by_sums`: one query a row in a compiled function, as multiply-and-sum (`matvec.py`).

A soft cap or sinks change the softmax itself, which only the reference does.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from groundup.kernels import matvec
from groundup.kernels.dispatch import record
from groundup.kernels.exact import exact

MIN_BLOCK = 64


def attend(
    q_BHTK: Tensor,
    k_BGSK: Tensor,
    v_BGSV: Tensor,
    mask_BTS: Tensor | None = None,
    *,
    window: int | None = None,
    documents_BT: Tensor | None = None,
    scale: float | None = None,
    bias_BHTS: Tensor | None = None,
    soft_cap: float | None = None,
    sink_H: Tensor | None = None,
) -> Tensor:
    """Attention output (B, H, T, V). Without a mask it is causal, within `window` tokens and within the tokens of equal
    numbers in `documents` if these are given, and S must equal T; a mask (B or 1, T, S), where True means visible, says
    everything itself. A query that sees nothing gets 0.

    `scale` None is 1/√K. `bias` (B or 1, H, T, S) is added to the scaled scores, `soft_cap` c bounds them to
    c tanh(score / c) before that, and `sink` is one more score a head, for a value of 0.
    """
    options = {"scale": scale, "bias_BHTS": bias_BHTS, "soft_cap": soft_cap, "sink_H": sink_H}
    causal = mask_BTS is None
    assert not causal or q_BHTK.shape[2] == k_BGSK.shape[2], "attention to keys that are not the queries' needs a mask"
    if soft_cap is not None or sink_H is not None:
        if not matvec.inside():  # a compiled step would be compiled again for each new record
            record("attention.scores", "reference")
        within = {"window": window, "documents_BT": documents_BT}
        return attend_reference(q_BHTK, k_BGSK, v_BGSV, mask_BTS, **within, **options)
    if causal and bias_BHTS is None and q_BHTK.device.type == "cpu" and torch.is_grad_enabled():
        record("attention.causal", "blocked")
        return attend_causal_blocked(q_BHTK, k_BGSK, v_BGSV, window, scale, documents_BT)
    if causal and bias_BHTS is None and window is None and documents_BT is None:
        record("attention.causal", "torch_sdpa")
        return F.scaled_dot_product_attention(q_BHTK, k_BGSK, v_BGSV, is_causal=True, scale=scale, enable_gqa=True)
    if mask_BTS is not None and q_BHTK.shape[2] == 1 and matvec.inside():
        return attend_by_sums(q_BHTK, k_BGSK, v_BGSV, mask_BTS, scale, bias_BHTS)
    record("attention.masked", "torch_sdpa")
    mask = (causal_mask(q_BHTK, window, documents_BT) if mask_BTS is None else mask_BTS)[:, None]
    if bias_BHTS is not None:
        mask = bias_BHTS.to(q_BHTK.dtype).masked_fill(~mask, -math.inf)
    return F.scaled_dot_product_attention(q_BHTK, k_BGSK, v_BGSV, attn_mask=mask, scale=scale, enable_gqa=True)


@exact
def attend_reference(
    q_BHTK: Tensor,
    k_BGSK: Tensor,
    v_BGSV: Tensor,
    mask_BTS: Tensor | None = None,
    *,
    window: int | None = None,
    documents_BT: Tensor | None = None,
    scale: float | None = None,
    bias_BHTS: Tensor | None = None,
    soft_cap: float | None = None,
    sink_H: Tensor | None = None,
) -> Tensor:
    """The formula, step by step in fp32; the result has the dtype of `q`."""
    k_BHSK, v_BHSV = (repeat_heads(x, q_BHTK.shape[1]).float() for x in (k_BGSK, v_BGSV))
    scores_BHTS = q_BHTK.float() @ k_BHSK.mT * (1 / math.sqrt(q_BHTK.shape[-1]) if scale is None else scale)
    if soft_cap is not None:
        scores_BHTS = soft_cap * torch.tanh(scores_BHTS / soft_cap)
    if bias_BHTS is not None:
        scores_BHTS = scores_BHTS + bias_BHTS
    hidden_B1TS = ~(causal_mask(q_BHTK, window, documents_BT) if mask_BTS is None else mask_BTS)[:, None]
    # The lowest number, not -inf: where all is hidden, a softmax of -inf is NaN, and so are its gradients.
    scores_BHTS = scores_BHTS.masked_fill(hidden_B1TS, torch.finfo(torch.float32).min)
    if sink_H is not None:
        sink_BHT1 = sink_H.float()[:, None, None].expand(*scores_BHTS.shape[:-1], 1)
        scores_BHTS = torch.cat((scores_BHTS, sink_BHT1), dim=-1)
    weights_BHTS = torch.softmax(scores_BHTS, dim=-1)[..., : k_BHSK.shape[2]]
    return (weights_BHTS.masked_fill(hidden_B1TS, 0) @ v_BHSV).to(q_BHTK.dtype)


def attend_by_sums(
    q_BHTK: Tensor,
    k_BGSK: Tensor,
    v_BGSV: Tensor,
    mask_BTS: Tensor,
    scale: float | None = None,
    bias_BHTS: Tensor | None = None,
) -> Tensor:
    """For one query, compiled: the compiler reads keys and values where they lie, so pages are not copied together."""
    B, H, _, K = q_BHTK.shape
    G = k_BGSK.shape[1]
    q_BGR1K = q_BHTK.float().view(B, G, H // G, 1, K) * (1 / math.sqrt(K) if scale is None else scale)
    scores_BGRS = (q_BGR1K * k_BGSK.float()[:, :, None]).sum(dim=-1)
    if bias_BHTS is not None:
        scores_BGRS = scores_BGRS + bias_BHTS.expand(B, H, 1, -1).reshape(scores_BGRS.shape)
    weights_BGRS = torch.softmax(scores_BGRS.masked_fill(~mask_BTS[:, :, None], -math.inf), dim=-1)
    y_BGRV = (weights_BGRS[..., None] * v_BGSV.float()[:, :, None]).sum(dim=-2)
    return y_BGRV.view(B, H, 1, -1).to(q_BHTK.dtype)


def causal_mask(q_BHTK: Tensor, window: int | None, documents_BT: Tensor | None = None) -> Tensor:
    """Which of its own tokens each query sees, (1 or B, T, T)."""
    order_T = torch.arange(q_BHTK.shape[2], device=q_BHTK.device)
    behind_TT = order_T[:, None] - order_T[None, :]
    near_1TT = ((behind_TT >= 0) if window is None else (behind_TT >= 0) & (behind_TT < window))[None]
    return near_1TT if documents_BT is None else near_1TT & (documents_BT[:, :, None] == documents_BT[:, None, :])


def attend_causal_blocked(
    q_BHTK: Tensor,
    k_BGSK: Tensor,
    v_BGSV: Tensor,
    window: int | None = None,
    scale: float | None = None,
    documents_BT: Tensor | None = None,
) -> Tensor:
    """Causal self-attention in query blocks; matrix products in the input's dtype, softmax in fp32."""
    T = q_BHTK.shape[2]
    scale = 1 / math.sqrt(q_BHTK.shape[-1]) if scale is None else scale
    k_BHSK, v_BHSV = (repeat_heads(x, q_BHTK.shape[1]) for x in (k_BGSK, v_BGSV))
    block = max(MIN_BLOCK, -(-T // 4))
    outputs = []
    for start in range(0, T, block):
        end = min(start + block, T)
        first = 0 if window is None else max(0, start - window + 1)
        q_BHbK, k_BHeK, v_BHeV = q_BHTK[:, :, start:end], k_BHSK[:, :, first:end], v_BHSV[:, :, first:end]
        scores_BHbe = (q_BHbK @ k_BHeK.mT).float() * scale
        order_e = torch.arange(first, end, device=q_BHTK.device)
        behind_be = order_e[start - first :, None] - order_e
        hidden_be = behind_be < 0 if window is None else (behind_be < 0) | (behind_be >= window)
        if documents_BT is not None:
            hidden_be = hidden_be | (documents_BT[:, None, start:end, None] != documents_BT[:, None, None, first:end])
        weights_BHbe = torch.softmax(scores_BHbe.masked_fill(hidden_be, -math.inf), dim=-1)
        outputs.append(weights_BHbe.to(v_BHeV.dtype) @ v_BHeV)
    return torch.cat(outputs, dim=2)


def repeat_heads(x_BGSK: Tensor, num_heads: int) -> Tensor:
    """Each key/value head serves num_heads / G query heads (Ainslie et al. 2023, arXiv:2305.13245)."""
    B, G, S, K = x_BGSK.shape
    if num_heads == G:
        return x_BGSK
    return x_BGSK[:, :, None].expand(B, G, num_heads // G, S, K).reshape(B, num_heads, S, K)
