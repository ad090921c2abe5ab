"""SOAP: Adam in the eigenbasis of Shampoo (Vyas et al. 2024, arXiv:2409.11321, algorithms 3 and 4).

    G' = Q_Lᵀ G Q_R          M ← β₁M + (1-β₁)G        M' = Q_Lᵀ M Q_R
    V ← β₂V + (1-β₂)G'²      N' = M'/(1-β₁ᵗ) / (√(V/(1-β₂ᵗ)) + ε)
    W ← W - α·λ·W            W ← W - α · Q_L N' Q_Rᵀ
    L ← β₂L + (1-β₂)GGᵀ      R ← β₂R + (1-β₂)GᵀG
    every `frequency` steps: Q_L ← QR(L Q_L),  Q_R ← QR(R Q_R)      one step of power iteration towards eigenvectors

Adam's scaling of entries depends on the basis; in that of the gradients' covariances entries are the least correlated.
The first gradient only makes L, R and, by an exact decomposition, Q_L and Q_R, as in the authors' program: in its own
basis a gradient is diagonal, and Adam would blow up the rounding errors beside the diagonal. That program keeps M in
the rotated space; here, as in the paper, it stays where it is, two products a step more, and turning needs nothing.
V stays as it is when the basis turns a little, in both.

Costs 8 products of the size of the weights times their sides a step, and (rows² + columns²) · 2 numbers of state. A
side longer than `largest_side` has Q = 1. A vector has no sides, so this is AdamW. A stack of matrices is taken matrix
by matrix.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from groundup.optim.adamw import adamw_step
from groundup.optim.per_parameter import PerParameter


class Soap(PerParameter):
    """Adam in the eigenbasis of the gradients' covariances, with decoupled weight decay."""

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        betas: tuple[float, float] = (0.95, 0.95),
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
        frequency: int = 10,
        largest_side: int = 2048,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "epsilon": epsilon, "weight_decay": weight_decay}
        super().__init__(params, defaults | {"frequency": frequency, "largest_side": largest_side})

    def update(self, weights: Tensor, gradient: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        if weights.ndim < 2:
            adamw_step(weights, gradient, group, state)
            return
        if "step" not in state:
            start(state, gradient, group)
            return
        state["step"] += 1
        step, (beta1, beta2) = state["step"], group["betas"]
        state["mean"].lerp_(gradient, 1 - beta1)
        turned = into_basis(gradient, state)
        state["mean_square"].mul_(beta2).addcmul_(turned, turned, value=1 - beta2)
        root = (state["mean_square"] / (1 - beta2**step)).sqrt_().add_(group["epsilon"])
        update = out_of_basis(into_basis(state["mean"], state) / root, state)
        weights.mul_(1 - group["lr"] * group["weight_decay"])
        weights.add_(update, alpha=-group["lr"] / (1 - beta1**step))
        for name, covariance in covariances(gradient, group["largest_side"]).items():
            state[name].lerp_(covariance, 1 - beta2)
            if step % group["frequency"] == 0:
                basis = torch.linalg.qr(state[name] @ state[f"{name}_basis"]).Q
                state[f"{name}_basis"] = basis.contiguous()  # as it is when it comes from a checkpoint


def start(state: dict[str, Any], gradient: Tensor, group: dict[str, Any]) -> None:
    """The state after the first gradient."""
    state |= {"step": 0, "mean": torch.zeros_like(gradient), "mean_square": torch.zeros_like(gradient)}
    for name, covariance in covariances(gradient, group["largest_side"]).items():
        state[name] = (1 - group["betas"][1]) * covariance
        state[f"{name}_basis"] = torch.linalg.eigh(covariance).eigenvectors.flip(-1).contiguous()  # largest first


def covariances(gradient: Tensor, largest_side: int) -> dict[str, Tensor]:
    """GGᵀ and GᵀG, as far as their sides are short enough."""
    found = {}
    if gradient.shape[-2] <= largest_side:
        found["left"] = gradient @ gradient.mT
    if gradient.shape[-1] <= largest_side:
        found["right"] = gradient.mT @ gradient
    return found


def into_basis(matrix: Tensor, state: dict[str, Any]) -> Tensor:
    """Q_Lᵀ X Q_R."""
    if "left_basis" in state:
        matrix = state["left_basis"].mT @ matrix
    return matrix @ state["right_basis"] if "right_basis" in state else matrix


def out_of_basis(matrix: Tensor, state: dict[str, Any]) -> Tensor:
    """Q_L X Q_Rᵀ."""
    if "left_basis" in state:
        matrix = state["left_basis"] @ matrix
    return matrix @ state["right_basis"].mT if "right_basis" in state else matrix
