"""Adam (Kingma and Ba 2015, arXiv:1412.6980, algorithm 1).

    m ← β₁m + (1-β₁)g        v ← β₂v + (1-β₂)g²
    θ ← θ - α · m/(1-β₁ᵗ) / (√(v/(1-β₂ᵗ)) + ε)

g holds weight decay, g + λθ, which the division then makes small where gradients are large; AdamW keeps it out.
Moments are fp32 whatever the parameter's dtype: with 8 bits, bf16 would lose small (1-β₂)g² beside v.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from groundup.optim.master import master_of
from groundup.optim.per_parameter import PerParameter, with_decay


class Adam(PerParameter):
    """Two moments for each entry. `one_pass` may be a compiled `adam_in_one_pass`, which then does every update of a
    parameter that has a master, without weight decay or with the decoupled kind."""

    decoupled = False

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.95),
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "epsilon": epsilon, "weight_decay": weight_decay})
        self.one_pass: Callable[..., None] | None = None

    def update_parameter(
        self, parameter: Tensor, gradient: Tensor, group: dict[str, Any], state: dict[str, Any]
    ) -> None:
        weights = master_of(parameter, state)
        if self.one_pass is None or weights is parameter or (group["weight_decay"] and not self.decoupled):
            super().update_parameter(parameter, gradient, group, state)
            return
        mean, mean_square, numbers = moments(weights, group, state)
        kept = 1 - group["lr"] * group["weight_decay"]
        flat = [each.detach().view(-1) for each in (parameter, weights, gradient.contiguous(), mean, mean_square)]
        beta1, beta2 = group["betas"]
        self.one_pass(*flat, torch.tensor([*numbers, kept, 1 - beta1, beta2, 1 - beta2, group["epsilon"]]))

    def update(self, weights: Tensor, gradient: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        adam_step(weights, with_decay(gradient, weights, group), group, state)


def adam_step(weights: Tensor, gradient: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
    """The formula without weight decay."""
    mean, mean_square, (rate, correction) = moments(weights, group, state)
    beta1, beta2 = group["betas"]
    mean.lerp_(gradient, 1 - beta1)
    mean_square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    root = (mean_square / correction).sqrt_().add_(group["epsilon"])
    weights.addcdiv_(mean, root, value=-rate)


def moments(
    weights: Tensor, group: dict[str, Any], state: dict[str, Any]
) -> tuple[Tensor, Tensor, tuple[float, float]]:
    """Count a step; returns m and v, and the numbers α/(1-β₁ᵗ) and 1-β₂ᵗ."""
    if "step" not in state:
        state |= {"step": 0, "mean": torch.zeros_like(weights), "mean_square": torch.zeros_like(weights)}
    state["step"] += 1
    (beta1, beta2), steps = group["betas"], state["step"]
    return state["mean"], state["mean_square"], (group["lr"] / (1 - beta1**steps), 1 - beta2**steps)


def adam_in_one_pass(
    parameter_N: Tensor, weights_N: Tensor, gradient_N: Tensor, mean_N: Tensor, mean_square_N: Tensor, numbers: Tensor
) -> None:
    """All of an update, to be compiled: each tensor is read and written once, where single operations pass over memory
    a dozen times. `numbers` are α/(1-β₁ᵗ), 1-β₂ᵗ, 1-αλ, 1-β₁, β₂, 1-β₂, ε; in a tensor, because they change with the
    step and a compiler would take numbers for constants."""
    rate, correction, kept, new1, beta2, new2, epsilon = numbers.unbind()
    gradient32_N = gradient_N.float()
    new_mean_N = mean_N + new1 * (gradient32_N - mean_N)
    new_mean_square_N = beta2 * mean_square_N + new2 * gradient32_N * gradient32_N
    root_N = torch.sqrt(new_mean_square_N / correction) + epsilon
    new_weights_N = kept * weights_N - rate * new_mean_N / root_N
    mean_N.copy_(new_mean_N)
    mean_square_N.copy_(new_mean_square_N)
    weights_N.copy_(new_weights_N)
    parameter_N.copy_(new_weights_N)
