"""Gradient descent with momentum (Polyak 1964) and Nesterov's variant of it (Sutskever et al. 2013).

    b ← μb + (1-τ)g          b = g in the first step
    θ ← θ - α·b              or, with Nesterov's gradient, θ ← θ - α(g + μb)

τ is the dampening. g holds weight decay, g + λθ. As in PyTorch the learning rate stands outside of b, so that a
schedule acts at once.
"""

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from groundup.optim.per_parameter import PerParameter, with_decay


class Sgd(PerParameter):
    """Plain, with momentum, or with Nesterov's; without momentum it keeps no state but masters."""

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        momentum: float = 0.0,
        nesterov: bool = False,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "nesterov": nesterov, "dampening": dampening}
        super().__init__(params, defaults | {"weight_decay": weight_decay})

    def update(self, weights: Tensor, gradient: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        gradient = with_decay(gradient, weights, group)
        if group["momentum"]:
            if "momentum" in state:
                state["momentum"].mul_(group["momentum"]).add_(gradient, alpha=1 - group["dampening"])
            else:
                state["momentum"] = gradient.clone()
            momentum = state["momentum"]
            gradient = gradient.add(momentum, alpha=group["momentum"]) if group["nesterov"] else momentum
        weights.add_(gradient, alpha=-group["lr"])
