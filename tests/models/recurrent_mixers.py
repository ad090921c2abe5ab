"""Mixers that carry a state from token to token, with random weights and in every shape; what their tests share."""

from typing import Any

import torch
from torch import Tensor

from groundup.models.config import DecoderConfig, Layer, Norm
from groundup.models.mixer_config import DeltaRule, LinearAttention, SequenceMixer, StateSpace
from groundup.models.mixers import sequence_mixer
from groundup.models.position_config import NoPosition, Rotary

D = 24
DELTA_RULES = {
    "delta rule": DeltaRule(num_heads=3),
    "delta rule of wide values": DeltaRule(num_heads=2, key_width=4, value_width=7, convolution=3),
    "delta rule without decay": DeltaRule(num_heads=3, gated=False),
    "delta rule without convolution": DeltaRule(num_heads=3, convolution=1),
}
STATE_SPACES = {
    "state space": StateSpace(head_width=8),
    "state space of one group": StateSpace(head_width=8, state_width=5),
    "state space of two groups": StateSpace(head_width=12, state_width=6, groups=2, convolution=3, chunk=24),
    "state space, a group a head": StateSpace(expansion=1, head_width=12, state_width=16, groups=2, chunk=16),
    "state space without convolution": StateSpace(head_width=16, state_width=4, convolution=1),
}
LINEAR_ATTENTIONS = {
    "linear attention": LinearAttention(num_heads=3),
    "partly rotary linear attention": LinearAttention(2, head_width=8, position=Rotary(base=100.0, fraction=0.5)),
    "linear attention without positions": LinearAttention(num_heads=4, position=NoPosition()),
}
PACKED = torch.cat([torch.arange(n) for n in (3, 1, 70, 2, 1, 73)])  # documents in a row of 150


def random_mixer(config: SequenceMixer) -> Any:
    """The module of a config. Linear attention has larger weights: there is no gain of random size in it."""
    module = sequence_mixer(config, DecoderConfig(width=D, layers=(Layer(config),), norm=Norm(epsilon=1e-5)), ())
    generator = torch.Generator().manual_seed(0)
    scale = 1.5 if isinstance(config, LinearAttention) else 1.0
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.ndim == 2:
                parameter.normal_(0, scale * parameter.shape[-1] ** -0.5, generator=generator)
            elif name != "log_decay_rate":
                parameter.normal_(0, 1, generator=generator)  # decays from some to e⁻⁵⁰ a token
    return module


def randn(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)
