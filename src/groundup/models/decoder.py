"""The decoder: token ids to hidden states, as in Llama (Touvron et al. 2023, arXiv:2302.13971).

    hidden = embed(tokens)
    for each block:  hidden += attention(norm(hidden));  hidden += mlp(norm(hidden))
    logits = unembed(norm(hidden))

Weights are plain parameters with names in full words; all mathematics is in `layers.py` and `kernels/`.
Shapes: B batch, T time, D width, H heads, G key/value heads, K head width, F hidden width, V vocabulary.
"""

import math

import torch
from torch import Tensor, nn

from groundup.kernels.attention import attend
from groundup.kernels.cross_entropy import linear_cross_entropy
from groundup.models.cache import KVCache, LayerCache
from groundup.models.config import DecoderConfig
from groundup.models.layers import affine, rms_norm, rope_angles, rotate, swiglu

TIED_STD = 0.02


class Attention(nn.Module):
    """Grouped-query self-attention with rotary positions, and normalised queries and keys if the config says so."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        D, H, G, K = config.width, config.num_heads, config.num_kv_heads, config.head_width
        self.config = config
        self.query = nn.Parameter(torch.empty(H * K, D))
        self.key = nn.Parameter(torch.empty(G * K, D))
        self.value = nn.Parameter(torch.empty(G * K, D))
        self.output = nn.Parameter(torch.empty(D, H * K))
        if config.qk_norm:
            self.query_gain = nn.Parameter(torch.ones(K))
            self.key_gain = nn.Parameter(torch.ones(K))

    def forward(
        self, x_BTD: Tensor, angles: tuple[Tensor, Tensor], positions_BT: Tensor, cache: LayerCache | None
    ) -> Tensor:
        B, T, _ = x_BTD.shape
        K, epsilon = self.config.head_width, self.config.norm_epsilon
        q_BTHK, k_BTGK, v_BTGK = (affine(x_BTD, w).view(B, T, -1, K) for w in (self.query, self.key, self.value))
        if self.config.qk_norm:
            q_BTHK, k_BTGK = rms_norm(q_BTHK, self.query_gain, epsilon), rms_norm(k_BTGK, self.key_gain, epsilon)
        q_BHTK, k_BGTK = rotate(q_BTHK.transpose(1, 2), *angles), rotate(k_BTGK.transpose(1, 2), *angles)
        v_BGTK = v_BTGK.transpose(1, 2)
        if cache is None:
            y_BHTK = attend(q_BHTK, k_BGTK, v_BGTK)
        else:
            k_BGSK, v_BGSK = cache.update(positions_BT, k_BGTK, v_BGTK)
            y_BHTK = attend(q_BHTK, k_BGSK, v_BGSK, cache.visible(positions_BT))
        return affine(y_BHTK.transpose(1, 2).reshape(B, T, -1), self.output)


class GatedMLP(nn.Module):
    """SwiGLU."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.empty(config.mlp_width, config.width))
        self.up = nn.Parameter(torch.empty(config.mlp_width, config.width))
        self.down = nn.Parameter(torch.empty(config.width, config.mlp_width))

    def forward(self, x_BTD: Tensor) -> Tensor:
        return swiglu(x_BTD, self.gate, self.up, self.down)


