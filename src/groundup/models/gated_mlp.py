"""The gated MLP: W_down (f(W_gate x) · W_up x) (Shazeer 2020, arXiv:2002.05202); SwiGLU, GeGLU, ReGLU.

B batch, T time, D width, F hidden width.
"""

import torch
from torch import Tensor, nn

from groundup.models import mixer_config
from groundup.models.cache import LayerCache
from groundup.models.config import DecoderConfig
from groundup.models.layers import ACTIVATIONS, affine


class GatedMLP(nn.Module):
    """Gate and up, their product, down."""

    gate_bias: Tensor | None
    up_bias: Tensor | None
    down_bias: Tensor | None

    def __init__(self, config: mixer_config.GatedMLP, decoder: DecoderConfig) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[config.activation]
        D, F = decoder.width, config.hidden(decoder.width)
        self.gate = nn.Parameter(torch.empty(F, D))
        self.up = nn.Parameter(torch.empty(F, D))
        self.down = nn.Parameter(torch.empty(D, F))
        for name, width in (("gate", F), ("up", F), ("down", D)):
            self.register_parameter(f"{name}_bias", nn.Parameter(torch.zeros(width)) if config.bias else None)

    def forward(self, x_BTD: Tensor, positions: Tensor, cache: LayerCache | None) -> Tensor:
        gate_BTF = self.activation(affine(x_BTD, self.gate, self.gate_bias))
        return affine(gate_BTF * affine(x_BTD, self.up, self.up_bias), self.down, self.down_bias)
