"""AdaGrad, its diagonal form (Duchi et al. 2011).

    s ← s + g²               θ ← θ - α · g/(√s + ε)

g holds weight decay, g + λθ. Entries with seldom gradients keep a high rate; every rate only falls.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from groundup.optim.per_parameter import PerParameter, with_decay


class AdaGrad(PerParameter):
    """Rates that fall with the sum of squared gradients."""

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        epsilon: float = 1e-10,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "epsilon": epsilon, "weight_decay": weight_decay})

    def update(self, weights: Tensor, gradient: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        gradient = with_decay(gradient, weights, group)
        if "square_sum" not in state:
            state["square_sum"] = torch.zeros_like(weights)
        state["square_sum"].addcmul_(gradient, gradient)
        weights.addcdiv_(gradient, state["square_sum"].sqrt().add_(group["epsilon"]), value=-group["lr"])
