"""Lion (Chen et al. 2023, arXiv:2302.06675, algorithm 2).

    u = sign(β₁m + (1-β₁)g)  θ ← θ - α(u + λθ)
    m ← β₂m + (1-β₂)g

One moment instead of Adam's two, and every entry moves by α: gradients near zero move weights as far as large ones.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from groundup.optim.per_parameter import PerParameter


class Lion(PerParameter):
    """The sign of a momentum, with decoupled weight decay."""

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    def update(self, weights: Tensor, gradient: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        if "mean" not in state:
            state["mean"] = torch.zeros_like(weights)
        beta1, beta2 = group["betas"]
        sign = state["mean"].lerp(gradient, 1 - beta1).sign_()
        weights.mul_(1 - group["lr"] * group["weight_decay"]).add_(sign, alpha=-group["lr"])
        state["mean"].lerp_(gradient, 1 - beta2)
