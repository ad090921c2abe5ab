"""The loss scaler beside torch.amp.GradScaler, and in a training that overflows."""

import itertools
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_training import MODEL, everything, fresh, optimizer_config, source, tokenizer_folder
from torch import Tensor, nn

from groundup.batches.batch import Batch
from groundup.checkpoint.store import latest_checkpoint
from groundup.models.language_model import LanguageModel
from groundup.training.config import GuardConfig
from groundup.training.loop import Diverged, Tick, train
from groundup.training.loss_scaler import FINITE_STEPS, FIRST_SCALE, LossScaler
from groundup.training.objectives import next_token
from groundup.training.state import TrainState

GUARD = GuardConfig(factor=8.0, window=16, patience=3)


def weights(state: TrainState) -> list[float]:
    return [parameter.double().sum().item() for parameter in state.model.parameters()]


@given(st.lists(st.sampled_from([1.0, 1.0, 1.0, 1.0, math.inf, math.nan]), max_size=60), st.integers(1, 5))
def test_the_scale_is_that_of_grad_scaler(gradients: list[float], interval: int) -> None:
    ours = LossScaler(interval=interval)
    theirs = torch.amp.GradScaler("cpu", growth_interval=interval)
    weight = nn.Parameter(torch.ones(()))
    optimizer = torch.optim.SGD([weight], lr=1e-3)
    for gradient in gradients:
        assert ours.scale == theirs.get_scale()
        theirs.scale(weight * 1.0)  # it begins to scale lazily
        weight.grad = torch.tensor(gradient) * ours.scale
        before = weight.item()
        theirs.step(optimizer)
        theirs.update()
        ours.update(math.isfinite(gradient))
        assert (weight.item() != before) == math.isfinite(gradient)
    assert ours.scale == theirs.get_scale()
    assert ours.state() == {"scale": theirs.get_scale(), "finite_steps": theirs.state_dict()["_growth_tracker"]}


def test_it_has_the_constants_of_grad_scaler_and_stops_at_the_largest_scale() -> None:
    theirs = torch.amp.GradScaler("cpu")
    assert (theirs.get_scale(), theirs.get_growth_interval()) == (FIRST_SCALE, FINITE_STEPS) == (65536.0, 2000)
    assert (theirs.get_growth_factor(), theirs.get_backoff_factor()) == (2.0, 0.5)
    ours = LossScaler(2.0**126, interval=1)
    theirs = torch.amp.GradScaler("cpu", init_scale=2.0**126, growth_interval=1)
    weight = nn.Parameter(torch.ones(()))
    for _ in range(3):
        theirs.scale(weight * 1.0)
        weight.grad = torch.zeros(())
        theirs.step(torch.optim.SGD([weight], lr=1e-3))
        theirs.update()
        ours.update(True)
        assert ours.scale == theirs.get_scale()
    assert ours.scale == 2.0**127


def test_gradients_are_unscaled_before_anything_sees_them() -> None:
    """Those of a loss scaled by 65,536 are those of fp32, up to fp16's rounding of weights and activations."""
    config = optimizer_config()
    exact, half = (fresh(config, dtype) for dtype in (torch.float32, torch.float16))
    one, other = (next(train(state, source(), next_token, config, 9, inspect_every=1)) for state in (exact, half))
    assert other.metrics.pop("loss_scale") == 65536
    assert other.gradient_norm == pytest.approx(one.gradient_norm, rel=1e-2)
    assert other.metrics == pytest.approx(one.metrics, rel=5e-2)


