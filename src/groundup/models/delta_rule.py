"""The delta rule: Gated DeltaNet (Yang et al. 2024, arXiv:2412.06464, eq. 10), and DeltaNet, which does not decay (Yang
et al. 2024, arXiv:2406.06484).

    S_t = α_t S_{t-1} + β_t k_t (v_t - (α_t S_{t-1})ᵀ k_t)ᵀ
    y_t = W_o (norm(S_tᵀ q_t / √K) · SiLU(W_z x_t))

(S is transposed here.) What the state answers to k is moved towards v: one step of gradient descent on ½ |Sᵀ k - v|² at
the rate β = σ(W_b x), after a decay of α = exp(-exp(rate) · softplus(W_a x + bias)). q, k, v = SiLU(convolution(W x)),
then q and k are scaled to length 1. All as in Qwen3-Next with as many key as value heads; DeltaNet is gated by W_z too.

In chunks (arXiv:2406.06484, section 3): with u_t = β_t (v_t - (α_t S_{t-1})ᵀ k_t) the state is that of a plain scan, of
k and u, and the rows u of a chunk solve a triangular system ("UT transform"):

    (I + A) U = β V - (β γ K) S      A_ij = β_i γ_ij (k_i · k_j) for j < i      γ what the decays have left

B batch, T time, D width, H heads, K key width, V value width, N chunks of C tokens, W convolution width, I its inputs.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from groundup.kernels.exact import exact
from groundup.models import mixer_config
from groundup.models.cache import LayerCache, StateCache
from groundup.models.config import DecoderConfig
from groundup.models.layers import affine, causal_convolution, rms_norm, silu
from groundup.models.linear_attention import CHUNK, chunk_decays, fitting_chunk, in_chunks
from groundup.models.positions import document_starts

EPSILON = 1e-6  # under the root of a key's length, as in Qwen3-Next


class DeltaRule(nn.Module):
    """One layer's mixer, with a state (K, V) a head."""

    def __init__(self, config: mixer_config.DeltaRule, decoder: DecoderConfig) -> None:
        super().__init__()
        self.config, self.epsilon = config, decoder.norm.epsilon
        D, H, (K, V) = decoder.width, config.num_heads, config.widths(decoder.width)
        self.widths = (K, V)
        self.query = nn.Parameter(torch.empty(H * K, D))
        self.key = nn.Parameter(torch.empty(H * K, D))
        self.value = nn.Parameter(torch.empty(H * V, D))
        self.convolution = nn.Parameter(torch.empty(H * (2 * K + V), config.convolution))
        self.beta = nn.Parameter(torch.empty(H, D))
        if config.gated:
            self.decay = nn.Parameter(torch.empty(H, D))
            log_rate_H, step_bias_H = spread_decays(H)
            self.log_decay_rate, self.decay_bias = nn.Parameter(log_rate_H), nn.Parameter(step_bias_H)
        self.gate = nn.Parameter(torch.empty(H * V, D))
        self.output_gain = nn.Parameter(torch.ones(V))
        self.output = nn.Parameter(torch.empty(D, H * V))

    def new_cache(self, batch: int, capacity: int) -> LayerCache:
        """An empty state and convolution; the same for every capacity."""
        state_BHKV = torch.zeros(batch, self.config.num_heads, *self.widths, device=self.query.device)
        return StateCache(state_BHKV, new_tail(batch, self.convolution))

    def forward(self, x_BTD: Tensor, positions: Tensor, cache: LayerCache | None) -> Tensor:
        H, (K, V) = self.config.num_heads, self.widths
        inputs_BTI = torch.cat([affine(x_BTD, weight) for weight in (self.query, self.key, self.value)], dim=-1)
        mixed_BTI = short_convolution(inputs_BTI, self.convolution, None, positions, cache).float()
        q_BHTK, k_BHTK, v_BHTV = (
            x.unflatten(-1, (H, -1)).transpose(1, 2) for x in mixed_BTI.split((H * K, H * K, H * V), dim=-1)
        )
        beta_BHT = torch.sigmoid(affine(x_BTD, self.beta).float()).mT
        log_decay_BHT = self._log_decay(x_BTD)
        inputs = (unit(q_BHTK) / math.sqrt(K), unit(k_BHTK), v_BHTV)
        if cache is None:
            y_BHTV, _ = delta_rule(*inputs, beta_BHT, log_decay_BHT, starts_BT=document_starts(positions))
        else:
            assert isinstance(cache, StateCache)
            padding_B1T = (positions.expand(x_BTD.shape[:2]) < 0)[:, None]
            beta_BHT, log_decay_BHT = (x.masked_fill(padding_B1T, 0) for x in (beta_BHT, log_decay_BHT))
            y_BHTV, cache.state = delta_rule(*inputs, beta_BHT, log_decay_BHT, cache.state)
        gate_BTHV = silu(affine(x_BTD, self.gate).float()).unflatten(-1, (H, V))
        y_BTHV = rms_norm(y_BHTV.transpose(1, 2), self.output_gain, self.epsilon) * gate_BTHV
        return affine(y_BTHV.flatten(2).to(x_BTD.dtype), self.output)

    def _log_decay(self, x_BTD: Tensor) -> Tensor:
        """ln α of every head, fp32, (B, H, T); (1, 1, T) where nothing decays."""
        if not self.config.gated:
            return torch.zeros(1, 1, x_BTD.shape[1], device=x_BTD.device)
        step_BTH = softplus(affine(x_BTD, self.decay).float() + self.decay_bias.float())
        return (-self.log_decay_rate.float().exp() * step_BTH).mT


