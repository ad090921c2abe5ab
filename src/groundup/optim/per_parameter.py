"""Optimizers whose update of a parameter looks at that parameter only: the loop over them, fp32 gradients and masters.

A plain loop: calls on all tensors at once (`torch._foreach_*`) run the same kernels one after the other on a CPU.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from groundup.optim.master import master_of, publish


class PerParameter(torch.optim.Optimizer):
    """A subclass says in `update` how the fp32 weights change. Its state holds tensors and whole numbers only, which
    checkpoints can keep; a fresh parameter's is empty."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        loss = closure() if closure is not None else None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self.update_parameter(parameter, parameter.grad, group, self.state[parameter])
        return loss

    def update_parameter(
        self, parameter: Tensor, gradient: Tensor, group: dict[str, Any], state: dict[str, Any]
    ) -> None:
        """Update a parameter of any dtype by its gradient."""
        weights = master_of(parameter, state)
        self.update(weights, gradient.to(weights.dtype), group, state)
        publish(parameter, weights)

    def update(self, weights: Tensor, gradient: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        """Change the fp32 weights in place, by their fp32 gradient, which must not be changed (or both fp64)."""
        raise NotImplementedError


def with_decay(gradient: Tensor, weights: Tensor, group: dict[str, Any]) -> Tensor:
    """g + λθ: weight decay as part of the gradient, that of λ/2 ‖θ‖²."""
    return gradient.add(weights, alpha=group["weight_decay"]) if group["weight_decay"] else gradient
