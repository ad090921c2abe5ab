"""Checkpoints hold weights under these names: a changed name is a changed format."""

import pytest
import torch

from groundup.models.config import DecoderConfig, Layer, Norm
from groundup.models.decoder import Decoder
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

SEQUENCE: list[tuple[SequenceMixer, str]] = [
    (Attention(qk_norm="none"), "query key value output"),
    (Attention(), "query key value output query_gain key_gain"),
    (
        Attention(sinks=True, bias=True),
        "query key value output query_bias key_bias value_bias output_bias query_gain key_gain sink",
    ),
    (LatentAttention(), "query latent latent_gain rotary_key key value output"),
    (
        LatentAttention(query_latent_width=8),
        "query_latent query_latent_gain query latent latent_gain rotary_key key value output",
    ),
    (LinearAttention(), "query key value output"),
    (
        DeltaRule(),
        "query key value convolution beta decay log_decay_rate decay_bias gate output_gain output",
    ),
    (
        StateSpace(),
        "gate value key query step convolution convolution_bias log_decay_rate step_bias skip output_gain output",
    ),
]
CHANNEL: list[tuple[ChannelMixer, str]] = [
    (DenseMLP(), "up down"),
    (DenseMLP(bias=True), "up down up_bias down_bias"),
    (GatedMLP(), "gate up down"),
    (GatedMLP(bias=True), "gate up down gate_bias up_bias down_bias"),
    (MixtureOfExperts(), "router gate up down"),
    (
        MixtureOfExperts(shared_width=8, balance_bias_rate=0.1),
        "router gate up down shared_gate shared_up shared_down balance_bias",
    ),
    (NoChannel(), ""),
]


def names_of(config: DecoderConfig) -> set[str]:
    with torch.device("meta"):
        return set(Decoder(config).state_dict())


@pytest.mark.parametrize(("mixer", "names"), SEQUENCE, ids=lambda value: getattr(value, "kind", None))
def test_sequence_mixers(mixer: SequenceMixer, names: str) -> None:
    found = names_of(DecoderConfig(width=64, depth=1, layers=(Layer(mixer, NoChannel()),)))
    top = {"embedding", "unembedding", "final_norm.gain", "blocks.0.sequence_norm.gain"}
    assert found == top | {f"blocks.0.sequence.{name}" for name in names.split()}


@pytest.mark.parametrize(("mixer", "names"), CHANNEL, ids=lambda value: getattr(value, "kind", None))
def test_channel_mixers(mixer: ChannelMixer, names: str) -> None:
    found = names_of(DecoderConfig(width=64, depth=1, layers=(Layer(LinearAttention(), mixer),)))
    wanted = {f"blocks.0.channel.{name}" for name in names.split()}
    assert {name for name in found if name.startswith("blocks.0.channel.")} == wanted
    assert ("blocks.0.channel_norm.gain" in found) == bool(names)


def test_norms_positions_and_heads() -> None:
    norm = Norm("layer", bias=True)
    layers = (Layer(Attention(qk_norm="none"), NoChannel()), Layer(SharedAttention(), NoChannel()))
    shared = {f"blocks.1.sequence.{name}" for name in ("query", "output")}
    attention = {f"blocks.0.sequence.{name}" for name in ("query", "key", "value", "output")}
    norms = {f"blocks.{layer}.sequence_norm.{part}" for layer in (0, 1) for part in ("gain", "bias")}
    top = {"embedding", "position_embedding", "final_norm.gain", "final_norm.bias"}
    config = DecoderConfig(
        width=64, depth=2, layers=layers, norm=norm, position_embedding="learned", tie_embeddings=True
    )
    assert names_of(config) == top | attention | shared | norms
    double = DecoderConfig(width=64, depth=1, layers=layers[:1], placement="double")
    assert "blocks.0.sequence_output_norm.gain" in names_of(double)
    heads = names_of(DecoderConfig(width=64, depth=1, layers=layers[:1], prediction_heads=1)) - names_of(
        DecoderConfig(width=64, depth=1, layers=layers[:1])
    )
    assert heads == {
        *(f"prediction_heads.0.{name}" for name in ("join", "hidden_norm.gain", "token_norm.gain", "final_norm.gain")),
        "prediction_heads.0.block.sequence_norm.gain",
        *(f"prediction_heads.0.block.sequence.{name}" for name in ("query", "key", "value", "output")),
    }
