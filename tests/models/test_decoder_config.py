"""Configs that cannot work are refused in a sentence; all others survive JSON."""

from typing import Any

import pytest

from groundup.core.config import decode, encode
from groundup.core.errors import ConfigError
from groundup.models.config import DecoderConfig, Layer, Norm
from groundup.models.mixer_config import (
    Attention,
    DeltaRule,
    DenseMLP,
    GatedMLP,
    LatentAttention,
    LinearAttention,
    MixtureOfExperts,
    NoChannel,
    SharedAttention,
    StateSpace,
)
from groundup.models.position_config import Alibi, LinearScaling, Llama3Scaling, NoPosition, Rotary, YarnScaling


def layers(*sequences: Any, channel: Any = None) -> dict[str, Any]:
    return {"layers": tuple(Layer(sequence, channel or GatedMLP()) for sequence in sequences)}


IMPOSSIBLE = [
    *(({name: 0}, f"{name} is 0; it must be at least 1") for name in ("vocab_size", "depth", "width")),
    ({"context_length": -1}, "context_length is -1; it must be at least 1"),
    ({"dropout": 1.0}, "dropout is 1.0; it must be at least 0 and below 1"),
    ({"layers": ()}, "layers is empty"),
    ({"depth": 1, "first_layers": (Layer(), Layer())}, "There are 2 first_layers, but the depth is 1"),
    ({"embedding_scale": 0.0}, "embedding_scale is 0.0; it must be above 0"),
    ({"logit_soft_cap": -1.0}, "logit_soft_cap is -1.0; it must be above 0"),
    (layers(Attention(num_heads=0)), "num_heads is 0; it must be at least 1"),
    ({"width": 250}, "width 250 is not a multiple of num_heads 4"),
    ({"width": 12}, "Rotary positions would turn 3 entries of a head of width 3"),
    (layers(Attention(num_kv_heads=3)), "num_heads 4 is not a multiple of num_kv_heads 3; change one of them"),
    (layers(Attention(num_kv_heads=8)), "num_heads 4 is not a multiple of num_kv_heads 8"),
    (layers(Attention(position=Rotary(fraction=0.3), head_width=10)), "would turn 3 entries"),
    (layers(Attention(window=0)), "window is 0; a token sees at least itself"),
    (layers(Attention(soft_cap=0.0)), "soft_cap is 0.0; it must be above 0"),
    (layers(SharedAttention()), "Layer 0 would share the keys and values of layer -1"),
    (
        layers(StateSpace(), SharedAttention()),
        "Layer 1 would share the keys and values of layer 0, which is no attention",
    ),
    (layers(LatentAttention(rotary_width=7)), "would turn 7 entries"),
    (layers(LatentAttention(rotary=Rotary(fraction=0.5))), "set that width instead"),
    (layers(LinearAttention(position=Alibi())), "Linear attention has no scores that ALiBi could lower"),
    (layers(StateSpace(head_width=100)), "The inner width 512 .* is not a multiple of head_width 100"),
    (layers(StateSpace(groups=3)), "The 8 heads of the state-space layer do not divide into 3 groups"),
    (layers(DeltaRule(num_heads=3)), "width 256 is not a multiple of num_heads 3"),
    (layers(Attention(), channel=MixtureOfExperts(num_experts=2, experts_per_token=3)), "cannot pass more experts"),
    (layers(Attention(), channel=MixtureOfExperts(experts_per_token=1)), "the router would not learn"),
    ({"prediction_heads": -1}, "prediction_heads is -1; it must be 0 or more"),
    ({"prediction_heads": 256}, "a context of 256 tokens has no such distance"),
    ({"prediction_heads": 1, **layers(Attention(), SharedAttention())}, "no keys of its own here"),
    (layers(Attention(), channel=MixtureOfExperts(groups=3)), "8 experts do not divide into 3 groups"),
    (layers(Attention(), channel=MixtureOfExperts(groups=8, experts_per_token=2)), "1 groups of 1 experts hold fewer"),
    (layers(Attention(), channel=MixtureOfExperts(routing="experts", balance_loss=0.1)), "balanced already"),
    ({"parallel": True, "placement": "post"}, "Parallel blocks share one norm in front"),
    ({"parallel": True, **layers(Attention(), channel=NoChannel())}, "needs a channel mixer"),
]


@pytest.mark.parametrize(("changes", "message"), IMPOSSIBLE, ids=[message for _, message in IMPOSSIBLE])
def test_an_impossible_shape_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DecoderConfig(**changes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Rotary(base=0.0), "The rotary base is 0.0; it must be above 1"),
        (lambda: Rotary(fraction=1.5), "The rotary fraction is 1.5"),
        (lambda: LinearScaling(factor=0.5), "factor is 0.5; it must be at least 1"),
        (lambda: YarnScaling(beta_slow=40), "beta_slow 40 must be above 0 and below beta_fast 32"),
        (lambda: Llama3Scaling(low_frequency_factor=5), "low_frequency_factor 5 must be above 0 and below"),
        (lambda: Norm(epsilon=float("nan")), "epsilon is nan; it must be above 0"),
        (lambda: Norm(bias=True), 'A norm of kind "rms" has no bias'),
    ],
)
def test_an_impossible_part_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        layers(Attention(position=Rotary(scaling=YarnScaling())), SharedAttention(), LatentAttention(), StateSpace()),
        layers(Attention(position=Alibi(), window=7), Attention(position=NoPosition()), LinearAttention(), DeltaRule()),
        layers(Attention(), channel=MixtureOfExperts(gate="sigmoid", groups=4, groups_per_token=2)),
        {**layers(StateSpace(), channel=NoChannel()), "first_layers": (Layer(Attention(), DenseMLP(bias=True)),)},
        {"norm": Norm("layer", bias=True), "placement": "post", "position_embedding": "learned"},
    ],
)
def test_the_config_survives_json(changes: dict[str, Any]) -> None:
    config = DecoderConfig(**changes)
    assert decode(DecoderConfig, encode(config)) == config


def test_an_unknown_key_of_a_mixer_is_refused() -> None:
    data = encode(DecoderConfig(layers=(Layer(StateSpace()),)))
    data["layers"][0]["sequence"]["state_widht"] = 3
    with pytest.raises(
        ConfigError, match=r"unknown key 'layers\[0\].sequence.state_widht'; did you mean 'state_width'"
    ):
        decode(DecoderConfig, data)


def test_the_pattern_is_repeated_behind_the_first_layers() -> None:
    first, local, whole = Layer(channel=DenseMLP()), Layer(Attention(window=8)), Layer()
    config = DecoderConfig(depth=6, first_layers=(first,), layers=(local, local, whole))
    assert config.all_layers == (first, local, local, whole, local, local)
