"""One layer: a sequence mixer and a channel mixer, each with its norms, added to the residual stream.

B batch, T time, D width.
"""

from torch import Tensor, nn

from groundup.models.cache import LayerCache
from groundup.models.config import DecoderConfig, Norm
from groundup.models.layers import dropout
from groundup.models.normalization import Normalization


class Block(nn.Module):
    """Composes two mixers as `DecoderConfig.placement` and `parallel` say; a norm left out by the placement is none."""

    def __init__(self, config: DecoderConfig, sequence: nn.Module, channel: nn.Module | None) -> None:
        super().__init__()
        self.config, self.sequence, self.channel = config, sequence, channel
        none, D = Norm("none"), config.width
        before = config.norm if config.placement in ("pre", "double") else none
        after = config.norm if config.placement != "pre" else none
        self.sequence_norm = Normalization(before, D)
        self.sequence_output_norm = Normalization(after, D)
        self.channel_norm = Normalization(none if channel is None or config.parallel else before, D)
        self.channel_output_norm = Normalization(none if channel is None else after, D)

    def forward(self, x_BTD: Tensor, positions: Tensor, cache: LayerCache | None) -> Tensor:
        normed_BTD = self.sequence_norm(x_BTD)
        y_BTD = self._dropout(self.sequence(normed_BTD, positions, cache))
        if self.config.parallel:
            assert self.channel is not None
            z_BTD = self._dropout(self.channel(normed_BTD, positions, cache))
            return x_BTD + (self.sequence_output_norm(y_BTD) + self.channel_output_norm(z_BTD))
        x_BTD = self._add(x_BTD, y_BTD, self.sequence_output_norm)
        if self.channel is None:
            return x_BTD
        z_BTD = self._dropout(self.channel(self.channel_norm(x_BTD), positions, cache))
        return self._add(x_BTD, z_BTD, self.channel_output_norm)

    def _add(self, x_BTD: Tensor, y_BTD: Tensor, norm: Normalization) -> Tensor:
        """x and what a mixer made of it, with the norm behind one or both."""
        return norm(x_BTD + y_BTD) if self.config.placement == "post" else x_BTD + norm(y_BTD)

    def _dropout(self, x_BTD: Tensor) -> Tensor:
        return dropout(x_BTD, self.config.dropout, self.training)
