"""Mamba-2, a selective state-space layer (Dao & Gu 2024, arXiv:2405.21060, sections 6 and 7).

    h_t = exp(Δ_t A) h_{t-1} + Δ_t B_t x_tᵀ      y_t = C_tᵀ h_t + D x_t      o_t = W_o norm(y_t · SiLU(z_t))

z, x, B, C and Δ are projections of the token; x, B and C then pass a short causal convolution and SiLU, Δ a softplus.
A = -exp(rate) is one number a head, so h is the state of a scan (`linear_attention.scan`) whose query is C, key B and
value Δ x ("state-space duality"). Parameters are named by that reading: `query` C, `key` B, `value` x, `gate` z,
`step` Δ, `skip` D. Groups of heads share query and key; the norm is over each group's heads, as in the paper's code.
That code has one fused in-projection; the products are the same, but here each matrix has a name.

B batch, T time, D width, H heads in G groups of R, K width of state and key, V width of a head, I convolved inputs.
"""

import torch
from torch import Tensor, nn

from groundup.models import mixer_config
from groundup.models.cache import LayerCache, StateCache
from groundup.models.config import DecoderConfig
from groundup.models.delta_rule import new_tail, short_convolution, softplus, spread_decays
from groundup.models.layers import affine, rms_norm, silu
from groundup.models.linear_attention import scan
from groundup.models.positions import document_starts


class StateSpace(nn.Module):
    """One layer's mixer, with a state (K, V) a head."""

    def __init__(self, config: mixer_config.StateSpace, decoder: DecoderConfig) -> None:
        super().__init__()
        self.config, self.epsilon = config, decoder.norm.epsilon
        D, H = decoder.width, config.num_heads(decoder.width)
        G, K, V = config.groups, config.state_width, config.head_width
        self.heads_per_group = H // G
        self.gate = nn.Parameter(torch.empty(H * V, D))
        self.value = nn.Parameter(torch.empty(H * V, D))
        self.key = nn.Parameter(torch.empty(G * K, D))
        self.query = nn.Parameter(torch.empty(G * K, D))
        self.step = nn.Parameter(torch.empty(H, D))
        self.convolution = nn.Parameter(torch.empty(H * V + 2 * G * K, config.convolution))
        self.convolution_bias = nn.Parameter(torch.zeros(H * V + 2 * G * K))
        log_rate_H, step_bias_H = spread_decays(H)
        self.log_decay_rate, self.step_bias = nn.Parameter(log_rate_H), nn.Parameter(step_bias_H)
        self.skip = nn.Parameter(torch.ones(H))
        self.output_gain = nn.Parameter(torch.ones(H * V))
        self.output = nn.Parameter(torch.empty(D, H * V))

    def new_cache(self, batch: int, capacity: int) -> LayerCache:
        """An empty state and convolution; the same for every capacity."""
        shape = (batch, self.config.groups, self.heads_per_group, self.config.state_width, self.config.head_width)
        return StateCache(torch.zeros(shape, device=self.query.device), new_tail(batch, self.convolution))

    def forward(self, x_BTD: Tensor, positions: Tensor, cache: LayerCache | None) -> Tensor:
        G, R, chunk = self.config.groups, self.heads_per_group, self.config.chunk
        inputs_BTI = torch.cat([affine(x_BTD, weight) for weight in (self.value, self.key, self.query)], dim=-1)
        mixed_BTI = short_convolution(inputs_BTI, self.convolution, self.convolution_bias, positions, cache).float()
        widths = (len(self.value), len(self.key), len(self.query))
        v_BTI, *k_and_q = mixed_BTI.split(widths, dim=-1)
        k_BGTK, q_BGTK = (x.unflatten(-1, (G, -1)).transpose(1, 2) for x in k_and_q)
        v_BGRTV = v_BTI.unflatten(-1, (G, R, -1)).movedim(1, 3)
        step_BTH = softplus(affine(x_BTD, self.step).float() + self.step_bias.float())
        if cache is not None:
            step_BTH = step_BTH.masked_fill((positions.expand(x_BTD.shape[:2]) < 0)[..., None], 0)
        step_BGRT = step_BTH.unflatten(-1, (G, R)).movedim(1, 3)
        rate_GR1 = self.log_decay_rate.float().exp().unflatten(0, (G, R))[..., None]
        inputs = (q_BGTK, k_BGTK, step_BGRT[..., None] * v_BGRTV, -rate_GR1 * step_BGRT)
        if cache is None:
            y_BGRTV, _ = scan(*inputs, starts_BT=document_starts(positions), chunk=chunk)
        else:
            assert isinstance(cache, StateCache)
            y_BGRTV, cache.state = scan(*inputs, cache.state, chunk=chunk)
        y_BGRTV = y_BGRTV + self.skip.float().unflatten(0, (G, R))[..., None, None] * v_BGRTV
        return self._output(y_BGRTV.movedim(3, 1), x_BTD)

    def _output(self, y_BTGRV: Tensor, x_BTD: Tensor) -> Tensor:
        """Gated, normalised over each group, projected."""
        groups = (self.config.groups, -1)
        gate_BTGI = silu(affine(x_BTD, self.gate).float()).unflatten(-1, groups)
        y_BTGI = rms_norm(y_BTGRV.flatten(3) * gate_BTGI, self.output_gain.unflatten(0, groups), self.epsilon)
        return affine(y_BTGI.flatten(2).to(x_BTD.dtype), self.output)
