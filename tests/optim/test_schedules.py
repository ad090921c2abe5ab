"""Learning-rate schedules at their corners and along their formulas."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup.optim.config import OptimizerConfig
from groundup.optim.schedules import learning_rate_fraction, warmup_cosine, wsd

counts = st.integers(0, 60)
fractions = st.floats(0, 1)


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


def test_wsd_at_its_corners() -> None:
    found = [wsd(step, 100, 10, 0.4, 0.2) for step in (0, 9, 10, 59, 60, 80, 99, 100, 500)]
    assert found == pytest.approx([0.1, 1.0, 1.0, 1.0, 1.0, 0.6, 0.22, 0.2, 0.2])


@pytest.mark.parametrize("schedule", ["constant", "cosine", "wsd"])
@given(st.integers(1, 80), counts, fractions, st.floats(0.01, 1))
def test_it_rises_then_never_rises_again(
    schedule: str, steps: int, warmup: int, final: float, decay_fraction: float
) -> None:
    config = OptimizerConfig(
        schedule=schedule, warmup_steps=warmup, final_fraction=final, decay_fraction=decay_fraction
    )
    values = [learning_rate_fraction(config, step, steps) for step in range(steps + 5)]
    assert all(0 <= value <= 1 + 1e-12 for value in values)
    rising, falling = values[: min(warmup, steps)], values[warmup:]
    assert rising == sorted(rising)
    assert all(before >= after - 1e-12 for before, after in pairwise(falling))
    if schedule == "constant":
        assert set(falling) <= {1.0}


def test_the_config_chooses() -> None:
    def at_90(schedule: str) -> float:
        config = OptimizerConfig(schedule=schedule, warmup_steps=0, decay_fraction=0.2, final_fraction=0.1)
        return learning_rate_fraction(config, 90, 100)

    assert at_90("constant") == 1.0
    assert at_90("wsd") == pytest.approx(0.55)
    assert at_90("cosine") == pytest.approx(0.1 + 0.45 * (1 + math.cos(0.9 * math.pi)))
