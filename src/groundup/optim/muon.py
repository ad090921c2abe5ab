"""Muon: momentum whose update is made orthogonal (Jordan et al. 2024, kellerjordan.github.io/posts/muon).

    M ← μM + (1-μ)g          G = (1-μ)g + μM  (Nesterov)
    O = NewtonSchulz(G)      ≈ U Vᵀ of the singular value decomposition G = U Σ Vᵀ
    W ← W - α·λ·W            W ← W - α·√max(1, rows/columns)·O

Every direction of a weight matrix gets an update of the same size, where Adam scales entries. Newton-Schulz reaches it
by five matrix polynomials X ← aX + b(XXᵀ)X + c(XXᵀ)²X with coefficients chosen for a fast rise of small singular values
(they end between about 0.7 and 1.2, not at 1, which does not hurt). It runs in bf16, where that is the fast dtype.
For hidden matrices only; embeddings, unembedding and gains belong to AdamW.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from groundup.optim.master import master_of, publish

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


class Muon(torch.optim.Optimizer):
    """Orthogonalised momentum for matrices and stacks of them (experts), with fp32 masters for low-precision ones."""

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        iterations: int = 5,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "iterations": iterations}
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        super().add_param_group(param_group)
        for parameter in self.param_groups[-1]["params"]:
            assert parameter.ndim >= 2, f"Muon takes matrices, not a tensor of shape {tuple(parameter.shape)}"

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        loss = closure() if closure is not None else None
        for group in self.param_groups:
            by_shape: dict[tuple[int, ...], list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape.setdefault(tuple(parameter.shape), []).append(parameter)
            for parameters in by_shape.values():
                self._update(group, parameters)
        return loss

    def _update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        """Update parameters of one shape together: their Newton-Schulz products are one batched product."""
        updates = []
        for parameter in parameters:
            state = self.state[parameter]
            master = master_of(parameter, state)
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(master)
            assert parameter.grad is not None
            gradient = parameter.grad.to(master.dtype)
            state["momentum"].lerp_(gradient, 1 - group["momentum"])
            updates.append(gradient.lerp(state["momentum"], group["momentum"]))
        orthogonal = orthogonalize(torch.stack(updates), group["iterations"])
        rows, columns = parameters[0].shape[-2:]
        scale = max(1.0, rows / columns) ** 0.5
        for parameter, update in zip(parameters, orthogonal, strict=True):
            master = master_of(parameter, self.state[parameter])
            master.mul_(1 - group["lr"] * group["weight_decay"])
            master.add_(update.to(master.dtype), alpha=-group["lr"] * scale)
            publish(parameter, master)


def orthogonalize(matrices: Tensor, iterations: int = 5) -> Tensor:
    """Nearest (semi-)orthogonal matrices, approximately, of a (..., rows, columns) stack; bf16."""
    a, b, c = COEFFICIENTS
    tall = matrices.shape[-2] > matrices.shape[-1]
    wide = matrices.mT if tall else matrices
    # Contiguous, because products of transposed stacks are slower; and each sum is part of the product before it.
    x = wide.reshape(-1, *wide.shape[-2:]).bfloat16().contiguous()
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)  # singular values at most 1, which the polynomial needs
    for _ in range(iterations):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    x = x.reshape(wide.shape)
    return x.mT if tall else x