def test_what_vanishes_in_fp16_is_kept_by_the_scale() -> None:
    """The smallest fp16 number is 6e-8."""

    def small(model: LanguageModel, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        return next_token(model, batch)[0] * 1e-8, {}

    config = optimizer_config()
    exact, scaled, plain = (fresh(config, dtype) for dtype in (torch.float32, torch.float16, torch.float16))
    plain.scaler = None
    ticks = [next(train(state, source(), small, config, 9, inspect_every=1)) for state in (exact, scaled, plain)]
    norms = [tick.metrics["gradient_norm_matrices"] for tick in ticks]
    assert norms[1] == pytest.approx(norms[0], rel=5e-2)
    assert norms[2] == 0


class Overflowing:
    """An objective with gradients beyond fp16 in some steps, unless the scale is small; the loss itself is finite."""

    def __init__(self, factors: dict[int, float]) -> None:
        self.factors, self.calls = factors, itertools.count()

    def __call__(self, model: LanguageModel, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        loss, metrics = next_token(model, batch)
        factor = self.factors.get(next(self.calls), 1.0)
        return loss.detach() + factor * (loss - loss.detach()), metrics


def test_an_overflow_skips_its_update_and_halves_the_scale() -> None:
    config, state = optimizer_config(), fresh(optimizer_config(), torch.float16)
    after: list[tuple[Tick, list[float]]] = []
    for tick in train(state, source(), Overflowing({3: 1e9, 4: 1e9}), config, 8):
        after.append((tick, weights(state)))
    changed = [one != other for (_, one), (_, other) in itertools.pairwise(after)]
    assert [tick.step for tick, _ in after if tick.overflowed] == [4, 5]
    assert [tick.metrics["loss_scale"] for tick, _ in after] == [65536] * 4 + [32768] + [16384] * 3
    assert changed == [True, True, False, False, True, True, True]
    assert not any(tick.skipped for tick, _ in after)
    assert all(math.isfinite(tick.loss) for tick, _ in after)
    assert state.step == 8


def test_a_guard_takes_an_overflow_for_no_spike() -> None:
    """A guard that saw the infinite norms would skip, count up to its patience, and give up."""
    config, state = optimizer_config(), fresh(optimizer_config(), torch.float16)
    factors = dict.fromkeys(range(20, 26), 1e9) | {30: 1e3}
    ticks = []
    for tick in train(state, source(), Overflowing(factors), config, 40, guard=GUARD):
        ticks.append(tick)
        assert state.skips == (tick.step == 31)
        assert all(math.isfinite(norm) for norm in state.recent_norms)
    overflowed = [tick.step for tick in ticks if tick.overflowed]
    assert overflowed == [21, 22, 23, 24, 25, 26]
    assert [tick.step for tick in ticks if tick.skipped] == [31], "a spike that fits into fp16 is one"
    assert len(ticks) == 40


@pytest.mark.parametrize("guard", [None, GUARD])
def test_a_loss_that_is_no_number_is_not_the_scalers_affair(guard: GuardConfig | None) -> None:
    config, state = optimizer_config(), fresh(optimizer_config(), torch.float16)

    def objective(model: LanguageModel, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        loss, metrics = next_token(model, batch)
        return (loss * math.nan if state.step == 2 else loss), metrics

    ticks = train(state, source(), objective, config, 6, guard=guard)
    if guard is None:
        with pytest.raises(Diverged, match="The loss is nan at step 3"):
            list(ticks)
    else:
        assert [tick.step for tick in ticks if tick.skipped] == [3]
    assert state.scaler is not None
    assert state.scaler.scale == 65536


def test_gradients_that_no_scale_makes_finite_end_the_training() -> None:
    config, state = optimizer_config(), fresh(optimizer_config(), torch.float16)
    before = weights(state)
    with pytest.raises(
        Diverged, match=r"(inf|nan) at step 31, however small the loss is scaled for fp16 \(by 6.10352e-05 "
    ):
        list(train(state, source(), Overflowing(dict.fromkeys(range(99), 1e30)), config, 99))
    assert weights(state) == before


@pytest.mark.parametrize("cut", [1, 3, 4, 6])
def test_a_resume_goes_on_with_the_scale(cut: int, tmp_path: Path) -> None:
    config, factors = optimizer_config(), {2: 1e9, 3: 1e9, 5: 1e9}

    def begun() -> TrainState:
        state = fresh(config, torch.float16)
        state.scaler = LossScaler(interval=2)
        return state

    unbroken = begun()
    expected = [tick.metrics["loss_scale"] for tick in train(unbroken, source(), Overflowing(factors), config, 10)]
    state = begun()
    ticks = train(state, source(), Overflowing(factors), config, 10)
    found = [next(ticks).metrics["loss_scale"] for _ in range(cut)]
    state.save(tmp_path / "checkpoints", tokenizer_folder(tmp_path / "words"), {})
    checkpoint = latest_checkpoint(tmp_path / "checkpoints")
    assert checkpoint is not None
    resumed = TrainState.resumed(checkpoint, config, torch.float16)
    assert resumed.scaler is not None
    assert resumed.scaler.state() == state.scaler.state()  # type: ignore[union-attr]
    resumed.scaler.interval = 2
    later = Overflowing({step - cut: factor for step, factor in factors.items()})
    found += [tick.metrics["loss_scale"] for tick in train(resumed, source(), later, config, 10)]
    assert found == expected
    assert len(set(expected)) > 2
    assert everything(resumed) == everything(unbroken)


def test_a_new_start_from_weights_has_a_new_scale(tmp_path: Path) -> None:
    config, state = optimizer_config(), fresh(optimizer_config(), torch.float16)
    assert state.scaler is not None
    state.scaler.update(False)
    state.save(tmp_path / "checkpoints", tokenizer_folder(tmp_path / "words"), {})
    checkpoint = latest_checkpoint(tmp_path / "checkpoints")
    assert checkpoint is not None
    started = TrainState.from_weights(checkpoint, config, torch.float16)
    assert started.scaler is not None
    assert started.scaler.scale == FIRST_SCALE
    state.restart(state.weights(), config)
    assert state.scaler.scale == FIRST_SCALE
    assert fresh(config, torch.bfloat16).scaler is None
    assert state.model.config == MODEL
