"""Small decoders from the whole space of configs: every choice of every part is drawn, whatever fits together."""

from random import Random
from typing import Any

import torch
from torch import Tensor

from groundup.models.config import DecoderConfig, Layer, Norm
from groundup.models.decoder import Decoder
from groundup.models.initialization import initialize
from groundup.models.mixer_config import (
    Attention,
    ChannelMixer,
    DeltaRule,
    DenseMLP,
    GatedMLP,
    LatentAttention,
    LinearAttention,
    MixtureOfExperts,
    NoChannel,
    SequenceMixer,
    SharedAttention,
    StateSpace,
)
from groundup.models.position_config import (
    Alibi,
    LinearScaling,
    Llama3Scaling,
    NoPosition,
    NtkScaling,
    Position,
    Rotary,
    YarnScaling,
)

V, CONTEXT, D = 41, 24, 32
ACTIVATIONS = ["relu", "squared_relu", "gelu", "gelu_tanh", "silu"]


def random_config(seed: int) -> DecoderConfig:
    """One config for each seed."""
    random = Random(seed)
    parallel = random.random() < 0.2
    placement = random.choice(["pre", "double"] if parallel else ["pre", "post", "double", "reordered"])
    layers: list[Layer] = []
    for _ in range(random.randint(1, 4)):
        sequence: SequenceMixer = random_sequence(random)
        if layers and isinstance(layers[-1].sequence, Attention) and random.random() < 0.3:
            sequence = SharedAttention()
        layers.append(Layer(sequence, random_channel(random, parallel)))
    first = random.choice([0, 0, 1]) if not any(isinstance(layer.sequence, SharedAttention) for layer in layers) else 0
    kind = random.choice(["rms", "rms", "layer", "none"])
    return DecoderConfig(
        vocab_size=V,
        context_length=CONTEXT,
        width=D,
        depth=len(layers) + first,
        layers=tuple(layers),
        first_layers=(Layer(random_sequence(random), random_channel(random, parallel)),) * first,
        norm=Norm(kind, bias=kind == "layer" and random.random() < 0.5),
        placement=placement,
        parallel=parallel,
        position_embedding=random.choice(["none", "none", "learned", "sinusoidal"]),
        tie_embeddings=random.random() < 0.3,
        embedding_scale=random.choice([1.0, 1.0, 2.0]),
        logit_soft_cap=random.choice([None, None, 5.0]),
        z_loss=random.choice([0.0, 1e-3]),
        prediction_heads=random.choice([0, 0, 2]) if not isinstance(layers[-1].sequence, SharedAttention) else 0,
        ngram_lengths=random.choice([(), (), (2,), (3,), (2, 4)]),
        ngram_buckets=random.choice([7, 100]),
    )


def random_sequence(random: Random) -> SequenceMixer:
    match random.choice(["attention"] * 3 + ["latent", "linear", "delta", "state"]):
        case "attention":
            heads = random.choice([2, 4])
            return Attention(
                num_heads=heads,
                num_kv_heads=random.choice([1, 2, heads]),
                head_width=random.choice([0, 8, 12]),
                position=random_position(random),
                window=random.choice([None, None, 2, 5, CONTEXT]),
                qk_norm=random.choice(["none", "head", "width"]),
                soft_cap=random.choice([None, None, 2.0]),
                sinks=random.random() < 0.2,
                scale=random.choice([None, 0.2]),
                bias=random.random() < 0.3,
            )
        case "latent":
            return LatentAttention(
                num_heads=random.choice([2, 3]),
                head_width=random.choice([6, 8]),
                value_width=random.choice([5, 8]),
                rotary_width=random.choice([2, 4]),
                latent_width=random.choice([7, 12]),
                query_latent_width=random.choice([0, 10]),
            )
        case "linear":
            return LinearAttention(position=random.choice([Rotary(100.0), NoPosition()]))
        case "delta":
            return DeltaRule(
                num_heads=2,
                key_width=random.choice([0, 6]),
                value_width=random.choice([0, 10]),
                convolution=random.choice([1, 2, 4]),
                gated=random.random() < 0.7,
            )
    return StateSpace(
        head_width=random.choice([8, 16]),
        state_width=random.choice([4, 8]),
        groups=random.choice([1, 2]),
        convolution=random.choice([1, 3, 4]),
        chunk=random.choice([3, 8, 64]),
    )


def random_position(random: Random) -> Position:
    scaling = random.choice(
        [None, None, LinearScaling(), NtkScaling(), YarnScaling(4.0, 8), Llama3Scaling(original_context=8)]
    )
    rotary = Rotary(random.choice([50.0, 10_000.0]), random.choice([1.0, 0.5]), scaling)
    return random.choice([rotary, rotary, Alibi(), NoPosition()])


def random_channel(random: Random, parallel: bool) -> ChannelMixer:
    activation: Any = random.choice(ACTIVATIONS)
    kinds = ["dense", "gated", "gated", "mixture"] + ([] if parallel else ["none"])
    match random.choice(kinds):
        case "dense":
            return DenseMLP(random.choice([0, 20]), activation, bias=random.random() < 0.5)
        case "gated":
            return GatedMLP(random.choice([0, 20]), activation, bias=random.random() < 0.3)
        case "mixture":
            groups, chosen = random.choice([1, 1, 2]), random.choice([1, 2])
            return MixtureOfExperts(
                num_experts=random.choice([4, 6]),
                experts_per_token=chosen,
                hidden_width=random.choice([8, 12]),
                shared_width=random.choice([0, 10]),
                activation=activation,
                gate=random.choice(["softmax", "sigmoid"]),
                normalize=chosen > 1 and random.random() < 0.5,
                scale=random.choice([1.0, 2.5]),
                balance_loss=random.choice([0.0, 0.01]),
                router_z_loss=random.choice([0.0, 0.001]),
                balance_bias_rate=random.choice([0.0, 0.001]),
                groups=groups,
                groups_per_token=random.choice([1, groups]),
            )
    return NoChannel()


def random_decoder(seed: int) -> Decoder:
    """A decoder for each seed."""
    return noisy_decoder(random_config(seed), seed)


def noisy_decoder(config: DecoderConfig, seed: int) -> Decoder:
    """Initialised, then with every vector off its initial value and a larger output, so that nothing is hidden."""
    decoder = Decoder(config)
    initialize(decoder, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in decoder.named_parameters():
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.rand(parameter.shape, generator=generator))
            elif name == "unembedding":
                parameter.normal_(0, 0.3, generator=generator)
            elif name == "ngrams.tables":
                parameter.normal_(0, 0.2, generator=generator)
    return decoder.eval()


def random_tokens(B: int, T: int, seed: int = 0) -> Tensor:
    return torch.randint(V, (B, T), generator=torch.Generator().manual_seed(seed))
