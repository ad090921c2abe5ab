"""Which module makes a config's mixer."""

from collections.abc import Sequence

from torch import nn

from groundup.models import mixer_config
from groundup.models.attention import Attention
from groundup.models.config import DecoderConfig
from groundup.models.delta_rule import DeltaRule
from groundup.models.dense_mlp import DenseMLP
from groundup.models.gated_mlp import GatedMLP
from groundup.models.latent_attention import LatentAttention
from groundup.models.linear_attention import LinearAttention
from groundup.models.mixture_of_experts import MixtureOfExperts
from groundup.models.shared_attention import SharedAttention
from groundup.models.state_space import StateSpace


def sequence_mixer(
    config: mixer_config.SequenceMixer, decoder: DecoderConfig, before: Sequence[nn.Module]
) -> nn.Module:
    """The mixer of the next layer; `before` are the sequence mixers of the layers in front of it."""
    match config:
        case mixer_config.Attention():
            return Attention(config, decoder)
        case mixer_config.SharedAttention():
            source = before[-config.distance]
            assert isinstance(source, Attention)
            return SharedAttention(source, decoder)
        case mixer_config.LatentAttention():
            return LatentAttention(config, decoder)
        case mixer_config.LinearAttention():
            return LinearAttention(config, decoder)
        case mixer_config.DeltaRule():
            return DeltaRule(config, decoder)
        case mixer_config.StateSpace():
            return StateSpace(config, decoder)


def channel_mixer(config: mixer_config.ChannelMixer, decoder: DecoderConfig) -> nn.Module | None:
    """The mixer of a layer's channels; None where it has none."""
    match config:
        case mixer_config.DenseMLP():
            return DenseMLP(config, decoder)
        case mixer_config.GatedMLP():
            return GatedMLP(config, decoder)
        case mixer_config.MixtureOfExperts():
            return MixtureOfExperts(config, decoder)
        case mixer_config.NoChannel():
            return None
