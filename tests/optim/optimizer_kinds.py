"""One of each optimizer as data, and trainings of a few plain tensors with them."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from groundup.optim import optimizer_config as kinds
from groundup.optim.build import make

KINDS: dict[str, kinds.Optimizer] = {
    "sgd": kinds.Sgd(),
    "sgd plain": kinds.Sgd(momentum=0.0),
    "sgd nesterov": kinds.Sgd(momentum=0.8, nesterov=True),
    "adagrad": kinds.AdaGrad(),
    "rmsprop": kinds.RmsProp(),
    "rmsprop centered": kinds.RmsProp(momentum=0.7, centered=True),
    "adam": kinds.Adam(),
    "adamw": kinds.AdamW(),
    "lion": kinds.Lion(),
    "muon": kinds.Muon(),
    "soap": kinds.Soap(frequency=3),
    "soap, one side": kinds.Soap(frequency=2, largest_side=6),
}
SHAPES = [(6, 4), (4, 8), (2, 3, 5), (5,)]  # tall, wide, a stack of two, a vector


def parameters_for(
    kind: kinds.Optimizer, dtype: torch.dtype = torch.float32, seed: int = 0
) -> list[torch.nn.Parameter]:
    """Of all shapes that it takes."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [shape for shape in SHAPES if len(shape) > 1 or not isinstance(kind, kinds.Muon)]
    return [torch.nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in shapes]


def optimizer_for(
    kind: kinds.Optimizer, parameters: Iterable[Tensor], lr: float = 0.01, weight_decay: float = 0.1
) -> torch.optim.Optimizer:
    return make(kind, [{"params": list(parameters), "weight_decay": weight_decay}], lr)


def set_gradients(parameters: Iterable[Tensor], step: int) -> None:
    """Gradients of sizes from 1 to 1e-3, a function of the step."""
    generator = torch.Generator().manual_seed(1000 + step)
    for parameter in parameters:
        gradient = 10.0 ** -(step % 4) * torch.randn(parameter.shape, generator=generator)
        parameter.grad = gradient.to(parameter.dtype)


def run(optimizer: torch.optim.Optimizer, parameters: list[torch.nn.Parameter], steps: Iterable[int]) -> None:
    for step in steps:
        set_gradients(parameters, step)
        optimizer.step()


def saved(optimizer: torch.optim.Optimizer, parameters: list[torch.nn.Parameter]) -> list[dict[str, Any]]:
    """The state of each parameter as a file keeps it: contiguous copies, numbers as tensors."""
    slots = [optimizer.state[parameter] for parameter in parameters]
    return [
        {
            key: torch.as_tensor(value).detach().clone(memory_format=torch.contiguous_format)
            for key, value in slot.items()
        }
        for slot in slots
    ]


def restored(slot: dict[str, Tensor]) -> dict[str, Any]:
    """As `TrainState.resumed` reads it."""
    return {key: int(value) if key == "step" else value for key, value in slot.items()}
