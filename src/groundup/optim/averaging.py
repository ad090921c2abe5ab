"""Averages of the weights along a training, in fp32: a second model, often better than the last weights where the
learning rate has not fallen yet, at no cost but memory.

    exponential   a_t = (1-β)/(1-βᵗ) · Σ βᵗ⁻ⁱ w_i                 (Polyak and Juditsky 1992 for uniform weights)
    latest (LAWA) a_t = the mean of the last k snapshots          (Kaddour 2022, arXiv:2209.14981)

The exponential one is corrected for its start as Adam's moments are, so the random weights of the start are not in it.
Weights come by name, as `TrainState.weights()` gives them; what is no floating-point number is copied, not averaged.
Both classes have the same four methods; `load` continues exactly from what `state` gave.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

COUNT = "count"


class ExponentialAverage:
    """Recent weights count most: those of n updates ago by βⁿ."""

    def __init__(self, decay: float = 0.999) -> None:
        assert 0 <= decay < 1, f"a decay of {decay}"
        self.decay = decay
        self._count = 0
        self._average: dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self, weights: Mapping[str, Tensor]) -> None:
        self._count += 1
        share = (1 - self.decay) / (1 - self.decay**self._count)  # 1 at first; so the mean is always corrected
        for name, weight in weights.items():
            if self._count == 1 or not weight.is_floating_point():
                self._average[name] = snapshot(weight)
            else:
                self._average[name].lerp_(weight.float(), share)

    def weights(self) -> dict[str, Tensor]:
        return dict(self._average)

    def state(self) -> dict[str, Tensor]:
        return {COUNT: torch.tensor(self._count), **{f"average.{name}": each for name, each in self._average.items()}}

    def load(self, state: Mapping[str, Tensor]) -> None:
        self._count = int(state[COUNT])
        self._average = {name.removeprefix("average."): each.clone() for name, each in state.items() if name != COUNT}


class LatestAverage:
    """The last `snapshots` weights count alike. All of them are kept, so it takes so many times the memory."""

    def __init__(self, snapshots: int = 6) -> None:
        assert snapshots >= 1, f"{snapshots} snapshots"
        self.snapshots = snapshots
        self._count = 0
        self._kept: dict[int, dict[str, Tensor]] = {}  # by the number of their update, modulo `snapshots`

    @torch.no_grad()
    def update(self, weights: Mapping[str, Tensor]) -> None:
        self._kept[self._count % self.snapshots] = {name: snapshot(weight) for name, weight in weights.items()}
        self._count += 1

    @torch.no_grad()
    def weights(self) -> dict[str, Tensor]:
        newest = self._kept[(self._count - 1) % self.snapshots]
        kept = [self._kept[slot] for slot in sorted(self._kept)]  # in one order, so that the sum rounds the same way
        return {
            name: torch.stack([each[name] for each in kept]).mean(0) if weight.is_floating_point() else weight
            for name, weight in newest.items()
        }

    def state(self) -> dict[str, Tensor]:
        tensors = {f"{slot}.{name}": each for slot, kept in self._kept.items() for name, each in kept.items()}
        return {COUNT: torch.tensor(self._count), **tensors}

    def load(self, state: Mapping[str, Tensor]) -> None:
        self._count, self._kept = int(state[COUNT]), {}
        for key, tensor in state.items():
            if key != COUNT:
                slot, _, name = key.partition(".")
                self._kept.setdefault(int(slot), {})[name] = tensor.clone()


def snapshot(weight: Tensor) -> Tensor:
    """A copy, of floating-point numbers in fp32."""
    return weight.detach().to(torch.float32 if weight.is_floating_point() else weight.dtype, copy=True)
