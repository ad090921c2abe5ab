"""The decoder's mathematics as functions of explicit weights.

Shapes: B batch, T time, D width, F hidden width, V vocabulary; I in, O out; `...` is any leading shape.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from groundup.kernels import matvec, packed_product
from groundup.kernels.float8 import weight_product


def affine(x: Tensor, weight_OI: Tensor | nn.Module, bias_O: Tensor | None = None) -> Tensor:
    """x Wᵀ + b, from (..., I) to (..., O). A weight that is no tensor (`quantized_weight.py`) is called with x."""
    if not isinstance(weight_OI, Tensor):
        y = weight_OI(x)
    elif matvec.few(x):
        y = matvec.vector_product(x, weight_OI)
    elif packed_product.packs(weight_OI):
        y = packed_product.packed_product(x.flatten(0, -2), weight_OI).unflatten(0, x.shape[:-1])
    else:
        y = weight_product(x, weight_OI.mT)
    return y if bias_O is None else y + bias_O


def rms_norm(x_D: Tensor, gain_D: Tensor, epsilon: float) -> Tensor:
    """x / √(mean(x²) + ε) · gain over the last axis (Zhang & Sennrich 2019, arXiv:1910.07467, eq. 4).

    Computed in fp32: in bf16 the mean of squares keeps only 8 bits.
    """
    x32 = x_D.float()
    scale = torch.rsqrt(x32.square().mean(dim=-1, keepdim=True) + epsilon)
    return (x32 * scale * gain_D.float()).to(x_D.dtype)


def layer_norm(x_D: Tensor, gain_D: Tensor, bias_D: Tensor | None, epsilon: float) -> Tensor:
    """(x - mean) / √(variance + ε) · gain + bias over the last axis, in fp32 (Ba et al. 2016, arXiv:1607.06450)."""
    x32 = x_D.float()
    centred = x32 - x32.mean(dim=-1, keepdim=True)
    y = centred * torch.rsqrt(centred.square().mean(dim=-1, keepdim=True) + epsilon) * gain_D.float()
    return (y if bias_D is None else y + bias_D.float()).to(x_D.dtype)


def relu(x: Tensor) -> Tensor:
    """max(x, 0), with a slope of 0 at 0, as it has everywhere in the field; that of `clamp` is 1."""
    return torch.where(x <= 0, 0, x)


def squared_relu(x: Tensor) -> Tensor:
    """max(x, 0)² (So et al. 2021, arXiv:2109.08668)."""
    return relu(x).square()


def gelu(x: Tensor) -> Tensor:
    """x Φ(x), Φ the normal distribution's (Hendrycks & Gimpel 2016, arXiv:1606.08415).

    In fp32: bf16 rounds 1 + erf to steps of 1/256, so that everything below -3.1 would become 0.
    """
    x32 = x.float()
    return (0.5 * x32 * (1 + torch.erf(x32 / math.sqrt(2)))).to(x.dtype)


def gelu_tanh(x: Tensor) -> Tensor:
    """GELU by the tanh approximation that GPT-2 and Gemma were trained with (the same paper, section 2), in fp32."""
    x32 = x.float()
    return (0.5 * x32 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x32 + 0.044715 * x32**3)))).to(x.dtype)


def silu(x: Tensor) -> Tensor:
    """x σ(x), also called Swish (Ramachandran et al. 2017, arXiv:1710.05941)."""
    return x * torch.sigmoid(x)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": relu,
    "squared_relu": squared_relu,
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "silu": silu,
}


def gated(x_D: Tensor, gate_FD: Tensor, up_FD: Tensor, down_DF: Tensor, activation: str = "silu") -> Tensor:
    """W_down (f(W_gate x) · W_up x) (Shazeer 2020, arXiv:2002.05202, eq. 6); SwiGLU with SiLU."""
    return affine(ACTIVATIONS[activation](affine(x_D, gate_FD)) * affine(x_D, up_FD), down_DF)


def soft_cap(x: Tensor, cap: float | None) -> Tensor:
    """c tanh(x / c): within ±c, and near x where x is small (Gemma 2, arXiv:2408.00118); None leaves x as it is."""
    return x if cap is None else cap * torch.tanh(x / cap)


def dropout(x: Tensor, probability: float, training: bool) -> Tensor:
    """Entries set to 0 with a probability and the others scaled by 1/(1 - p), in training (Srivastava et al. 2014)."""
    if not training or probability == 0:
        return x
    return x * (torch.rand_like(x, dtype=torch.float32) >= probability) / (1 - probability)


def causal_convolution(x_BTC: Tensor, weight_CW: Tensor, starts_BT: Tensor | None = None) -> Tensor:
    """Each channel over its own last W tokens, the last weight for the newest: y_t = Σ_i w_i x_{t-W+1+i}.

    `starts_BT` marks the first tokens of documents, over which nothing is carried.
    """
    W = weight_CW.shape[1]
    y = x_BTC * weight_CW[:, -1]
    reach_BT1 = None if starts_BT is None else torch.ones_like(starts_BT)[..., None]
    for back in range(1, W):
        shifted = torch.nn.functional.pad(x_BTC, (0, 0, back, 0))[:, : x_BTC.shape[1]]
        if starts_BT is not None and reach_BT1 is not None:
            since = torch.nn.functional.pad(starts_BT, (back - 1, 0))[:, : starts_BT.shape[1]]
            reach_BT1 = reach_BT1 & ~since[..., None]
            shifted = shifted * reach_BT1
        y = y + shifted * weight_CW[:, -1 - back]
    return y
