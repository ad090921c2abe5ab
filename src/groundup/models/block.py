"""One layer: a sequence mixer and a channel mixer, each with its norms, added to the residual stream.

B batch, T time, D width.
"""

from torch import Tensor, nn

from groundup.models.cache import LayerCache
from groundup.models.config import DecoderConfig
from groundup.models.layers import dropout
from groundup.models.normalization import Normalization


class Block(nn.Module):
    """Composes two mixers as `DecoderConfig.placement` and `parallel` say."""

    def __init__(self, config: DecoderConfig, sequence: nn.Module, channel: nn.Module | None) -> None:
        super().__init__()
        self.config, self.sequence, self.channel = config, sequence, channel
        before, after = config.placement in ("pre", "double"), config.placement != "pre"
        mixers = ["sequence"] if channel is None else ["sequence", "channel"]
        for name in mixers:
            if before and not (config.parallel and name == "channel"):
                self.add_module(f"{name}_norm", Normalization(config.norm, config.width))
            if after:
                self.add_module(f"{name}_output_norm", Normalization(config.norm, config.width))

    def forward(self, x_BTD: Tensor, positions: Tensor, cache: LayerCache | None) -> Tensor:
        if self.config.parallel:
            normed_BTD = self.get_submodule("sequence_norm")(x_BTD)
            return x_BTD + sum(self._out(name, normed_BTD, positions, cache) for name in ("sequence", "channel"))
        x_BTD = self._add("sequence", x_BTD, positions, cache)
        return x_BTD if self.channel is None else self._add("channel", x_BTD, positions, cache)

    def _add(self, name: str, x_BTD: Tensor, positions: Tensor, cache: LayerCache | None) -> Tensor:
        """x and what a mixer makes of it."""
        if self.config.placement == "post":
            y_BTD = self._mix(name, x_BTD, positions, cache)
            return self.get_submodule(f"{name}_output_norm")(x_BTD + y_BTD)
        before = self.get_submodule(f"{name}_norm")(x_BTD) if self.config.placement != "reordered" else x_BTD
        return x_BTD + self._out(name, before, positions, cache)

    def _out(self, name: str, x_BTD: Tensor, positions: Tensor, cache: LayerCache | None) -> Tensor:
        y_BTD = self._mix(name, x_BTD, positions, cache)
        return y_BTD if self.config.placement == "pre" else self.get_submodule(f"{name}_output_norm")(y_BTD)

    def _mix(self, name: str, x_BTD: Tensor, positions: Tensor, cache: LayerCache | None) -> Tensor:
        mixer = self.sequence if name == "sequence" else self.channel
        assert mixer is not None
        return dropout(mixer(x_BTD, positions, cache), self.config.dropout, self.training)
