"""The loop: it learns, says what it did, and stops before a blown-up number reaches the weights."""

import math
from collections.abc import Callable

import pytest
import torch
from tiny_training import OPTIMIZERS, STEPS, VOCAB, everything, fresh, optimizer_config, run, source
from torch import Tensor

from groundup.batches.batch import Batch
from groundup.core.errors import GroundupError
from groundup.models.decoder import Decoder
from groundup.optim.schedules import learning_rate_fraction
from groundup.training.loop import Diverged, train
from groundup.training.objectives import next_token


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("matrix", OPTIMIZERS)
def test_it_learns_a_regular_text(matrix: str, dtype: torch.dtype) -> None:
    """A token follows from the one before in 95 of 100 cases: -Σ p ln p is about 0.35 nats, a guess ln 23 = 3.1."""
    config = optimizer_config(matrices=OPTIMIZERS[matrix], learning_rate=0.01)
    losses = [tick.loss for tick in run(fresh(config, dtype), config, 80, steps=80)]
    assert losses[0] == pytest.approx(math.log(VOCAB), abs=0.1)
    assert sum(losses[-10:]) / 10 < 0.7


def test_a_tick_says_what_happened() -> None:
    config = optimizer_config(learning_rate=0.01)
    state = fresh(config)
    ticks = run(state, config, STEPS)
    assert [tick.step for tick in ticks] == list(range(1, STEPS + 1))
    assert [tick.tokens for tick in ticks] == [8 * 16] * STEPS
    assert all(tick.seconds > 0 and tick.gradient_norm > 0 and tick.metrics == {} for tick in ticks)
    expected = [0.01 * learning_rate_fraction(config, step, STEPS) for step in range(STEPS)]
    assert [tick.learning_rate for tick in ticks] == pytest.approx(expected)
    assert state.step == STEPS
    assert all(parameter.grad is None for parameter in state.model.parameters())


def test_the_loss_of_a_tick_is_that_of_its_batch_before_the_update() -> None:
    config = optimizer_config()
    state = fresh(config)
    for step in range(3):
        expected = next_token(state.model, source().batch(step))[0].item()
        assert run(state, config, step + 1)[0].loss == expected


def test_nothing_is_computed_ahead_of_being_asked() -> None:
    config = optimizer_config()
    state = fresh(config)
    ticks = train(state, source(), next_token, config, STEPS)
    assert state.step == 0
    next(ticks)
    assert state.step == 1
    del ticks
    assert state.step == 1


def test_metrics_of_the_objective_are_passed_on() -> None:
    def objective(model: Decoder, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        return next_token(model, batch)[0], {"accuracy": 0.5}

    config = optimizer_config()
    assert next(train(fresh(config), source(), objective, config, 2)).metrics == {"accuracy": 0.5}


def infinite_loss(loss: Tensor) -> Tensor:
    return loss * math.inf


def nan_loss(loss: Tensor) -> Tensor:
    return loss * math.nan


def nan_gradient(loss: Tensor) -> Tensor:
    """A finite loss with a gradient that is not: √ at 0, times 0."""
    return loss + 0 * (loss - loss.detach()).sqrt()


@pytest.mark.parametrize(
    ("harm", "message"),
    [(infinite_loss, "loss is inf"), (nan_loss, "loss is nan"), (nan_gradient, "gradient norm is nan")],
)
def test_a_number_that_blows_up_stops_the_training_before_it_reaches_the_weights(
    harm: Callable[[Tensor], Tensor], message: str
) -> None:
    config = optimizer_config(learning_rate=0.01, matrix_learning_rate=0.5)
    state = fresh(config)

    def objective(model: Decoder, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        loss, metrics = next_token(model, batch)
        return (harm(loss) if state.step == 2 else loss), metrics

    ticks = train(state, source(), objective, config, STEPS)
    next(ticks)
    next(ticks)
    before = everything(state)
    with pytest.raises(Diverged, match=rf"The {message} at step 3; lower the learning rate \(now 0.01, matrices 0.5\)"):
        next(ticks)
    assert everything(state) == before
    assert issubclass(Diverged, GroundupError)


def test_a_large_gradient_is_clipped_and_its_norm_told_before_clipping() -> None:
    config = optimizer_config(clip_norm=1e-3)
    state = fresh(config)
    seen = []
    for optimizer in state.optimizers:
        step = optimizer.step
        optimizer.step = lambda step=step: (seen.append(_norm(state.model)), step())  # type: ignore[method-assign]
    tick = run(state, config, 1)[0]
    assert tick.gradient_norm > 0.05
    assert seen[0] == pytest.approx(1e-3, rel=1e-2)


def _norm(model: Decoder) -> float:
    return math.sqrt(sum(p.grad.square().sum().item() for p in model.parameters() if p.grad is not None))
