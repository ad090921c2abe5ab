"""AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101, algorithm 2).

    m ← β₁m + (1-β₁)g        v ← β₂v + (1-β₂)g²
    θ ← θ - α·λ·θ            θ ← θ - α · m/(1-β₁ᵗ) / (√(v/(1-β₂ᵗ)) + ε)

Moments are fp32 whatever the parameter's dtype: with 8 bits, bf16 would lose small (1-β₂)g² beside v.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from groundup.optim.master import master_of, publish


class AdamW(torch.optim.Optimizer):
    """AdamW with decoupled weight decay and fp32 master weights for low-precision parameters."""

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.95),
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "epsilon": epsilon, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        loss = closure() if closure is not None else None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad.float(), group, self.state[parameter])
        return loss

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        master = master_of(parameter, state)
        if "step" not in state:
            state |= {"step": 0, "mean": torch.zeros_like(master), "mean_square": torch.zeros_like(master)}
        state["step"] += 1
        beta1, beta2 = group["betas"]
        state["mean"].lerp_(gradient, 1 - beta1)
        state["mean_square"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        master.mul_(1 - group["lr"] * group["weight_decay"])
        root = (state["mean_square"] / (1 - beta2 ** state["step"])).sqrt_().add_(group["epsilon"])
        master.addcdiv_(state["mean"], root, value=-group["lr"] / (1 - beta1 ** state["step"]))
        publish(parameter, master)
