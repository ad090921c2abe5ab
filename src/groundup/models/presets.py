"""Decoders by name, as data: no torch. `preset("llama3-8b")`; names and numbers are those of the published models."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from groundup.core.config import nearest
from groundup.core.errors import ConfigError, MissingError
from groundup.models.config import DecoderConfig, Layer, Norm
from groundup.models.mixer_config import Attention, DenseMLP, GatedMLP, LatentAttention, MixtureOfExperts
from groundup.models.position_config import Llama3Scaling, NoPosition, Rotary, RotaryScaling, YarnScaling

HEAD_WIDTH = 128  # of the decoders of one dial
WIDTH_PER_LAYER = 64
TOKENS_PER_PARAMETER = 20
REFERENCE_WIDTH = 768  # at which the recipes' learning rates are as they stand


def llama(
    vocab_size: int = 4096,
    context_length: int = 256,
    width: int = 256,
    depth: int = 6,
    num_heads: int = 4,
    num_kv_heads: int = 4,
    mlp_width: int = 0,
    head_width: int = 0,
    rope_base: float = 10_000.0,
    scaling: RotaryScaling | None = None,
    window: int | None = None,
    qk_norm: bool = False,
    norm_epsilon: float = 1e-5,
    tie_embeddings: bool = False,
) -> DecoderConfig:
    """The decoder of Llama (Touvron et al. 2023, arXiv:2302.13971): pre-norm with RMSNorm, rotary positions,
    grouped-query attention, SwiGLU; with `qk_norm` that of Qwen3 (arXiv:2505.09388)."""
    attention = Attention(
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_width=head_width,
        position=Rotary(base=rope_base, scaling=scaling),
        window=window,
        qk_norm="head" if qk_norm else "none",
    )
    return DecoderConfig(
        vocab_size=vocab_size,
        context_length=context_length,
        width=width,
        depth=depth,
        layers=(Layer(attention, GatedMLP(hidden_width=mlp_width)),),
        norm=Norm(epsilon=norm_epsilon),
        tie_embeddings=tie_embeddings,
    )


def gpt2(width: int, depth: int, num_heads: int) -> DecoderConfig:
    """Radford et al. 2019."""
    attention = Attention(num_heads, num_heads, position=NoPosition(), qk_norm="none", bias=True)
    return DecoderConfig(
        vocab_size=50_257,
        context_length=1024,
        width=width,
        depth=depth,
        layers=(Layer(attention, DenseMLP(activation="gelu_tanh", bias=True)),),
        norm=Norm("layer", bias=True),
        position_embedding="learned",
        tie_embeddings=True,
    )


def llama3(width: int, depth: int, num_heads: int, mlp_width: int) -> DecoderConfig:
    """Llama 3.1 (arXiv:2407.21783), with its context of 131,072."""
    return llama(128_256, 131_072, width, depth, num_heads, 8, mlp_width, rope_base=500_000.0, scaling=Llama3Scaling())


def qwen3(
    width: int, depth: int, num_heads: int, num_kv_heads: int, mlp_width: int, experts: int = 0, tied: bool = False
) -> DecoderConfig:
    """Yang et al. 2025, arXiv:2505.09388; with experts of `mlp_width` each, of which a token passes 8."""
    dense = llama(
        151_936,
        40_960,
        width,
        depth,
        num_heads,
        num_kv_heads,
        mlp_width,
        head_width=128,
        rope_base=1_000_000.0,
        qk_norm=True,
        norm_epsilon=1e-6,
        tie_embeddings=tied,
    )
    if not experts:
        return dense
    mixture = MixtureOfExperts(experts, 8, hidden_width=mlp_width, balance_loss=0.001)
    return with_channel(dense, mixture)


def gemma3(width: int, depth: int, num_heads: int, num_kv_heads: int, mlp_width: int, window: int) -> DecoderConfig:
    """Gemma 3 (arXiv:2503.19786): five layers with a window, then one without."""
    local = Attention(num_heads, num_kv_heads, 256, Rotary(10_000.0), window, qk_norm="head", scale=1 / 16)
    whole = Attention(num_heads, num_kv_heads, 256, Rotary(1_000_000.0), qk_norm="head", scale=1 / 16)
    mlp = GatedMLP(mlp_width, activation="gelu_tanh")
    return DecoderConfig(
        vocab_size=262_144,
        context_length=32_768,
        width=width,
        depth=depth,
        layers=(*(Layer(local, mlp),) * 5, Layer(whole, mlp)),
        norm=Norm(epsilon=1e-6),
        placement="double",
        tie_embeddings=True,
        embedding_scale=math.sqrt(width),
    )


def olmo2(width: int, depth: int, num_heads: int, num_kv_heads: int, mlp_width: int) -> DecoderConfig:
    """OLMo 2 (arXiv:2501.00656): norms behind the mixers, queries and keys normalised over all heads together."""
    attention = Attention(num_heads, num_kv_heads, position=Rotary(500_000.0), qk_norm="width")
    return DecoderConfig(
        vocab_size=100_352,
        context_length=4096,
        width=width,
        depth=depth,
        layers=(Layer(attention, GatedMLP(mlp_width)),),
        norm=Norm(epsilon=1e-6),
        placement="reordered",
    )


def mixtral() -> DecoderConfig:
    """Mixtral 8x7B (Jiang et al. 2024, arXiv:2401.04088)."""
    dense = llama(32_000, 32_768, 4096, 32, 32, 8, 14_336, rope_base=1_000_000.0)
    return with_channel(dense, MixtureOfExperts(8, 2, hidden_width=14_336, balance_loss=0.02))


def deepseek_v3() -> DecoderConfig:
    """DeepSeek-V3 (arXiv:2412.19437), without the module that predicts a second token."""
    width, head, rotary = 7168, 128, 64
    grown = 0.1 * math.log(40) + 1  # scores are multiplied by its square, where others multiply queries and keys
    attention = LatentAttention(
        num_heads=128,
        head_width=head,
        value_width=128,
        rotary_width=rotary,
        latent_width=512,
        query_latent_width=1536,
        rotary=Rotary(10_000.0, scaling=YarnScaling(40.0, 4096, attention_factor=1.0)),
        scale=grown**2 / math.sqrt(head + rotary),
    )
    experts = MixtureOfExperts(
        num_experts=256,
        experts_per_token=8,
        hidden_width=2048,
        shared_width=2048,
        gate="sigmoid",
        scale=2.5,
        balance_bias_rate=0.001,
        groups=8,
        groups_per_token=4,
    )
    return DecoderConfig(
        vocab_size=129_280,
        context_length=163_840,
        width=width,
        depth=61,
        first_layers=(Layer(attention, GatedMLP(18_432)),) * 3,
        layers=(Layer(attention, experts),),
        norm=Norm(epsilon=1e-6),
    )


def with_channel(config: DecoderConfig, channel: MixtureOfExperts) -> DecoderConfig:
    """The same decoder with other channel mixers."""
    return replace(config, layers=tuple(Layer(layer.sequence, channel) for layer in config.layers))


def cs336(width: int, mlp_width: int, depth: int, num_heads: int, vocab_size: int = 10_000) -> DecoderConfig:
    """Sizes of Stanford's CS336, assignments 1 and 2."""
    return llama(vocab_size, 256, width, depth, num_heads, num_heads, mlp_width)


