"""Parameters and FLOPs of a decoder config, by arithmetic; no torch.

Each mixer's share is a `Cost`: matrix parameters, which cost 6 FLOPs per token in training (2 forward, 4 backward:
Kaplan et al. 2020, arXiv:2001.08361, section 2.1), other parameters, and what it computes without parameters, such as
attention scores and sums (Chowdhery et al. 2022, arXiv:2204.02311, appendix B; nothing saved by the causal mask).

D width, H heads, G key/value heads, K head width, F hidden width, T context.
"""

from dataclasses import dataclass

from groundup.models import mixer_config
from groundup.models.config import DecoderConfig, Layer, Norm

TRAINING = 3  # forward, and twice as much backward
CHUNK = 64  # tokens that linear attention and the delta rule take together


@dataclass(frozen=True)
class Cost:
    """`matrices` are parameters in matrix products that each token passes; `idle` those of matrices that it does not
    pass (other experts); `vectors` gains, biases and the like; `flops` of one token forward beside the matrices."""

    matrices: int = 0
    idle: int = 0
    vectors: int = 0
    flops: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.matrices + other.matrices,
            self.idle + other.idle,
            self.vectors + other.vectors,
            self.flops + other.flops,
        )

    @property
    def parameters(self) -> int:
        return self.matrices + self.idle + self.vectors


def sequence_cost(mixer: mixer_config.SequenceMixer, config: DecoderConfig, place: int) -> Cost:
    """Of the sequence mixer of layer `place`."""
    match mixer:
        case mixer_config.Attention():
            return _attention(mixer, config, own_keys=True)
        case mixer_config.SharedAttention():
            return _attention(config.source_of_keys(place), config, own_keys=False)
        case mixer_config.LatentAttention():
            return _latent_attention(mixer, config)
        case mixer_config.LinearAttention():
            H, K = mixer.num_heads, mixer.width_of_head(config.width)
            return Cost(4 * config.width * H * K, flops=H * (2 * CHUNK * (2 * K + 1) + 4 * K * (K + 1)))
        case mixer_config.DeltaRule():
            return _delta_rule(mixer, config.width)
        case mixer_config.StateSpace():
            return _state_space(mixer, config.width)


def channel_cost(mixer: mixer_config.ChannelMixer, config: DecoderConfig) -> Cost:
    """Of a channel mixer."""
    D = config.width
    match mixer:
        case mixer_config.DenseMLP():
            F = mixer.hidden(D)
            return Cost(2 * D * F, vectors=F + D if mixer.bias else 0)
        case mixer_config.GatedMLP():
            F = mixer.hidden(D)
            return Cost(3 * D * F, vectors=2 * F + D if mixer.bias else 0)
        case mixer_config.MixtureOfExperts():
            E, chosen, F = mixer.num_experts, mixer.experts_per_token, mixer.hidden(D)
            return Cost(D * E + 3 * D * (chosen * F + mixer.shared_width), idle=3 * D * (E - chosen) * F)
        case mixer_config.NoChannel():
            return Cost()


def _attention(mixer: mixer_config.Attention, config: DecoderConfig, own_keys: bool) -> Cost:
    D, H, G, K = config.width, mixer.num_heads, mixer.num_kv_heads, mixer.width_of_head(config.width)
    inputs = H * K + (2 * G * K if own_keys else 0)
    vectors = inputs + D if mixer.bias else 0
    if mixer.qk_norm != "none":
        of_queries, of_keys = (H * K, G * K) if mixer.qk_norm == "width" else (K, K)
        vectors += of_queries + (of_keys if own_keys else 0)
    vectors += H if mixer.sinks else 0
    return Cost(D * (inputs + H * K), vectors=vectors, flops=4 * H * K * config.context_length)


