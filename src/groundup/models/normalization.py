"""A norm with its parameters, of the kind that the config says."""

import torch
from torch import Tensor, nn

from groundup.models.config import Norm
from groundup.models.layers import layer_norm, rms_norm


class Normalization(nn.Module):
    """RMSNorm, LayerNorm or nothing over the last axis, (..., D) to (..., D)."""

    bias: Tensor | None

    def __init__(self, config: Norm, width: int) -> None:
        super().__init__()
        self.config = config
        if config.kind != "none":
            self.gain = nn.Parameter(torch.ones(width))
        self.register_parameter("bias", nn.Parameter(torch.zeros(width)) if config.bias else None)

    def forward(self, x_D: Tensor) -> Tensor:
        if self.config.kind == "none":
            return x_D
        if self.config.kind == "rms":
            return rms_norm(x_D, self.gain, self.config.epsilon)
        return layer_norm(x_D, self.gain, self.bias, self.config.epsilon)
