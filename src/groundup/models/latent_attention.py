"""Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434, section 2.1, eq. 9-19).

    c = norm(W_c x)                     the latent, cached with the rotary key r = rope(W_r x), one for all heads
    k_h = [W_k,h c ; r],  v_h = W_v,h c
    q_h = [W_q,h a ; rope(W_s,h a)]     a = x, or norm(W_a x) where queries have a latent too

With a cache the keys and values of all tokens are not built again: W_k goes to the query and W_v to the output
("absorbed"), so attention is multi-query attention over latents: scores q_hᵀ W_k,h c, values c.

B batch, T time, S key time, D width, H heads, K head width, R rotary width, V value width, L latent width.
"""

import math

import torch
from torch import Tensor, nn

from groundup.kernels.attention import attend
from groundup.models import mixer_config
from groundup.models.cache import LayerCache, SlotCache, key_value_cache
from groundup.models.config import DecoderConfig
from groundup.models.layers import affine, rms_norm
from groundup.models.positions import documents_of, rotary_angles, rotate, visible_in_cache


class LatentAttention(nn.Module):
    """Self-attention of one layer through a latent."""

    def __init__(self, config: mixer_config.LatentAttention, decoder: DecoderConfig) -> None:
        super().__init__()
        self.config, self.epsilon = config, decoder.norm.epsilon
        D, H, L, Q = decoder.width, config.num_heads, config.latent_width, config.query_latent_width
        K, R, V = config.head_width, config.rotary_width, config.value_width
        if Q:
            self.query_latent = nn.Parameter(torch.empty(Q, D))
            self.query_latent_gain = nn.Parameter(torch.ones(Q))
        self.query = nn.Parameter(torch.empty(H * (K + R), Q or D))
        self.latent = nn.Parameter(torch.empty(L, D))
        self.latent_gain = nn.Parameter(torch.ones(L))
        self.rotary_key = nn.Parameter(torch.empty(R, D))
        self.key = nn.Parameter(torch.empty(H * K, L))
        self.value = nn.Parameter(torch.empty(H * V, L))
        self.output = nn.Parameter(torch.empty(D, H * V))

    def new_cache(self, batch: int, capacity: int) -> LayerCache:
        """An empty memory: a latent and a rotary key for each position."""
        widths = (self.config.rotary_width, self.config.latent_width)
        return key_value_cache(batch, 1, capacity, None, widths, self.latent)

    def forward(self, x_BTD: Tensor, positions: Tensor, cache: LayerCache | None) -> Tensor:
        config = self.config
        H, K, R = config.num_heads, config.head_width, config.rotary_width
        angles = rotary_angles(config.rotary, R, positions)
        a_BTQ = x_BTD
        if config.query_latent_width:
            a_BTQ = rms_norm(affine(x_BTD, self.query_latent), self.query_latent_gain, self.epsilon)
        q_BHTQ = affine(a_BTQ, self.query).unflatten(-1, (H, K + R)).transpose(1, 2)
        q_BHTK, q_BHTR = q_BHTQ[..., :K], rotate(q_BHTQ[..., K:], *angles)
        c_B1TL = rms_norm(affine(x_BTD, self.latent), self.latent_gain, self.epsilon)[:, None]
        r_B1TR = rotate(affine(x_BTD, self.rotary_key)[:, None], *angles)
        scale = 1 / math.sqrt(K + R) if config.scale is None else config.scale
        if cache is None:
            y_BHTV = self._attend_to_keys(q_BHTK, q_BHTR, c_B1TL, r_B1TR, positions, scale)
        else:
            assert isinstance(cache, SlotCache)
            r_B1SR, c_B1SL, key_positions = cache.update(positions.expand(x_BTD.shape[:2]), r_B1TR, c_B1TL)
            mask_BTS = visible_in_cache(positions.expand(x_BTD.shape[0], -1), key_positions, None)
            y_BHTV = self._attend_to_latents(q_BHTK, q_BHTR, c_B1SL, r_B1SR, mask_BTS, scale)
        return affine(y_BHTV.transpose(1, 2).flatten(2), self.output)

    def _attend_to_keys(
        self, q_BHTK: Tensor, q_BHTR: Tensor, c_B1TL: Tensor, r_B1TR: Tensor, positions: Tensor, scale: float
    ) -> Tensor:
        """Keys and values of every head are built from the latents: what training does."""
        H = self.config.num_heads
        k_BHTK = affine(c_B1TL[:, 0], self.key).unflatten(-1, (H, -1)).transpose(1, 2)
        v_BHTV = affine(c_B1TL[:, 0], self.value).unflatten(-1, (H, -1)).transpose(1, 2)
        q_BHTE = torch.cat((q_BHTK, q_BHTR), dim=-1)
        k_BHTE = torch.cat((k_BHTK, r_B1TR.expand(-1, H, -1, -1)), dim=-1)
        return attend(q_BHTE, k_BHTE, v_BHTV, documents_BT=documents_of(positions), scale=scale)

    def _attend_to_latents(
        self, q_BHTK: Tensor, q_BHTR: Tensor, c_B1SL: Tensor, r_B1SR: Tensor, mask_BTS: Tensor, scale: float
    ) -> Tensor:
        """One key [latent; rotary] for all heads, whose queries and outputs have absorbed W_k and W_v."""
        H = self.config.num_heads
        q_BHTL = q_BHTK @ self.key.unflatten(0, (H, -1))
        q_BHTE, k_B1SE = torch.cat((q_BHTL, q_BHTR), dim=-1), torch.cat((c_B1SL, r_B1SR), dim=-1)
        y_BHTL = attend(q_BHTE, k_B1SE, c_B1SL, mask_BTS, scale=scale)
        return y_BHTL @ self.value.unflatten(0, (H, -1)).mT
