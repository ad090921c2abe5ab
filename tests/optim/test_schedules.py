"""Learning-rate schedules at their corners and along their formulas."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup.core.errors import ConfigError
from groundup.optim.config import OptimizerConfig
from groundup.optim.schedule_config import Constant, Cosine, InverseSquareRoot, Linear, Schedule, Wsd
from groundup.optim.schedules import (
    branch,
    inverse_square_root,
    learning_rate_fraction,
    warmup_cosine,
    warmup_linear,
    wsd,
)

counts = st.integers(0, 60)
fractions = st.floats(0, 1)
schedules = st.one_of(
    st.builds(Constant),
    st.builds(Linear, fractions),
    st.builds(Cosine, fractions),
    st.builds(Wsd, st.floats(0.01, 1), counts, fractions, st.sampled_from(["linear", "sqrt"])),
    st.builds(InverseSquareRoot),
)


@given(st.integers(0, 200), counts, st.integers(1, 120), fractions)
def test_cosine_is_the_formula(step: int, warmup: int, more: int, final: float) -> None:
    """α(t) rises by t/T_w with t from 1, so that no step is wasted, then falls by a half cosine, then stays."""
    steps = warmup + more
    if step < warmup:
        expected = (step + 1) / warmup
    elif step > steps:
        expected = final
    else:
        expected = final + 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))) * (1 - final)
    assert warmup_cosine(step, steps, warmup, final) == pytest.approx(expected, abs=1e-12)


def test_cosine_at_its_corners() -> None:
    found = [warmup_cosine(step, 110, 10, 0.1) for step in (0, 4, 9, 10, 60, 110, 500)]
    assert found == pytest.approx([0.1, 0.5, 1.0, 1.0, 0.55, 0.1, 0.1])


def test_linear_at_its_corners() -> None:
    found = [warmup_linear(step, 110, 10, 0.1) for step in (0, 4, 9, 10, 35, 60, 110, 500)]
    assert found == pytest.approx([0.1, 0.5, 1.0, 1.0, 0.775, 0.55, 0.1, 0.1])


def test_wsd_at_its_corners() -> None:
    found = [wsd(step, 100, 10, 40, 0.2) for step in (0, 9, 10, 59, 60, 80, 99, 100, 500)]
    assert found == pytest.approx([0.1, 1.0, 1.0, 1.0, 1.0, 0.6, 0.22, 0.2, 0.2])
    found = [wsd(step, 100, 10, 40, 0.2, "sqrt") for step in (9, 59, 60, 70, 96.4, 100, 500)]
    assert found == pytest.approx([1.0, 1.0, 1.0, 0.6, 0.2 + 0.8 * (1 - math.sqrt(0.91)), 0.2, 0.2])


def test_wsd_does_not_decay_before_the_warm_up_has_ended() -> None:
    assert [wsd(step, 30, 10, 30) for step in (9, 10, 20, 30)] == [1.0, 1.0, 0.5, 0.0]


def test_inverse_square_root_at_its_corners() -> None:
    found = [inverse_square_root(step, 16) for step in (0, 7, 15, 16, 63, 255)]
    assert found == pytest.approx([1 / 16, 0.5, 1.0, math.sqrt(16 / 17), 0.5, 0.25])
    assert [inverse_square_root(step, 0) for step in (0, 3, 99)] == pytest.approx([1.0, 0.5, 0.1])


@given(st.integers(1, 400), st.integers(1, 60))
def test_inverse_square_root_is_the_first_transformers(step: int, warmup: int) -> None:
    """lr = d^-½ · min(step^-½, step · warm-up^-1.5) with step from 1, divided by its largest value."""
    papers = min(step**-0.5, step * warmup**-1.5)
    assert inverse_square_root(step - 1, warmup) == pytest.approx(papers / warmup**-0.5)


@given(schedules, st.integers(1, 80), counts)
def test_it_rises_then_never_rises_again(schedule: Schedule, steps: int, warmup: int) -> None:
    config = OptimizerConfig(schedule=schedule, warmup_steps=warmup)
    values = [learning_rate_fraction(config, step, steps) for step in range(steps + 5)]
    assert all(0 <= value <= 1 + 1e-12 for value in values)
    rising, falling = values[: min(warmup, steps)], values[warmup:]
    assert rising == sorted(rising)
    assert all(before >= after - 1e-12 for before, after in pairwise(falling))
    if isinstance(schedule, Constant):
        assert set(falling) <= {1.0}


@given(schedules, st.integers(200, 400), st.integers(50, 100))
def test_the_warm_up_ends_at_the_peak_and_what_follows_goes_on_from_there(
    schedule: Schedule, steps: int, warmup: int
) -> None:
    """No step changes the rate by more than its formula does at its steepest, so nothing jumps where parts meet."""
    config = OptimizerConfig(schedule=schedule, warmup_steps=warmup)
    assert learning_rate_fraction(config, warmup - 1, steps) == 1.0
    values = [learning_rate_fraction(config, step, steps) for step in range(steps + 1)]
    left = steps - warmup
    length = left
    if isinstance(schedule, Wsd):
        length = max(1, min(left, schedule.decay_steps or steps * schedule.decay_fraction))
    steepest = math.sqrt(1 / length) if isinstance(schedule, Wsd) and schedule.shape == "sqrt" else math.pi / 2 / length
    largest = max(abs(after - before) for before, after in pairwise(values))
    assert largest <= max(1 / warmup, steepest) + 1e-9
    if isinstance(schedule, Linear | Cosine | Wsd):
        assert values[-1] == pytest.approx(schedule.final_fraction)


@given(
    st.builds(Wsd, st.floats(0.01, 1), st.just(0), fractions, st.sampled_from(["linear", "sqrt"])),
    st.integers(0, 20),
    st.integers(20, 200),
    st.integers(20, 200),
)
def test_before_the_decay_wsd_does_not_know_the_number_of_steps(
    schedule: Wsd, warmup: int, steps: int, others: int
) -> None:
    config = OptimizerConfig(schedule=schedule, warmup_steps=warmup)
    stable = math.floor(min(total - total * schedule.decay_fraction for total in (steps, others)))
    for step in range(stable):
        assert learning_rate_fraction(config, step, steps) == learning_rate_fraction(config, step, others)


@given(st.sampled_from(["linear", "sqrt"]), fractions, st.integers(1, 60), st.integers(0, 60))
def test_a_branch_is_the_run_that_was_planned_so(shape: str, final: float, decay: int, at: int) -> None:
    config = OptimizerConfig(schedule=Wsd(0.2, 0, final, shape), warmup_steps=10)  # type: ignore[arg-type]
    if not 10 <= at <= 40:  # of 50 steps the last 10 decay
        with pytest.raises(
            ConfigError, match=f"Step {at} is not in the stable phase of the run, which goes from 10 to 40"
        ):
            branch(config, at, 50, decay)
        return
    branched, steps = branch(config, at, 50, decay)
    assert steps == at + decay
    planned = OptimizerConfig(schedule=Wsd(decay / steps, 0, final, shape), warmup_steps=10)  # type: ignore[arg-type]
    rates = [learning_rate_fraction(branched, step, steps) for step in range(steps)]
    assert rates == pytest.approx([learning_rate_fraction(planned, step, steps) for step in range(steps)])
    assert rates[:at] == [learning_rate_fraction(config, step, 50) for step in range(at)], (
        "what the checkpoint has seen"
    )
    assert rates[at:] == pytest.approx([wsd(step, decay, 0, decay, final, shape) for step in range(decay)])


def test_a_constant_run_branches_anywhere_and_a_cosine_nowhere() -> None:
    config = OptimizerConfig(schedule=Constant(), warmup_steps=5)
    branched, steps = branch(config, 50, 50, 10)
    assert (branched, steps) == (replace(config, schedule=Wsd(decay_steps=10)), 60)
    with pytest.raises(ConfigError, match="A decay branches off a wsd or constant schedule; this one is cosine"):
        branch(replace(config, schedule=Cosine()), 20, 50, 10)
    with pytest.raises(ConfigError, match="decay_steps is 0; a decay takes at least 1 step"):
        branch(config, 20, 50, 0)


def test_the_config_chooses() -> None:
    def at_90(schedule: Schedule) -> float:
        return learning_rate_fraction(OptimizerConfig(schedule=schedule, warmup_steps=0), 90, 100)

    assert at_90(Constant()) == 1.0
    assert at_90(Wsd(0.2, final_fraction=0.1)) == pytest.approx(0.55)
    assert at_90(Wsd(0.2, decay_steps=40)) == pytest.approx(0.25)
    assert at_90(Wsd(0.2, shape="sqrt")) == pytest.approx(1 - math.sqrt(0.5))
    assert at_90(Cosine(0.1)) == pytest.approx(0.1 + 0.45 * (1 + math.cos(0.9 * math.pi)))
    assert at_90(Linear(0.1)) == pytest.approx(0.19)
    assert at_90(InverseSquareRoot()) == pytest.approx(math.sqrt(1 / 91))
