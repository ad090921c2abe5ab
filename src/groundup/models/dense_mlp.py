"""The MLP of the first transformer: W_down f(W_up x) (Vaswani et al. 2017, arXiv:1706.03762, eq. 2).

B batch, T time, D width, F hidden width.
"""

import torch
from torch import Tensor, nn

from groundup.models import mixer_config
from groundup.models.cache import LayerCache
from groundup.models.config import DecoderConfig
from groundup.models.layers import ACTIVATIONS, affine


class DenseMLP(nn.Module):
    """Up, activation, down."""

    up_bias: Tensor | None
    down_bias: Tensor | None

    def __init__(self, config: mixer_config.DenseMLP, decoder: DecoderConfig) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[config.activation]
        D, F = decoder.width, config.hidden(decoder.width)
        self.up = nn.Parameter(torch.empty(F, D))
        self.down = nn.Parameter(torch.empty(D, F))
        for name, width in (("up", F), ("down", D)):
            self.register_parameter(f"{name}_bias", nn.Parameter(torch.zeros(width)) if config.bias else None)

    def forward(self, x_BTD: Tensor, positions: Tensor, cache: LayerCache | None) -> Tensor:
        return affine(self.activation(affine(x_BTD, self.up, self.up_bias)), self.down, self.down_bias)
