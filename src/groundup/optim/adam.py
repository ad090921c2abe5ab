"""Adam (Kingma and Ba 2015, arXiv:1412.6980, algorithm 1).

    m ← β₁m + (1-β₁)g        v ← β₂v + (1-β₂)g²
    θ ← θ - α · m/(1-β₁ᵗ) / (√(v/(1-β₂ᵗ)) + ε)

g holds weight decay, g + λθ, which the division then makes small where gradients are large; AdamW keeps it out.
Moments are fp32 whatever the parameter's dtype: with 8 bits, bf16 would lose small (1-β₂)g² beside v.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from groundup.optim.per_parameter import PerParameter, with_decay


class Adam(PerParameter):
    """Two moments for each entry."""

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.95),
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "epsilon": epsilon, "weight_decay": weight_decay})

    def update(self, weights: Tensor, gradient: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        adam_step(weights, with_decay(gradient, weights, group), group, state)


def adam_step(weights: Tensor, gradient: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
    """The formula without weight decay."""
    if "step" not in state:
        state |= {"step": 0, "mean": torch.zeros_like(weights), "mean_square": torch.zeros_like(weights)}
    state["step"] += 1
    beta1, beta2 = group["betas"]
    state["mean"].lerp_(gradient, 1 - beta1)
    state["mean_square"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    root = (state["mean_square"] / (1 - beta2 ** state["step"])).sqrt_().add_(group["epsilon"])
    weights.addcdiv_(state["mean"], root, value=-group["lr"] / (1 - beta1 ** state["step"]))
