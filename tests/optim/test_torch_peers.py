"""Our optimizers are PyTorch's, where PyTorch has them, over 1,000 steps of a training in fp32."""

from typing import Any

import pytest
import torch
from optimizer_kinds import optimizer_for
from torch import Tensor

from groundup.optim import optimizer_config as kinds

STEPS = 1000
PEERS: dict[str, tuple[kinds.Optimizer, type[torch.optim.Optimizer], dict[str, Any]]] = {
    "sgd": (kinds.Sgd(momentum=0.0), torch.optim.SGD, {}),
    "momentum": (kinds.Sgd(momentum=0.9), torch.optim.SGD, {"momentum": 0.9}),
    "dampened": (kinds.Sgd(momentum=0.9, dampening=0.4), torch.optim.SGD, {"momentum": 0.9, "dampening": 0.4}),
    "nesterov": (kinds.Sgd(momentum=0.9, nesterov=True), torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    "adagrad": (kinds.AdaGrad(), torch.optim.Adagrad, {}),
    "rmsprop": (kinds.RmsProp(), torch.optim.RMSprop, {}),
    "rmsprop centered": (kinds.RmsProp(0.9, 1e-6, centered=True), torch.optim.RMSprop,
                         {"alpha": 0.9, "eps": 1e-6, "centered": True}),
    "rmsprop momentum": (kinds.RmsProp(momentum=0.8), torch.optim.RMSprop, {"momentum": 0.8}),
    "adam": (kinds.Adam(), torch.optim.Adam, {"betas": (0.9, 0.95)}),
    "adam, long memory": (kinds.Adam(0.8, 0.999, 1e-6), torch.optim.Adam, {"betas": (0.8, 0.999), "eps": 1e-6}),
    "adamw": (kinds.AdamW(), torch.optim.AdamW, {"betas": (0.9, 0.95)}),
    "adamw, long memory": (kinds.AdamW(0.8, 0.999, 1e-6), torch.optim.AdamW, {"betas": (0.8, 0.999), "eps": 1e-6}),
}  # fmt: skip


@torch.no_grad()
def fitted_line(optimizer: torch.optim.Optimizer, parameters: list[torch.nn.Parameter]) -> list[Tensor]:
    """Fit y = Wx + b to noisy batches of four; the weights after every hundredth step."""
    generator = torch.Generator().manual_seed(1)
    truth_OI = torch.randn(3, 4, generator=generator)
    inputs_SBI, noise_SBO = (torch.randn(STEPS, 4, size, generator=generator) for size in (4, 3))
    weights_OI, bias_O = parameters
    seen = []
    for step, (x_BI, noise_BO) in enumerate(zip(inputs_SBI, noise_SBO, strict=True)):
        optimizer.param_groups[0]["lr"] = 0.01 * (1 + step % 3)  # as a schedule does
        error_BO = x_BI @ (weights_OI - truth_OI).T + bias_O - noise_BO
        weights_OI.grad, bias_O.grad = error_BO.T @ x_BI / 6, error_BO.sum(0) / 6  # of the mean square of 12 errors
        optimizer.step()
        if step % 100 == 99:
            seen.append(torch.cat([parameter.detach().flatten() for parameter in parameters]))
    return seen


def start() -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((3, 4), (3,))]


@pytest.mark.parametrize(
    ("name", "weight_decay"),
    [*((name, 0.1) for name in PEERS), *((name, 0.0) for name in ("nesterov", "adagrad", "rmsprop momentum", "adamw"))],
)
def test_it_is_pytorchs(name: str, weight_decay: float) -> None:
    kind, peer, settings = PEERS[name]
    ours, theirs = start(), start()
    found = fitted_line(optimizer_for(kind, ours, weight_decay=weight_decay), ours)
    expected = fitted_line(peer(theirs, lr=0.01, weight_decay=weight_decay, **settings), theirs)
    assert (expected[0] - expected[-1]).abs().max() > 1e-3, "the training moves"
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)
