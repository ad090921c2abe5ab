"""Where tokens are, as numbers that attention can use: rotary angles, ALiBi distances, sinusoids, documents.

Positions come in two shapes. (T,): every row is one document, its tokens at these positions. (B, T): each row has its
own; without a cache a position of 0 begins a new document, which sees nothing before it, and with a cache -1 marks
padding, which is not remembered. B batch, T time, S key time, K head width, k half of what is turned.
"""

import math

import torch
from torch import Tensor

from groundup.models.position_config import LinearScaling, Llama3Scaling, NtkScaling, Rotary, YarnScaling

SINUSOID_BASE = 10_000.0


def inverse_frequencies(rotary: Rotary, head_width: int) -> tuple[Tensor, float]:
    """Radians a token for each pair, (k,) fp32, and the factor on queries and keys (1 but for YaRN).

    base^(-2i/2k) for pair i (Su et al. 2021, arXiv:2104.09864), stretched as the config says.
    """
    turned = rotary.turned(head_width)
    index_k = torch.arange(0, turned, 2, dtype=torch.float32) / turned
    frequencies_k = rotary.base**-index_k
    match rotary.scaling:
        case None:
            return frequencies_k, 1.0
        case LinearScaling(factor=factor):
            return frequencies_k / factor, 1.0
        case NtkScaling(factor=factor):
            return (rotary.base * factor ** (turned / max(turned - 2, 1))) ** -index_k, 1.0
        case YarnScaling() as yarn:
            grown = 0.1 * math.log(yarn.factor) + 1 if yarn.attention_factor is None else yarn.attention_factor
            return _yarn(frequencies_k, yarn, rotary.base, turned), grown
        case Llama3Scaling() as llama:
            return _llama3(frequencies_k, llama), 1.0


def _yarn(frequencies_k: Tensor, yarn: YarnScaling, base: float, turned: int) -> Tensor:
    """NTK-by-parts (YaRN, arXiv:2309.00071, section 3.2), the ramp between whole indices of pairs as in its code."""

    def pair_with(turns: float) -> float:
        return turned * math.log(yarn.original_context / (turns * 2 * math.pi)) / (2 * math.log(base))

    low, high = max(math.floor(pair_with(yarn.beta_fast)), 0), min(math.ceil(pair_with(yarn.beta_slow)), turned - 1)
    index_k = torch.arange(len(frequencies_k), dtype=torch.float32)
    slow_k = ((index_k - low) / max(high - low, 0.001)).clamp(0, 1)
    return frequencies_k / yarn.factor * slow_k + frequencies_k * (1 - slow_k)


def _llama3(frequencies_k: Tensor, llama: Llama3Scaling) -> Tensor:
    turns_k = llama.original_context * frequencies_k / (2 * math.pi)  # in the original context
    low, high = llama.low_frequency_factor, llama.high_frequency_factor
    kept_k = ((turns_k - low) / (high - low)).clamp(0, 1)
    return frequencies_k * kept_k + frequencies_k / llama.factor * (1 - kept_k)


def rotary_angles(rotary: Rotary, head_width: int, positions: Tensor) -> tuple[Tensor, Tensor]:
    """`rope_angles` as the config says, for heads of a width."""
    frequencies_k, factor = inverse_frequencies(rotary, head_width)
    return rope_angles(positions, frequencies_k.to(positions.device), factor)


def rope_angles(positions: Tensor, frequencies_k: Tensor, factor: float = 1.0) -> tuple[Tensor, Tensor]:
    """cos and sin of position · frequency, times the factor, each (..., T, k), fp32."""
    angles = positions[..., None].float() * frequencies_k
    return angles.cos() * factor, angles.sin() * factor


def rotate(x_BHTK: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair (x_i, x_{i+k}) by its angle (eq. 34 of the RoPE paper, in the half-split layout of Llama).

    cos and sin are (T, k) or (B, T, k); entries from 2k on stay as they are.
    """
    if cos.ndim == 3:
        cos, sin = cos[:, None], sin[:, None]
    k = cos.shape[-1]
    first, second, rest = x_BHTK[..., :k].float(), x_BHTK[..., k : 2 * k].float(), x_BHTK[..., 2 * k :]
    turned = torch.cat((first * cos - second * sin, first * sin + second * cos), dim=-1).to(x_BHTK.dtype)
    return torch.cat((turned, rest), dim=-1) if rest.shape[-1] else turned


def alibi_slopes(num_heads: int) -> Tensor:
    """2^(-8h/H) for head h = 1..H (Press et al. 2022, arXiv:2108.12409, section 3).

    Where H is no power of two, the paper's code fills up a series for the next smaller one; this is the formula.
    """
    return 2.0 ** (-8 / num_heads * torch.arange(1, num_heads + 1, dtype=torch.float32))


def sinusoids(positions: Tensor, width: int) -> Tensor:
    """sin(p / base^(2i/D)) at 2i and cos at 2i + 1, (..., T, D) (Vaswani et al. 2017, arXiv:1706.03762, 3.5)."""
    index = torch.arange(0, width, 2, dtype=torch.float32, device=positions.device)
    angles = positions[..., None].float() * SINUSOID_BASE ** (-index / width)
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2)[..., :width]


def document_starts(positions: Tensor) -> Tensor | None:
    """Which tokens begin a document inside a row, (B, T); None where each row is one."""
    return positions == 0 if positions.ndim == 2 else None


def documents_of(positions: Tensor) -> Tensor | None:
    """Numbers that are equal for the tokens of one document of a row, (B, T); None where each row is one."""
    return (positions == 0).cumsum(dim=1) if positions.ndim == 2 else None


def visible_in_cache(positions_BT: Tensor, key_positions_BS: Tensor, window: int | None) -> Tensor:
    """Which cached keys each query sees, (B, T, S); keys at -1 are none.

    Padding sees all slots: what it finds does not matter, but a softmax over nothing would be NaN on some devices.
    """
    behind_BTS = positions_BT[:, :, None] - key_positions_BS[:, None, :]
    near_BTS = behind_BTS >= 0 if window is None else (behind_BTS >= 0) & (behind_BTS < window)
    return near_BTS & (key_positions_BS >= 0)[:, None, :] | (positions_BT < 0)[:, :, None]
