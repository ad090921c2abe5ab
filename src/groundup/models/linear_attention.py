"""Linear attention (Katharopoulos et al. 2020, arXiv:2006.16236, eq. 7 and 9-11), and the scan that computes it.

    y_t = φ(q_t)ᵀ S_t / φ(q_t)ᵀ z_t      S_t = S_{t-1} + φ(k_t) v_tᵀ      z_t = z_{t-1} + φ(k_t)      φ = ELU + 1

z is one more column of S, for values that are always 1. Rotary positions turn q and k before φ, so no normaliser
vanishes; the paper of RoPE (arXiv:2104.09864, section 3.3) turns φ(q) and φ(k) instead, and in the numerator only.

The scan is that of every mixer whose state decays by one number a head and token, S_t = a_t S_{t-1} + k_t v_tᵀ: matrix
products within chunks of C tokens, and a state between chunks (Mamba-2's algorithm, arXiv:2405.21060, section 6). That
is work of T (C + K) instead of T², and T / C steps one after the other instead of T.

B batch, T time, D width, H heads in G groups of R, K key width, V value width, N chunks of C tokens, J = 1 + C.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from groundup.kernels.exact import exact
from groundup.models import mixer_config
from groundup.models.cache import LayerCache, StateCache
from groundup.models.config import DecoderConfig
from groundup.models.layers import affine
from groundup.models.position_config import Rotary
from groundup.models.positions import document_starts, rotary_angles, rotate

CHUNK = 64  # as large as a head is wide, so that work within chunks and between them is about equal
EPSILON = 1e-6  # of the normaliser, which is 0 for padding in front of which nothing came


class LinearAttention(nn.Module):
    """Attention of one layer through a state (K, V + 1) a head."""

    def __init__(self, config: mixer_config.LinearAttention, decoder: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        D, H, K = decoder.width, config.num_heads, config.width_of_head(decoder.width)
        self.head_width = K
        self.query = nn.Parameter(torch.empty(H * K, D))
        self.key = nn.Parameter(torch.empty(H * K, D))
        self.value = nn.Parameter(torch.empty(H * K, D))
        self.output = nn.Parameter(torch.empty(D, H * K))

    def new_cache(self, batch: int, capacity: int) -> LayerCache:
        """An empty state; the same for every capacity."""
        shape = (batch, self.config.num_heads, 1, self.head_width, self.head_width + 1)
        return StateCache(torch.zeros(shape, device=self.query.device))

    def forward(self, x_BTD: Tensor, positions: Tensor, cache: LayerCache | None) -> Tensor:
        q_BHTK, k_BHTK = (self._features(weight, x_BTD, positions) for weight in (self.query, self.key))
        v_BHTK = affine(x_BTD, self.value).unflatten(-1, (-1, self.head_width)).transpose(1, 2).float()
        v_BH1TV = torch.cat((v_BHTK, torch.ones_like(v_BHTK[..., :1])), dim=-1)[:, :, None]
        no_decay_111T = torch.zeros(1, 1, 1, x_BTD.shape[1], device=x_BTD.device)
        if cache is None:
            y_BH1TV, _ = scan(q_BHTK, k_BHTK, v_BH1TV, no_decay_111T, starts_BT=document_starts(positions))
        else:
            assert isinstance(cache, StateCache)
            padding_BT = positions.expand(x_BTD.shape[:2]) < 0
            k_BHTK = k_BHTK.masked_fill(padding_BT[:, None, :, None], 0)
            y_BH1TV, cache.state = scan(q_BHTK, k_BHTK, v_BH1TV, no_decay_111T, cache.state)
        y_BHTK = y_BH1TV[:, :, 0, :, :-1] / (y_BH1TV[:, :, 0, :, -1:] + EPSILON)
        return affine(y_BHTK.transpose(1, 2).flatten(2).to(x_BTD.dtype), self.output)

    def _features(self, weight: Tensor, x_BTD: Tensor, positions: Tensor) -> Tensor:
        """φ of queries or keys in heads (B, H, T, K), fp32."""
        x_BHTK = affine(x_BTD, weight).unflatten(-1, (-1, self.head_width)).transpose(1, 2).float()
        if isinstance(self.config.position, Rotary):
            x_BHTK = rotate(x_BHTK, *rotary_angles(self.config.position, self.head_width, positions))
        return torch.where(x_BHTK > 0, x_BHTK + 1, x_BHTK.clamp(max=0).exp())


@exact
def scan(
    q_BGTK: Tensor,
    k_BGTK: Tensor,
    v_BGRTV: Tensor,
    log_decay_BGRT: Tensor,
    state_BGRKV: Tensor | None = None,
    starts_BT: Tensor | None = None,
    chunk: int = CHUNK,
) -> tuple[Tensor, Tensor]:
    """y_t = S_tᵀ q_t with S_t = a_t S_{t-1} + k_t v_tᵀ and a_t = exp(log decay), from a state or 0; and the last state.

    `starts_BT` marks tokens at which a document begins, with S = 0 before it. A token of k or v = 0 and log decay 0
    changes nothing. The leading axes of the log decay may be 1.
    """
    if state_BGRKV is not None and starts_BT is None and q_BGTK.shape[2] == 1:
        last = (q_BGTK[:, :, 0], k_BGTK[:, :, 0], v_BGRTV[..., 0, :], log_decay_BGRT[..., 0])
        y_BGRV, state_BGRKV = scan_step(*last, state_BGRKV)
        return y_BGRV[..., None, :], state_BGRKV
    return chunked_scan(q_BGTK, k_BGTK, v_BGRTV, log_decay_BGRT, state_BGRKV, starts_BT, chunk)


def scan_step(
    q_BGK: Tensor, k_BGK: Tensor, v_BGRV: Tensor, log_decay_BGR: Tensor, state_BGRKV: Tensor
) -> tuple[Tensor, Tensor]:
    """`scan` of one token, as written."""
    kept_BGRKV = state_BGRKV * log_decay_BGR.exp()[..., None, None]
    state_BGRKV = kept_BGRKV + k_BGK[:, :, None, :, None] * v_BGRV[..., None, :]
    return (q_BGK[:, :, None, None] @ state_BGRKV)[..., 0, :], state_BGRKV


def chunked_scan(
    q_BGTK: Tensor,
    k_BGTK: Tensor,
    v_BGRTV: Tensor,
    log_decay_BGRT: Tensor,
    state_BGRKV: Tensor | None,
    starts_BT: Tensor | None,
    chunk: int,
) -> tuple[Tensor, Tensor]:
    """`scan` by chunks. Token i of a chunk finds what the chunk's tokens up to i wrote, and what came before the chunk:

    y_i = Σ_j decay_ij (q_i · k_j) v_j + decay_i0 Sᵀ q_i        S ← decay_C0 S + Σ_j decay_Cj k_j v_jᵀ
    """
    T = q_BGTK.shape[2]
    C = fitting_chunk(chunk, T)
    q_BGNCK, k_BGNCK, v_BGRNCV = (in_chunks(x, -2, C) for x in (q_BGTK, k_BGTK, v_BGRTV))
    decay_BGRNCJ = chunk_decays(log_decay_BGRT, None if starts_BT is None else starts_BT[:, None, None], C)
    scores_BGRNCC = (q_BGNCK @ k_BGNCK.mT)[:, :, None] * decay_BGRNCJ[..., 1:]
    written_BGRNKV = k_BGNCK.mT[:, :, None] @ (v_BGRNCV * decay_BGRNCJ[..., -1, 1:, None])
    state = torch.zeros_like(written_BGRNKV[:, :, :, 0]) if state_BGRKV is None else state_BGRKV
    states = []
    for n in range(written_BGRNKV.shape[3]):
        states.append(state)
        state = decay_BGRNCJ[:, :, :, n, -1, :1, None] * state + written_BGRNKV[:, :, :, n]
    carried_BGRNCV = q_BGNCK[:, :, None] @ torch.stack(states, dim=3)
    y_BGRNCV = scores_BGRNCC @ v_BGRNCV + decay_BGRNCJ[..., :1] * carried_BGRNCV
    return y_BGRNCV.flatten(3, 4)[..., :T, :], state


def fitting_chunk(chunk: int, T: int) -> int:
    """The chunk, or the power of two that holds T tokens if that is less."""
    return min(chunk, 1 << (T - 1).bit_length())


def in_chunks(x: Tensor, time: int, C: int) -> Tensor:
    """The axis `time` (negative) as N chunks of C tokens, the last one filled up with zeros."""
    missing = -x.shape[time] % C
    return pad(x, (0, 0) * (-time - 1) + (0, missing)).unflatten(time, (-1, C))


def chunk_decays(log_decay_HT: Tensor, starts_HT: Tensor | None, C: int) -> Tensor:
    """What is left at token i of a chunk of what token j of it wrote, (..., N, C, 1 + C), at [i, 1 + j].

    exp(Σ log decay after j up to i), 0 where j > i or a document began after j. Column 0 is what is left of the state
    from before the chunk; the last row is what goes to the next one.
    """
    log_HNC = in_chunks(log_decay_HT, -1, C)
    # Each sum by itself: as a difference of two sums from the chunk's start, a small one after a large one is lost.
    between_HNCJ = log_HNC[..., None].expand(*log_HNC.shape, 1 + C).tril().cumsum(dim=-2)
    seen = torch.ones_like(between_HNCJ, dtype=torch.bool).tril(diagonal=1)
    if starts_HT is not None:
        document_HNJ = pad(in_chunks(starts_HT, -1, C).cumsum(dim=-1), (1, 0))
        seen = seen & (document_HNJ[..., 1:, None] == document_HNJ[..., None, :])
    return between_HNCJ.exp() * seen
