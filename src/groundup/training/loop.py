"""The training loop, as a generator: it computes, the stage that consumes its ticks logs, saves and evaluates.

There are no callbacks. A stage stops training by not asking for the next tick; resuming is passing a state whose step
is not 0, because batches and learning rates are functions of the step.
"""

import math
import statistics
import time
from collections.abc import Iterator
from contextlib import nullcontext
from typing import NamedTuple

from groundup.batches.batch import Batch, BatchSource
from groundup.core.errors import GroundupError
from groundup.optim.build import clip_gradients, gradient_norms, set_learning_rates
from groundup.optim.config import OptimizerConfig
from groundup.optim.schedules import learning_rate_fraction
from groundup.training.config import GuardConfig
from groundup.training.gradients import backward
from groundup.training.guard import is_spike
from groundup.training.inspection import update_ratios
from groundup.training.objectives import Objective
from groundup.training.state import TrainState


class Diverged(GroundupError, ArithmeticError):
    """The loss or its gradient became infinite or not a number."""


class Tick(NamedTuple):
    """One finished step. `step` counts finished steps, so the first tick says 1; `seconds` is the step's wall time;
    `skipped`, that the guard did not let the update happen; `overflowed`, that fp16 did not."""

    step: int
    loss: float
    gradient_norm: float
    learning_rate: float
    tokens: int
    seconds: float
    metrics: dict[str, float]
    skipped: bool = False
    overflowed: bool = False


def train(
    state: TrainState,
    source: BatchSource,
    objective: Objective,
    config: OptimizerConfig,
    steps: int,
    parts: int = 1,
    guard: GuardConfig | None = None,
    inspect_every: int = 0,
    average_every: int = 1,
) -> Iterator[Tick]:
    """Train from `state.step` to `steps`, yielding after each step; a batch passes the model in `parts`. The metrics of
    every so many steps hold what `inspection.py` measures."""
    state.model.train()
    while state.step < steps:
        start = time.perf_counter()
        batch = source.batch(state.step + state.passed_over)
        loss, metrics = differentiate(state, batch, objective, parts)
        inspected = inspect_every > 0 and (state.step + 1) % inspect_every == 0
        if inspected:
            metrics |= {f"gradient_norm_{name}": each for name, each in gradient_norms(state.optimizers).items()}
        norm = clip_gradients(state.model, config.clip_norm)
        overflowed = math.isfinite(loss) and overflows(state, norm)
        skipped = guard is not None and guard.factor > 0 and is_spike(loss, norm, state.recent_norms, guard)
        skipped = skipped and not overflowed
        if overflowed or skipped:
            state.skips += skipped
            learning_rate = skip(state, config, steps)
        else:
            state.skips = 0
            require_finite("loss", loss, state.step, config)
            require_finite("gradient norm", norm, state.step, config)  # no checkpoint may hold NaN weights
            with update_ratios(state.optimizers, metrics) if inspected else nullcontext():
                learning_rate = step(state, config, steps)
            if state.average is not None and state.step % average_every == 0:
                state.average.update(state.weights())
            state.recent_norms = [*state.recent_norms, norm][-guard.window :] if guard is not None else []
        tokens, seconds = batch.tokens_BT.numel(), time.perf_counter() - start
        yield Tick(state.step, loss, norm, learning_rate, tokens, seconds, metrics, skipped, overflowed)
        if guard is not None and state.skips >= guard.patience:
            usual = statistics.median(state.recent_norms or [math.nan])
            raise Diverged(
                f"{state.skips} updates in a row were skipped, the last at step {state.step}: loss {loss:.4g}, "
                f"gradient norm {norm:.4g}, median of the last {len(state.recent_norms)} others {usual:.4g}. Lower the "
                "learning rate or check the data."
            )


def differentiate(state: TrainState, batch: Batch, objective: Objective, parts: int) -> tuple[float, dict[str, float]]:
    """Fill the gradients; in fp16 those of the scaled loss, unscaled again. Returns the loss and metrics."""
    scaler = state.scaler
    if scaler is None:
        return backward(state.model, batch, objective, parts, state.precision)
    loss, metrics = backward(state.model, batch, objective, parts, state.precision, scaler.scale)
    scaler.unscale(state.model)
    return loss, metrics | {"loss_scale": scaler.scale}


def overflows(state: TrainState, norm: float) -> bool:
    """Whether fp16 could not hold the gradients of a scaled loss; the scaler learns of it. Its norm alone tells: it is
    not finite where one of them is not."""
    if state.scaler is None:
        return False
    state.scaler.update(math.isfinite(norm))
    if state.scaler.exhausted:
        raise Diverged(
            f"The gradient norm is {norm} at step {state.step + 1}, however small the loss is scaled for fp16 (by "
            f"{2 * state.scaler.scale:g} now). Lower the learning rate, check the data, or train in bfloat16."
        )
    return not math.isfinite(norm)


def update(state: TrainState, config: OptimizerConfig, steps: int) -> tuple[float, float]:
    """Clip the gradients, of a scaled loss in fp16, and step. Returns the gradient norm before clipping, and the
    learning rate."""
    if state.scaler is not None:
        state.scaler.unscale(state.model)
    norm = clip_gradients(state.model, config.clip_norm)
    if overflows(state, norm):
        return norm, skip(state, config, steps)
    require_finite("gradient norm", norm, state.step, config)  # no checkpoint may hold NaN weights
    return norm, step(state, config, steps)


def step(state: TrainState, config: OptimizerConfig, steps: int) -> float:
    """Step the optimizers and count the step; returns the learning rate, AdamW's."""
    fraction = learning_rate_fraction(config, state.step, steps)
    set_learning_rates(state.optimizers, fraction)
    for optimizer in state.optimizers:
        optimizer.step()
        optimizer.zero_grad()
    state.model.after_step()
    state.step += 1
    return config.learning_rate * fraction


def skip(state: TrainState, config: OptimizerConfig, steps: int) -> float:
    """Count a step without an update; returns the learning rate that it would have had."""
    for optimizer in state.optimizers:
        optimizer.zero_grad()
    state.step += 1
    return config.learning_rate * learning_rate_fraction(config, state.step - 1, steps)


def require_finite(name: str, value: float, finished_steps: int, config: OptimizerConfig) -> None:
    """Stop before a number that has blown up reaches the weights."""
    if not math.isfinite(value):
        raise Diverged(
            f"The {name} is {value} at step {finished_steps + 1}; lower the learning rate "
            f"(now {config.learning_rate:g}, matrices {config.matrix_rate(config.matrices):g}) or check the data."
        )