class Dialled(NamedTuple):
    """What one dial, the depth, decides: the decoder, tokens to train on, and the factor on learning rates."""

    config: DecoderConfig
    tokens: int
    learning_rate_factor: float


def of_depth(depth: int, vocab_size: int = 32_768, context_length: int = 2048) -> Dialled:
    """A decoder 64 times as wide as deep, heads of width 128, 20 tokens a parameter of a matrix (compute-optimal
    by Hoffmann et al. 2022, arXiv:2203.15556), and learning rates that fall with √width."""
    if depth < 2 or depth % 2:
        raise ConfigError(f"depth is {depth}; it must be even and at least 2, so that heads of width {HEAD_WIDTH} fit.")
    width = WIDTH_PER_LAYER * depth
    heads = width // HEAD_WIDTH
    config = llama(vocab_size, context_length, width, depth, heads, heads, head_width=HEAD_WIDTH, qk_norm=True)
    mlp = GatedMLP().hidden(width)
    matrices = depth * (4 * width * width + 3 * width * mlp) + vocab_size * width
    return Dialled(config, TOKENS_PER_PARAMETER * matrices, math.sqrt(REFERENCE_WIDTH / width))


PRESETS: dict[str, Callable[[], DecoderConfig]] = {
    "gpt2-small": partial(gpt2, 768, 12, 12),
    "gpt2-medium": partial(gpt2, 1024, 24, 16),
    "gpt2-large": partial(gpt2, 1280, 36, 20),
    "gpt2-xl": partial(gpt2, 1600, 48, 25),
    "llama3-8b": partial(llama3, 4096, 32, 32, 14_336),
    "llama3-70b": partial(llama3, 8192, 80, 64, 28_672),
    "llama3-405b": partial(llama3, 16_384, 126, 128, 53_248),
    "qwen3-0.6b": partial(qwen3, 1024, 28, 16, 8, 3072, tied=True),
    "qwen3-1.7b": partial(qwen3, 2048, 28, 16, 8, 6144, tied=True),
    "qwen3-4b": partial(qwen3, 2560, 36, 32, 8, 9728, tied=True),
    "qwen3-8b": partial(qwen3, 4096, 36, 32, 8, 12_288),
    "qwen3-14b": partial(qwen3, 5120, 40, 40, 8, 17_408),
    "qwen3-32b": partial(qwen3, 5120, 64, 64, 8, 25_600),
    "qwen3-30b-a3b": partial(qwen3, 2048, 48, 32, 4, 768, experts=128),
    "qwen3-235b-a22b": partial(qwen3, 4096, 94, 64, 4, 1536, experts=128),
    "gemma3-270m": partial(gemma3, 640, 18, 4, 1, 2048, 512),
    "mistral-7b": partial(llama, 32_000, 32_768, 4096, 32, 32, 8, 14_336, window=4096),
    "mixtral-8x7b": mixtral,
    "deepseek-v3": deepseek_v3,
    "olmo2-1b": partial(olmo2, 2048, 16, 16, 16, 8192),
    "olmo2-7b": partial(olmo2, 4096, 32, 32, 32, 11_008),
    "olmo2-13b": partial(olmo2, 5120, 40, 40, 40, 13_824),
    "olmo2-32b": partial(olmo2, 5120, 64, 40, 8, 27_648),
    "cs336-tinystories": partial(cs336, 512, 1344, 4, 16),
    "cs336-small": partial(cs336, 768, 3072, 12, 12),
    "cs336-medium": partial(cs336, 1024, 4096, 24, 16),
    "cs336-large": partial(cs336, 1280, 5120, 36, 20),
    "cs336-xl": partial(cs336, 2560, 10_240, 32, 32),
    "cs336-10b": partial(cs336, 4608, 12_288, 50, 36),
}


def preset(name: str) -> DecoderConfig:
    """A decoder by name; `depth=N` is that of one dial."""
    if name.startswith("depth="):
        try:
            return of_depth(int(name.removeprefix("depth="))).config
        except ValueError as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(f"{name!r} does not say a depth; write depth=12.") from None
    if name not in PRESETS:
        raise MissingError(f"There is no preset {name!r}; {nearest(name, PRESETS)}")
    return PRESETS[name]()
