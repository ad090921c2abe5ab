"""Ablations: what one design decision after another is worth, at equal compute on the quickstart's corpus.

`architecture` is a decoder of 2 million parameters, small enough that three seeds of every variant take about an hour
and a half on one core. Widths of variants are chosen so that their FLOPs a token are near the base's; the steps settle
the rest.
"""

from collections.abc import Callable
from dataclasses import replace

from groundup.models.config import DecoderConfig, Layer, Norm
from groundup.models.lstm_config import LstmConfig
from groundup.models.mixer_config import (
    Attention,
    ChannelMixer,
    DeltaRule,
    DenseMLP,
    GatedMLP,
    LatentAttention,
    LinearAttention,
    MixtureOfExperts,
    SequenceMixer,
    StateSpace,
)
from groundup.models.model_config import ModelConfig
from groundup.models.position_config import Alibi, NoPosition
from groundup.optim.config import OptimizerConfig
from groundup.optim.schedule_config import Wsd
from groundup.stages.config import AblationConfig, ComputeConfig, PretrainConfig, Variant

ATTENTION, MLP = Attention(num_heads=4, num_kv_heads=4), GatedMLP(hidden_width=384)
DELTA, STATES = DeltaRule(num_heads=4), StateSpace(head_width=32, state_width=32)


def architecture() -> AblationConfig:
    """Norms, positions, attention, channel mixers, recurrent layers, hybrids, an LSTM."""
    base = DecoderConfig(context_length=256, width=128, depth=4, layers=(Layer(ATTENTION, MLP),))

    def layers(sequence: SequenceMixer = ATTENTION, channel: ChannelMixer = MLP) -> DecoderConfig:
        return replace(base, layers=(Layer(sequence, channel),))

    def hybrid(sequence: SequenceMixer) -> DecoderConfig:
        return replace(base, layers=(*(Layer(sequence, MLP) for _ in range(3)), Layer(ATTENTION, MLP)))

    nowhere = replace(ATTENTION, position=NoPosition())
    latent = LatentAttention(head_width=32, value_width=32, rotary_width=16, latent_width=64)
    experts = MixtureOfExperts(num_experts=8, experts_per_token=2, hidden_width=192, balance_loss=0.01)
    models: dict[str, ModelConfig] = {
        "base": base,
        "post-norm": replace(base, placement="post"),
        "double norm": replace(base, placement="double"),
        "reordered norm": replace(base, placement="reordered"),
        "no norm": replace(base, norm=Norm("none")),
        "LayerNorm": replace(base, norm=Norm("layer")),
        "no QK-norm": layers(replace(ATTENTION, qk_norm="none")),
        "NoPE": layers(nowhere),
        "learned positions": replace(layers(nowhere), position_embedding="learned"),
        "ALiBi": layers(replace(ATTENTION, position=Alibi())),
        "SiLU": layers(channel=DenseMLP(hidden_width=576, activation="silu")),
        "squared ReLU": layers(channel=DenseMLP(hidden_width=576, activation="squared_relu")),
        "GQA 4 to 2": layers(replace(ATTENTION, num_kv_heads=2)),
        "MQA": layers(replace(ATTENTION, num_kv_heads=1)),
        "MLA": layers(latent),
        "window 64": layers(replace(ATTENTION, window=64)),
        "parallel block": replace(base, parallel=True),
        "tied embeddings": replace(base, tie_embeddings=True),
        "mixture 2 of 8": layers(channel=experts),
        "linear hybrid 3 to 1": hybrid(LinearAttention(num_heads=4)),
        "delta hybrid 3 to 1": hybrid(DELTA),
        "state-space": layers(STATES),
        "state-space hybrid 3 to 1": hybrid(STATES),
        "LSTM": LstmConfig(context_length=256, width=256, depth=2),
    }
    return AblationConfig(tuple(Variant(name, pretraining(model)) for name, model in models.items()))


def pretraining(model: ModelConfig) -> PretrainConfig:
    """150 steps of 2,048 tokens. What compiles slowly for what it gains is not compiled."""
    eager = isinstance(model, LstmConfig)
    if isinstance(model, DecoderConfig):
        slow = (DeltaRule, StateSpace, MixtureOfExperts)
        eager = any(isinstance(mixer, slow) for each in model.all_layers for mixer in (each.sequence, each.channel))
    return PretrainConfig(
        model=model,
        optimizer=OptimizerConfig(schedule=Wsd()),
        compute=ComputeConfig(compile=not eager, threads=1),
        steps=150,
        batch_size=8,
        evaluate_windows=256,
    )


ABLATIONS: dict[str, Callable[[], AblationConfig]] = {"architecture": architecture}