def _latent_attention(mixer: mixer_config.LatentAttention, config: DecoderConfig) -> Cost:
    D, H, L, Q = config.width, mixer.num_heads, mixer.latent_width, mixer.query_latent_width
    K, R, V = mixer.head_width, mixer.rotary_width, mixer.value_width
    queries = D * Q + Q * H * (K + R) if Q else D * H * (K + R)
    keys = D * (L + R) + L * H * (K + V)
    flops = 2 * H * (K + R + V) * config.context_length
    return Cost(queries + keys + H * V * D, vectors=L + Q, flops=flops)


def _delta_rule(mixer: mixer_config.DeltaRule, width: int) -> Cost:
    H, (K, V) = mixer.num_heads, mixer.widths(width)
    matrices = width * H * (2 * K + 3 * V + (2 if mixer.gated else 1))
    vectors = H * (2 * K + V) * mixer.convolution + V + (2 * H if mixer.gated else 0)
    inverse = 2 * (CHUNK**2 - 1) // 3
    return Cost(matrices, vectors=vectors, flops=H * (CHUNK * (6 * K + 4 * V) + 6 * K * V + inverse))


def _state_space(mixer: mixer_config.StateSpace, width: int) -> Cost:
    H, V, K, G, C = mixer.num_heads(width), mixer.head_width, mixer.state_width, mixer.groups, mixer.chunk
    convolved = H * V + 2 * G * K
    vectors = convolved * (mixer.convolution + 1) + 3 * H + H * V
    flops = 2 * C * K * G + H * (2 * C * V + 4 * K * V)
    return Cost(width * (3 * H * V + 2 * G * K + H), vectors=vectors, flops=flops)


def num_mixers(layer: Layer) -> int:
    """How many mixers a layer has."""
    return 1 if isinstance(layer.channel, mixer_config.NoChannel) else 2


def num_norms(config: DecoderConfig, layer: Layer) -> int:
    """How many norms a layer has: in front of its mixers, behind them, or both."""
    mixers = num_mixers(layer)
    before = 0 if config.placement in ("post", "reordered") else 1 if config.parallel else mixers
    after = 0 if config.placement == "pre" else mixers
    return before + after


def norm_parameters(norm: Norm, width: int) -> int:
    """Gain and bias."""
    return 0 if norm.kind == "none" else width * (2 if norm.bias else 1)


def layers_cost(config: DecoderConfig) -> Cost:
    """Of all layers with their norms."""
    total = Cost()
    for place in range(config.depth):
        total += layer_cost(config, place)
    return total


def layer_cost(config: DecoderConfig, place: int) -> Cost:
    """Of one layer with its norms."""
    layer = config.all_layers[place]
    norms = Cost(vectors=num_norms(config, layer) * norm_parameters(config.norm, config.width))
    return sequence_cost(layer.sequence, config, place) + channel_cost(layer.channel, config) + norms


def heads_cost(config: DecoderConfig) -> Cost:
    """Of the heads that predict further tokens, which only training passes; their unembedding is the decoder's."""
    head = layer_cost(config, config.depth - 1)
    norms = Cost(2 * config.width**2, vectors=3 * norm_parameters(config.norm, config.width))
    total = Cost()
    for _ in range(config.prediction_heads):
        total += head + norms
    return total


def embedding_parameters(config: DecoderConfig) -> int:
    """Tables that are looked up, not multiplied: of tokens, unless tied, of n-grams and of positions."""
    tokens = 0 if config.tie_embeddings else config.vocab_size
    positions = config.context_length if config.position_embedding == "learned" else 0
    return (tokens + len(config.ngram_lengths) * config.ngram_buckets + positions) * config.width


def matrix_parameters(config: DecoderConfig) -> int:
    """Parameters of matrix products that each token passes: layers and unembedding."""
    return layers_cost(config).matrices + config.vocab_size * config.width


def parameters(config: DecoderConfig) -> int:
    """All trainable parameters."""
    final = norm_parameters(config.norm, config.width) if config.placement != "post" else 0
    layers = layers_cost(config).parameters + heads_cost(config).parameters
    return layers + config.vocab_size * config.width + embedding_parameters(config) + final
