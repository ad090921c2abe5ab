"""The phases of a step: in order, without a gap, and without a trace in what is trained."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from profiled import CPU, training
from tiny_training import everything, fresh, optimizer_config, run

from groundup.training.profiling import (
    END,
    PHASES,
    Clock,
    Span,
    phase_seconds,
    spread,
    step_seconds,
    time_steps,
    watched,
)


@pytest.mark.parametrize("parts", [1, 2])
def test_phases_follow_one_another_without_a_gap(parts: int) -> None:
    steps = time_steps(training(parts=parts), 3)
    assert len(steps) == 3
    for step in steps:
        assert [span.phase for span in step] == ["data", *PHASES[1:4] * parts, "optimizer"]
        for before, after in itertools.pairwise(step):
            assert before.end == after.start
        assert all(span.end > span.start for span in step)
        assert sum(phase_seconds(step).values()) == pytest.approx(step_seconds(step), rel=1e-9)
    for before, after in itertools.pairwise(steps):
        assert before[-1].end <= after[0].start


def test_each_step_is_counted_as_it_ends() -> None:
    done: list[int] = []
    time_steps(training(), 4, lambda: done.append(len(done)))
    assert done == [0, 1, 2, 3]


def test_what_is_watched_is_trained_as_if_it_were_not() -> None:
    config = optimizer_config()
    watched_training = training(config)
    ticks = watched(watched_training._replace(steps=8), Clock(CPU))
    found = [next(ticks) for _ in range(5)]
    plain = fresh(config)
    expected = run(plain, config, 5)
    assert [tick.loss for tick in found] == [tick.loss for tick in expected]
    assert everything(watched_training.state) == everything(plain)


def test_nothing_of_the_watch_stays_behind() -> None:
    timed = training()
    time_steps(timed, 2)
    assert not timed.state.optimizers[0]._optimizer_step_pre_hooks
    assert [tick.step for tick in run(timed.state, timed.optimizer, 4)] == [3, 4]


def test_a_phase_that_comes_twice_counts_twice() -> None:
    step = [Span("data", 1.0, 1.5), Span("forward", 1.5, 2.5), Span("backward", 2.5, 4.0), Span("forward", 4.0, 4.25)]
    expected = {"data": 0.5, "forward": 1.25, "backward": 1.5, "clipping": 0.0, "optimizer": 0.0}
    assert phase_seconds(step) == expected
    assert step_seconds(step) == 3.25


def test_a_clock_keeps_steps_apart() -> None:
    clock = Clock(CPU)
    for phase in ("data", "forward", END, "data", "optimizer", END):
        clock(phase)
    assert [[span.phase for span in step] for step in clock.steps] == [["data", "forward"], ["data", "optimizer"]]


@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=30))
def test_spread_is_numpys(values: list[float]) -> None:
    found = spread(values)
    assert found.mean == pytest.approx(np.mean(values))
    assert found.median == pytest.approx(np.median(values))
    assert found.deviation == pytest.approx(np.std(values, ddof=1) if len(values) > 1 else 0.0, abs=1e-9)