class Block(nn.Module):
    """One layer: attention, then the MLP, each behind a norm and added to the residual stream."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.epsilon = config.norm_epsilon
        self.attention_gain = nn.Parameter(torch.ones(config.width))
        self.attention = Attention(config)
        self.mlp_gain = nn.Parameter(torch.ones(config.width))
        self.mlp = GatedMLP(config)

    def forward(
        self, x_BTD: Tensor, angles: tuple[Tensor, Tensor], positions_BT: Tensor, cache: LayerCache | None
    ) -> Tensor:
        normed_BTD = rms_norm(x_BTD, self.attention_gain, self.epsilon)
        x_BTD = x_BTD + self.attention(normed_BTD, angles, positions_BT, cache)
        return x_BTD + self.mlp(rms_norm(x_BTD, self.mlp_gain, self.epsilon))


class Decoder(nn.Module):
    """Hidden states of tokens; `unembed` turns them into logits, `token_losses` into negative log-likelihoods."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.cross_entropy = linear_cross_entropy  # training may put its compiled form here
        self.embedding = nn.Parameter(torch.empty(config.vocab_size, config.width))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.final_gain = nn.Parameter(torch.ones(config.width))
        if not config.tie_embeddings:
            self.unembedding = nn.Parameter(torch.empty(config.vocab_size, config.width))

    def forward(self, tokens_BT: Tensor, positions_BT: Tensor | None = None, cache: KVCache | None = None) -> Tensor:
        """Final normed hidden states (B, T, D). Positions count from 0 unless given, as they must be with a cache."""
        if positions_BT is None:
            assert cache is None, "with a cache, only the caller knows the positions"
            positions_BT = torch.arange(tokens_BT.shape[1], device=tokens_BT.device)[None]
        angles = rope_angles(positions_BT, self.config.head_width, self.config.rope_base)
        x_BTD = self.embedding[tokens_BT]
        for layer, block in enumerate(self.blocks):
            x_BTD = block(x_BTD, angles, positions_BT, cache.layers[layer] if cache is not None else None)
        return rms_norm(x_BTD, self.final_gain, self.config.norm_epsilon)

    @property
    def output_weight(self) -> Tensor:
        return self.embedding if self.config.tie_embeddings else self.unembedding

    def unembed(self, hidden_BTD: Tensor) -> Tensor:
        """Logits over the vocabulary (B, T, V), fp32."""
        return affine(hidden_BTD, self.output_weight).float()

    def token_losses(self, tokens_BT: Tensor, targets_BT: Tensor) -> Tensor:
        """-log p(target | tokens so far) in nats (B, T), fp32."""
        return self.cross_entropy(self(tokens_BT), self.output_weight, targets_BT)

    def losses_where(self, tokens_BT: Tensor, targets_BT: Tensor, counted_BT: Tensor) -> Tensor:
        """`token_losses` where `counted_BT` is true and 0 elsewhere, without computing logits that do not count.

        Where answers are short and prompts long, the unembedding is most of the work. Never compiled: the number of
        counted tokens changes from batch to batch.
        """
        hidden_ND, targets_N = self(tokens_BT)[counted_BT], targets_BT[counted_BT]
        losses_N = linear_cross_entropy(hidden_ND, self.output_weight, targets_N)
        return torch.zeros(targets_BT.shape, device=losses_N.device).masked_scatter(counted_BT, losses_N)


@torch.no_grad()
def initialize(decoder: Decoder, seed: int) -> None:
    """Fill the weights: matrices N(0, 2/(in+out)) cut at 3σ, the embedding N(0, 1) cut at 3, gains 1.

    A tied embedding is the output matrix too: with entries of size 1 the first loss would be in the hundreds, so it
    starts at N(0, 0.02²), as in GPT-2.

    Matrices that write to the residual stream are scaled by 1/√(2·depth), so that its variance does not grow with depth
    (Radford et al. 2019); the unembedding starts at 1/√D of that of a matrix, so that the first loss is near ln V.
    """
    generator = torch.Generator().manual_seed(seed)
    residual_scale = 1 / math.sqrt(2 * decoder.config.depth)
    for name, parameter in decoder.named_parameters():
        if parameter.ndim < 2:
            parameter.fill_(1.0)
            continue
        std = math.sqrt(2 / sum(parameter.shape))
        if name == "embedding":
            std = TIED_STD if decoder.config.tie_embeddings else 1.0
        elif name == "unembedding":
            std /= math.sqrt(decoder.config.width)
        elif name.endswith(("attention.output", "mlp.down")):
            std *= residual_scale
        values = torch.empty(parameter.shape, dtype=torch.float32)
        torch.nn.init.trunc_normal_(values, std=std, a=-3 * std, b=3 * std, generator=generator)
        parameter.copy_(values)
