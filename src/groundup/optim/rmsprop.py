"""RMSProp (Tieleman and Hinton 2012); centred and with momentum as in Graves 2013, arXiv:1308.0850.

    v ← ρv + (1-ρ)g²         m ← ρm + (1-ρ)g  (centred)
    u = g/(√(v - m²) + ε)    with m = 0 where it is not centred
    b ← μb + u               θ ← θ - α·b

g holds weight decay, g + λθ. Unlike Adam it does not correct for v = 0 at the start, so the first steps are large,
1/√(1-ρ) times the learning rate; warm-up covers them.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from groundup.optim.per_parameter import PerParameter, with_decay


class RmsProp(PerParameter):
    """Gradients divided by the root of their mean square."""

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        decay: float = 0.99,
        epsilon: float = 1e-8,
        momentum: float = 0.0,
        centered: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {"lr": lr, "decay": decay, "epsilon": epsilon, "momentum": momentum, "centered": centered}
        super().__init__(params, defaults | {"weight_decay": weight_decay})

    def update(self, weights: Tensor, gradient: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        gradient = with_decay(gradient, weights, group)
        names = ["mean_square"] + ["mean"] * group["centered"] + ["momentum"] * (group["momentum"] > 0)
        for name in names:
            if name not in state:
                state[name] = torch.zeros_like(weights)
        square = state["mean_square"].mul_(group["decay"]).addcmul_(gradient, gradient, value=1 - group["decay"])
        if group["centered"]:
            mean = state["mean"].lerp_(gradient, 1 - group["decay"])
            square = square.addcmul(mean, mean, value=-1).clamp_(min=0)  # below 0 by rounding only; its root is NaN
        update = gradient / square.sqrt().add_(group["epsilon"])
        if group["momentum"]:
            update = state["momentum"].mul_(group["momentum"]).add_(update)
        weights.add_(update, alpha=-group["lr"])
