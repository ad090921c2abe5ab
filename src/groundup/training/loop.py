"""The training loop, as a generator: it computes, the stage that consumes its ticks logs, saves and evaluates.

There are no callbacks. A stage stops training by not asking for the next tick; resuming is passing a state whose step
is not 0, because batches and learning rates are functions of the step.
"""

import math
import time
from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor

from groundup.batches.batch import BatchSource
from groundup.core.errors import GroundupError
from groundup.optim.build import clip_gradients, set_learning_rates
from groundup.optim.config import OptimizerConfig
from groundup.optim.schedules import learning_rate_fraction
from groundup.training.objectives import Objective
from groundup.training.state import TrainState


class Diverged(GroundupError, ArithmeticError):
    """The loss or its gradient became infinite or not a number."""


class Tick(NamedTuple):
    """One finished step. `step` counts finished steps, so the first tick says 1; `seconds` is the step's wall time."""

    step: int
    loss: float
    gradient_norm: float
    learning_rate: float
    tokens: int
    seconds: float
    metrics: dict[str, float]


def train(
    state: TrainState, source: BatchSource, objective: Objective, config: OptimizerConfig, steps: int
) -> Iterator[Tick]:
    """Train from `state.step` to `steps`, yielding after each step."""
    state.model.train()
    while state.step < steps:
        start = time.perf_counter()
        batch = source.batch(state.step)
        loss, metrics = objective(state.model, batch)
        value = loss.item()
        require_finite("loss", value, state.step, config)
        norm, learning_rate = update(state, loss, config, steps)
        seconds = time.perf_counter() - start
        yield Tick(state.step, value, norm, learning_rate, batch.tokens_BT.numel(), seconds, metrics)


def update(state: TrainState, loss: Tensor, config: OptimizerConfig, steps: int) -> tuple[float, float]:
    """Backward, clip, step; counts the step. Returns the gradient norm before clipping, and AdamW's learning rate."""
    loss.backward()
    norm = clip_gradients(state.model, config.clip_norm)
    require_finite("gradient norm", norm, state.step, config)  # before the step: no checkpoint may hold NaN weights
    fraction = learning_rate_fraction(config, state.step, steps)
    set_learning_rates(state.optimizers, fraction)
    for optimizer in state.optimizers:
        optimizer.step()
        optimizer.zero_grad()
    state.model.after_step()
    state.step += 1
    return norm, config.learning_rate * fraction


def require_finite(name: str, value: float, finished_steps: int, config: OptimizerConfig) -> None:
    """Stop before a number that has blown up reaches the weights."""
    if not math.isfinite(value):
        raise Diverged(
            f"The {name} is {value} at step {finished_steps + 1}; lower the learning rate "
            f"(now {config.learning_rate:g}, matrices {config.matrix_learning_rate:g}) or check the data."
        )