@exact
def delta_rule(
    q_BHTK: Tensor,
    k_BHTK: Tensor,
    v_BHTV: Tensor,
    beta_BHT: Tensor,
    log_decay_BHT: Tensor,
    state_BHKV: Tensor | None = None,
    starts_BT: Tensor | None = None,
    chunk: int = CHUNK,
) -> tuple[Tensor, Tensor]:
    """S_tᵀ q_t with S_t = α_t S_{t-1} + β_t k_t (v_t - (α_t S_{t-1})ᵀ k_t)ᵀ, from a state or 0; and the last state.

    α = exp(log decay), whose leading axes may be 1. `starts_BT` marks tokens at which a document begins, with S = 0
    before it. A token of β 0 and log decay 0 changes nothing. `chunk` is a power of two.
    """
    if state_BHKV is not None and starts_BT is None and q_BHTK.shape[2] == 1:
        q_BHK, k_BHK, v_BHV = (x[:, :, 0] for x in (q_BHTK, k_BHTK, v_BHTV))
        y_BHV, state_BHKV = delta_rule_step(q_BHK, k_BHK, v_BHV, beta_BHT[..., 0], log_decay_BHT[..., 0], state_BHKV)
        return y_BHV[:, :, None], state_BHKV
    return chunked_delta_rule(q_BHTK, k_BHTK, v_BHTV, beta_BHT, log_decay_BHT, state_BHKV, starts_BT, chunk)


def delta_rule_step(
    q_BHK: Tensor, k_BHK: Tensor, v_BHV: Tensor, beta_BH: Tensor, log_decay_BH: Tensor, state_BHKV: Tensor
) -> tuple[Tensor, Tensor]:
    """`delta_rule` of one token, as written."""
    kept_BHKV = state_BHKV * log_decay_BH.exp()[..., None, None]
    known_BHV = (k_BHK[:, :, None] @ kept_BHKV)[:, :, 0]
    change_BHV = beta_BH[..., None] * (v_BHV - known_BHV)
    state_BHKV = kept_BHKV + k_BHK[..., None] * change_BHV[:, :, None]
    return (q_BHK[:, :, None] @ state_BHKV)[:, :, 0], state_BHKV


def chunked_delta_rule(
    q_BHTK: Tensor,
    k_BHTK: Tensor,
    v_BHTV: Tensor,
    beta_BHT: Tensor,
    log_decay_BHT: Tensor,
    state_BHKV: Tensor | None,
    starts_BT: Tensor | None,
    chunk: int,
) -> tuple[Tensor, Tensor]:
    """`delta_rule` by chunks: all that does not need the state first, for all chunks at once; then chunk by chunk
    U = (I + A)⁻¹ β V - (I + A)⁻¹ (β γ K) S and the next state; then what queries find, again for all."""
    T = q_BHTK.shape[2]
    C = fitting_chunk(chunk, T)
    q_BHNCK, k_BHNCK, v_BHNCV = (in_chunks(x, -2, C) for x in (q_BHTK, k_BHTK, v_BHTV))
    beta_BHNC1 = in_chunks(beta_BHT, -1, C)[..., None]
    decay_BHNCJ = chunk_decays(log_decay_BHT, None if starts_BT is None else starts_BT[:, None], C)
    carried_BHNC1, between_BHNCC = decay_BHNCJ[..., :1], decay_BHNCJ[..., 1:]
    inverse_BHNCC = inverse_of_unit_lower((beta_BHNC1 * k_BHNCK) @ k_BHNCK.mT * between_BHNCC)
    own_BHNCV = inverse_BHNCC @ (beta_BHNC1 * v_BHNCV)
    reading_BHNCK = inverse_BHNCC @ (beta_BHNC1 * carried_BHNC1 * k_BHNCK)
    leaving_BHNKC = (k_BHNCK * between_BHNCC[..., -1, :, None]).mT
    state = q_BHTK.new_zeros(*k_BHTK.shape[:2], k_BHTK.shape[3], v_BHTV.shape[3]) if state_BHKV is None else state_BHKV
    states, changes = [], []
    for n in range(own_BHNCV.shape[2]):
        states.append(state)
        changes.append(own_BHNCV[:, :, n] - reading_BHNCK[:, :, n] @ state)
        state = decay_BHNCJ[:, :, n, -1, :1, None] * state + leaving_BHNKC[:, :, n] @ changes[-1]
    scores_BHNCC = q_BHNCK @ k_BHNCK.mT * between_BHNCC
    y_BHNCV = scores_BHNCC @ torch.stack(changes, dim=2) + carried_BHNC1 * (q_BHNCK @ torch.stack(states, dim=2))
    return y_BHNCV.flatten(2, 3)[:, :, :T], state


