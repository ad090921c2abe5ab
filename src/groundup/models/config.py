"""The shape of a decoder, as data. No torch here, so that accounting and the command line start fast.

A decoder is an embedding, `depth` layers and an unembedding. `layers` is a pattern that is repeated to that depth, so
one entry describes a plain decoder, and four of which one is attention a hybrid; `first_layers` come before it, once.
"""

import math
from dataclasses import dataclass, field
from typing import Literal

from groundup.core.errors import ConfigError
from groundup.models.mixer_config import (
    Attention,
    ChannelMixer,
    GatedMLP,
    NoChannel,
    SequenceMixer,
    SharedAttention,
    require_above_zero,
    require_positive,
)

Placement = Literal["pre", "post", "double", "reordered"]


@dataclass(frozen=True)
class Norm:
    """RMSNorm (arXiv:1910.07467), LayerNorm (arXiv:1607.06450, with a bias if `bias`), or no normalisation at all."""

    kind: Literal["rms", "layer", "none"] = "rms"
    epsilon: float = 1e-5
    bias: bool = False

    def __post_init__(self) -> None:
        require_above_zero({"The norm's epsilon": self.epsilon})
        if self.bias and self.kind != "layer":
            raise ConfigError(f'A norm of kind "{self.kind}" has no bias; only "layer" may have one.')


@dataclass(frozen=True)
class Layer:
    """What mixes along the sequence and what mixes along the channels, in this order."""

    sequence: SequenceMixer = field(default_factory=Attention)
    channel: ChannelMixer = field(default_factory=GatedMLP)


@dataclass(frozen=True)
class DecoderConfig:
    """`placement` of the norm around a mixer f:

        pre        x + f(norm(x))           (arXiv:2002.04745)
        post       norm(x + f(x))           as in the first transformer, without a norm at the end
        double     x + norm(f(norm(x)))     Gemma 2 and 3
        reordered  x + norm(f(x))           OLMo 2

    `parallel`: both mixers see the same normed input and are added together (GPT-J, PaLM). `embedding_scale` multiplies
    token embeddings (Gemma: √width). The last `ngram_lengths` tokens have embeddings too, each length in a hashed table
    of `ngram_buckets` rows (`ngram_embedding.py`). `logit_soft_cap` c bounds logits to c tanh(logit / c). `z_loss` adds
    so much of (ln Z)² to the loss, Z the sum of the softmax (PaLM, arXiv:2204.02311, section 5); `prediction_heads`
    further tokens are predicted, each by one more layer (`multi_token.py`): both in training only.
    """

    vocab_size: int = 4096
    context_length: int = 256
    width: int = 256
    depth: int = 6
    layers: tuple[Layer, ...] = (Layer(),)
    first_layers: tuple[Layer, ...] = ()
    norm: Norm = field(default_factory=Norm)
    placement: Placement = "pre"
    parallel: bool = False
    position_embedding: Literal["none", "learned", "sinusoidal"] = "none"
    tie_embeddings: bool = False
    embedding_scale: float = 1.0
    ngram_lengths: tuple[int, ...] = ()
    ngram_buckets: int = 32_768
    logit_soft_cap: float | None = None
    dropout: float = 0.0
    z_loss: float = 0.0
    prediction_heads: int = 0
    prediction_weight: float = 0.3
    kind: Literal["decoder"] = "decoder"

    def __post_init__(self) -> None:
        require_positive({name: getattr(self, name) for name in ("vocab_size", "context_length", "width", "depth")})
        require_above_zero({"embedding_scale": self.embedding_scale, "logit_soft_cap": self.logit_soft_cap})
        require_positive({"ngram_buckets": self.ngram_buckets})
        if any(length < 2 for length in self.ngram_lengths) or len(set(self.ngram_lengths)) < len(self.ngram_lengths):
            raise ConfigError(f"ngram_lengths is {self.ngram_lengths}; give different lengths of 2 tokens or more.")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout is {self.dropout}; it must be at least 0 and below 1.")
        for name in ("prediction_heads", "prediction_weight", "z_loss"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be 0 or more.")
        if self.prediction_heads >= self.context_length:
            raise ConfigError(
                f"prediction_heads is {self.prediction_heads}, but a context of {self.context_length} tokens has no "
                "such distance."
            )
        if not self.layers:
            raise ConfigError("layers is empty; it must hold at least one layer, which is repeated to the depth.")
        if len(self.first_layers) > self.depth:
            raise ConfigError(f"There are {len(self.first_layers)} first_layers, but the depth is {self.depth}.")
        for layer in (*self.first_layers, *self.layers):
            layer.sequence.check(self.width)
            layer.channel.check(self.width)
        if self.prediction_heads and isinstance(self.all_layers[-1].sequence, SharedAttention):
            raise ConfigError(
                "Heads that predict further tokens have a layer like the last one, and that one has no keys of its own "
                "here."
            )
        for place, layer in enumerate(self.all_layers):
            if isinstance(layer.sequence, SharedAttention):
                self.source_of_keys(place)
        if self.parallel:
            if self.placement in ("post", "reordered"):
                raise ConfigError(
                    f'Parallel blocks share one norm in front of both mixers; with placement "{self.placement}" '
                    'there is none, so use "pre" or "double".'
                )
            if any(isinstance(layer.channel, NoChannel) for layer in self.all_layers):
                raise ConfigError("A parallel block needs a channel mixer beside its sequence mixer.")

    @property
    def all_layers(self) -> tuple[Layer, ...]:
        """The layers from the first to the last."""
        rest = self.depth - len(self.first_layers)
        repeats = math.ceil(rest / len(self.layers))
        return (*self.first_layers, *(self.layers * repeats)[:rest])

    def source_of_keys(self, place: int) -> Attention:
        """The attention whose keys and values the `SharedAttention` of layer `place` uses."""
        shared = self.all_layers[place].sequence
        assert isinstance(shared, SharedAttention)
        source = place - shared.distance
        attention = self.all_layers[source].sequence if source >= 0 else None
        if not isinstance(attention, Attention):
            raise ConfigError(
                f"Layer {place} would share the keys and values of layer {source}, which is no attention layer of this "
                "decoder; change `distance` or the pattern."
            )
        return attention
