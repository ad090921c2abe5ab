"""FLOPs of a decoder by component: forward and backward, of a token, a sequence, a step or a run. No torch.

    forward, a token      2 · matrices that it passes + what attention and states compute without parameters
    backward              twice as much: a gradient for the input and one for the weights of each product
    activations recomputed (checkpointing): the layers once more
    rule of thumb         6 N D for N parameters and D tokens (Kaplan et al. 2020, arXiv:2001.08361, section 2.1)

Only matrix products count; norms, activations and softmax are left out, as in the papers that report utilisation
(Chowdhery et al. 2022, arXiv:2204.02311, appendix B). The causal mask saves nothing; a window does, since no key
outside it is ever needed. Looking up an embedding is no product: it is listed, with 0.

D width, H heads, K key width, V value width, L latent width, R rotary width, T context.
"""

from dataclasses import astuple, dataclass, replace

from groundup.accounting.decoder import (
    TRAINING,
    channel_cost,
    heads_cost,
    layers_cost,
    parameters,
    sequence_cost,
)
from groundup.core.errors import ConfigError
from groundup.models import mixer_config
from groundup.models.config import DecoderConfig

BACKWARD = TRAINING - 1
STATE_MIXERS = (mixer_config.LinearAttention, mixer_config.DeltaRule, mixer_config.StateSpace)


@dataclass(frozen=True)
class Flops:
    """By component. `projections` are those to queries, keys, values and outputs; `attention` is scores and sums,
    `states` what recurrent mixers do instead; `prediction` are the heads for further tokens, in training only."""

    embedding: int = 0
    projections: int = 0
    attention: int = 0
    states: int = 0
    feed_forward: int = 0
    unembedding: int = 0
    prediction: int = 0

    @property
    def total(self) -> int:
        return sum(astuple(self))

    @property
    def layers(self) -> "Flops":
        """Without what is before and after the layers."""
        return replace(self, embedding=0, unembedding=0, prediction=0)

    def __add__(self, other: "Flops") -> "Flops":
        return Flops(*(mine + its for mine, its in zip(astuple(self), astuple(other), strict=True)))

    def times(self, count: int) -> "Flops":
        return Flops(*(count * each for each in astuple(self)))

    def shares(self) -> dict[str, float]:
        """Each component's part of the whole."""
        return {name: each / self.total for name, each in vars(self).items()}


def forward_flops(config: DecoderConfig, context: int | None = None) -> Flops:
    """Of one token in a sequence of `context` tokens, by default the config's."""
    context = positive_context(config, context)
    layers = (layer_flops(config, place, context) for place in range(config.depth))
    return sum(layers, Flops(unembedding=2 * config.vocab_size * config.width))


def layer_flops(config: DecoderConfig, place: int, context: int) -> Flops:
    """Forward of one token, in layer `place`."""
    layer = config.all_layers[place]
    seen = replace(config, context_length=keys_seen(config, place, context), prediction_heads=0)
    sequence, channel = sequence_cost(layer.sequence, seen, place), channel_cost(layer.channel, config)
    inner = "states" if isinstance(layer.sequence, STATE_MIXERS) else "attention"
    mixers = Flops(projections=2 * sequence.matrices, feed_forward=2 * channel.matrices + channel.flops)
    return mixers + Flops(**{inner: sequence.flops})


def sequence_flops(config: DecoderConfig, context: int | None = None) -> Flops:
    """Forward, of all T tokens of a sequence."""
    return forward_flops(config, context).times(positive_context(config, context))


def backward_flops(config: DecoderConfig, context: int | None = None, recompute: bool = False) -> Flops:
    """Of one token; with `recompute`, activations of the layers are computed a second time before it."""
    forward = training_forward_flops(config, context)
    backward = forward.times(BACKWARD)
    return backward + forward.layers if recompute else backward


def training_flops(config: DecoderConfig, context: int | None = None, recompute: bool = False) -> Flops:
    """Forward and backward, of one token."""
    return training_forward_flops(config, context) + backward_flops(config, context, recompute)


def training_forward_flops(config: DecoderConfig, context: int | None = None) -> Flops:
    """`forward_flops`, with the heads that predict further tokens: each a layer like the last and an unembedding. (The
    last k positions of a sequence have no token k further on; they are counted all the same.)"""
    forward = forward_flops(config, context)
    if not config.prediction_heads:
        return forward
    mixers = layer_flops(config, config.depth - 1, positive_context(config, context)).total
    joining, unembedding = 2 * config.width**2, config.vocab_size * config.width
    return replace(forward, prediction=config.prediction_heads * (mixers + 2 * (joining + unembedding)))


def step_flops(config: DecoderConfig, sequences: int, context: int | None = None, recompute: bool = False) -> Flops:
    """Of a training step on so many sequences of `context` tokens."""
    return training_flops(config, context, recompute).times(sequences * positive_context(config, context))


def active_parameters(config: DecoderConfig) -> int:
    """All but those of experts that a token does not pass."""
    return parameters(config) - layers_cost(config).idle - heads_cost(config).idle


def rule_of_thumb_flops(config: DecoderConfig, tokens: int) -> int:
    """6 N D, with the active parameters: close where the context is short beside 6 · width."""
    return 2 * TRAINING * active_parameters(config) * tokens


def decode_flops(config: DecoderConfig, context: int) -> Flops:
    """Of one new token that sees `context` tokens, itself included, through a cache.

    As `forward_flops`, but latent attention looks at the latents themselves (`latent_attention.py`, "absorbed"), and a
    recurrent mixer only reads its state and writes into it.
    """
    total = forward_flops(config, context)
    for place, layer in enumerate(config.all_layers):
        step = _cached_step(layer.sequence, config.width, context)
        if step is not None:
            usual = layer_flops(config, place, context)
            total += Flops(attention=step.attention - usual.attention, states=step.states - usual.states)
    return total


def _cached_step(mixer: mixer_config.SequenceMixer, width: int, context: int) -> Flops | None:
    """What a mixer does beside its projections for one token, where that is another algorithm than for many."""
    match mixer:
        case mixer_config.LatentAttention():
            latents = 2 * mixer.latent_width + mixer.rotary_width
            return Flops(attention=2 * mixer.num_heads * latents * context)
        case mixer_config.LinearAttention():
            K = mixer.width_of_head(width)
            return Flops(states=4 * mixer.num_heads * K * (K + 1))
        case mixer_config.DeltaRule():
            K, V = mixer.widths(width)
            return Flops(states=6 * mixer.num_heads * K * V)  # what it knows, the correction, the answer
        case mixer_config.StateSpace():
            return Flops(states=4 * mixer.num_heads(width) * mixer.state_width * mixer.head_width)
    return None


def keys_seen(config: DecoderConfig, place: int, context: int) -> int:
    """How many of `context` tokens layer `place` looks at: its window, or that of the layer whose keys it shares."""
    mixer = config.all_layers[place].sequence
    if isinstance(mixer, mixer_config.SharedAttention):
        mixer = config.source_of_keys(place)
    window = mixer.window if isinstance(mixer, mixer_config.Attention) else None
    return context if window is None else min(window, context)


def positive_context(config: DecoderConfig, context: int | None) -> int:
    """The context given, or the config's."""
    if context is None:
        return config.context_length
    if context < 1:
        raise ConfigError(f"The context is {context} tokens; it must be at least 1.")
    return context