def inverse_of_unit_lower(x_CC: Tensor) -> Tensor:
    """(I + strictly lower part of x)⁻¹ for C a power of two, (..., C, C): forward substitution, by halves,

    (P 0; Q R)⁻¹ = (P⁻¹ 0; -R⁻¹ Q P⁻¹ R⁻¹).

    That is log₂ C rounds of matrix products instead of C steps row by row, and as exact. The series I - A + A² - … has
    fewer, but where keys are alike its terms grow far beyond their sum.
    """
    half = x_CC.shape[-1] // 2
    if half == 0:
        return torch.ones_like(x_CC)
    first, second = inverse_of_unit_lower(torch.stack((x_CC[..., :half, :half], x_CC[..., half:, half:])))
    corner = -second @ x_CC[..., half:, :half] @ first
    return torch.cat((pad(first, (0, half)), torch.cat((corner, second), dim=-1)), dim=-2)


def unit(x_K: Tensor) -> Tensor:
    """x / |x| over the last axis."""
    return x_K * torch.rsqrt(x_K.square().sum(dim=-1, keepdim=True) + EPSILON)


def softplus(x: Tensor) -> Tensor:
    """ln(1 + eˣ)."""
    return torch.logaddexp(x, x.new_zeros(()))


def spread_decays(heads: int) -> tuple[Tensor, Tensor]:
    """ln rates, from ln 1 to ln 16, and biases for which softplus is 0.001 to 0.1, each (heads,).

    These are the ranges of Mamba-2's random values (arXiv:2405.21060, its code). Even spacing needs no seed; fast rates
    with long steps make the first head remember some 1,000 tokens and the last one less than one.
    """
    rates_H = torch.linspace(1, 16, heads)
    steps_H = torch.logspace(-3, -1, heads)
    return rates_H.log(), steps_H + torch.log(-torch.expm1(-steps_H))  # the inverse of softplus


def short_convolution(
    x_BTI: Tensor, weight_IW: Tensor, bias_I: Tensor | None, positions: Tensor, cache: LayerCache | None
) -> Tensor:
    """SiLU of each channel's convolution over its last W tokens; with a cache, those of the calls before included."""
    if cache is None:
        y_BTI = causal_convolution(x_BTI, weight_IW, document_starts(positions))
    else:
        assert isinstance(cache, StateCache)
        assert cache.tail_BWC is not None
        joined_BTI = torch.cat((cache.tail_BWC, x_BTI), dim=1)
        before = cache.tail_BWC.shape[1]
        real_B = (positions.expand(x_BTI.shape[:2]) >= 0).sum(dim=1)  # padding comes after a row's tokens
        newest_BW = real_B[:, None] + torch.arange(before, device=x_BTI.device)
        cache.tail_BWC = joined_BTI[torch.arange(len(x_BTI), device=x_BTI.device)[:, None], newest_BW]
        y_BTI = causal_convolution(joined_BTI, weight_IW)[:, before:]
    return silu(y_BTI if bias_I is None else y_BTI + bias_I)


def new_tail(batch: int, weight_IW: Tensor) -> Tensor:
    """What a convolution has seen before the first token: zeros (B, W - 1, I)."""
    inputs, width = weight_IW.shape
    return weight_IW.new_zeros(batch, width - 1, inputs)
