"""AdamW: Adam with decoupled weight decay (Loshchilov & Hutter 2019, arXiv:1711.05101, algorithm 2).

    θ ← θ - α·λ·θ            then Adam's step by the gradient alone

Decay is the same share for all weights, however large their gradients, and follows the schedule with the learning rate.
"""

from typing import Any

from torch import Tensor

from groundup.optim.adam import Adam, adam_step


class AdamW(Adam):
    """Adam whose weight decay acts on the weights instead of the gradient."""

    decoupled = True

    def update(self, weights: Tensor, gradient: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        adamw_step(weights, gradient, group, state)


def adamw_step(weights: Tensor, gradient: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
    weights.mul_(1 - group["lr"] * group["weight_decay"])
    adam_step(weights, gradient, group, state)
