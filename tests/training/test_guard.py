"""The guard against spikes: what it skips, that nothing of a skipped batch stays, when it gives up, and resuming."""

import itertools
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_training import everything, fresh, optimizer_config, source, tokenizer_folder
from torch import Tensor

from groundup.batches.batch import Batch
from groundup.checkpoint.store import latest_checkpoint
from groundup.core.errors import ConfigError
from groundup.models.language_model import LanguageModel
from groundup.training.config import GuardConfig
from groundup.training.guard import is_spike
from groundup.training.loop import Diverged, train
from groundup.training.objectives import next_token
from groundup.training.state import TrainState

GUARD = GuardConfig(factor=8.0, window=16, patience=3)
STEPS = 60


class Spoilt:
    """A source of which some batches blow up: their loss is multiplied by a number."""

    def __init__(self, factors: dict[int, float]) -> None:
        self.factors, self.asked = factors, list[int]()

    def batch(self, step: int) -> Batch:
        self.asked.append(step)
        return source().batch(step)

    def objective(self, model: LanguageModel, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        loss, metrics = next_token(model, batch)
        return loss * self.factors.get(self.asked[-1], 1.0), metrics


@given(st.lists(st.floats(0.1, 10), max_size=40), st.floats(0, 1e6), st.floats(1.5, 100))
def test_a_spike_is_a_norm_above_so_many_medians(recent: list[float], norm: float, factor: float) -> None:
    config = GuardConfig(factor=factor, window=20)
    found = is_spike(1.0, norm, recent, config)
    ordered = sorted(recent)
    half = len(ordered) // 2
    if len(ordered) < 16:
        assert not found
    else:
        median = ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
        assert found == (norm > factor * median)
    for bad in (math.nan, math.inf):
        assert is_spike(bad, norm, recent, config)
        assert is_spike(1.0, bad, recent, config)


@pytest.mark.parametrize("factor", [1e5, math.nan, math.inf])
def test_what_blows_up_is_skipped_and_nothing_of_it_stays(factor: float) -> None:
    config, spoilt = optimizer_config(), Spoilt({20: factor, 33: factor, 34: factor})
    state = fresh(config)
    after = [(tick, weights(state)) for tick in train(state, spoilt, spoilt.objective, config, STEPS, guard=GUARD)]
    changed = [one != other for (_, one), (_, other) in itertools.pairwise(after)]
    assert [tick.step for tick, _ in after if tick.skipped] == [21, 34, 35]
    assert [tick.step for (tick, _), moved in zip(after[1:], changed, strict=True) if not moved] == [21, 34, 35]
    assert spoilt.asked == list(range(STEPS))


def weights(state: TrainState) -> list[float]:
    return [parameter.double().sum().item() for parameter in state.model.parameters()]


def test_without_spikes_a_guard_changes_nothing() -> None:
    config = optimizer_config()
    guarded, plain = fresh(config), fresh(config)
    assert not any(tick.skipped for tick in train(guarded, source(), next_token, config, STEPS, guard=GUARD))
    list(train(plain, source(), next_token, config, STEPS))
    assert everything(guarded) == everything(plain)


def test_so_many_in_a_row_end_it_with_a_report() -> None:
    config, spoilt = optimizer_config(), Spoilt(dict.fromkeys(range(25, 40), 1e5))
    ticks = train(fresh(config), spoilt, spoilt.objective, config, STEPS, guard=GUARD)
    with pytest.raises(Diverged, match=r"3 updates in a row were skipped, the last at step 28: loss .* median of the"):
        list(ticks)
    assert spoilt.asked[-1] == 27


def test_a_resumed_guard_decides_as_an_unbroken_one(tmp_path: Path) -> None:
    """At step 18 it has just seen enough norms; a guard that forgot them would let the spike of step 20 in."""
    config, spoilt = optimizer_config(), Spoilt({20: 1e5})
    unbroken = fresh(config)
    list(train(unbroken, spoilt, spoilt.objective, config, 30, guard=GUARD))
    state = fresh(config)
    ticks = train(state, spoilt, spoilt.objective, config, 30, guard=GUARD)
    while next(ticks).step < 18:
        pass
    state.save(tmp_path / "checkpoints", tokenizer_folder(tmp_path / "words"), {})
    checkpoint = latest_checkpoint(tmp_path / "checkpoints")
    assert checkpoint is not None
    resumed = TrainState.resumed(checkpoint, config, torch.float32)
    assert resumed.recent_norms == state.recent_norms
    assert len(resumed.recent_norms) == 16
    assert [tick.skipped for tick in train(resumed, spoilt, spoilt.objective, config, 30, guard=GUARD)][2]
    assert everything(resumed) == everything(unbroken)


def test_skips_in_a_row_are_counted_across_a_resume(tmp_path: Path) -> None:
    config, spoilt = optimizer_config(), Spoilt(dict.fromkeys(range(20, 30), 1e5))
    state = fresh(config)
    ticks = train(state, spoilt, spoilt.objective, config, 30, guard=GUARD)
    while next(ticks).step < 22:
        pass
    state.save(tmp_path / "checkpoints", tokenizer_folder(tmp_path / "words"), {})
    checkpoint = latest_checkpoint(tmp_path / "checkpoints")
    assert checkpoint is not None
    resumed = TrainState.resumed(checkpoint, config, torch.float32)
    with pytest.raises(Diverged, match="3 updates in a row were skipped, the last at step 23"):
        list(train(resumed, spoilt, spoilt.objective, config, 30, guard=GUARD))


def test_batches_may_be_passed_over() -> None:
    config, spoilt = optimizer_config(), Spoilt({})
    state = fresh(config)
    state.passed_over = 7
    list(train(state, spoilt, spoilt.objective, config, 3))
    assert spoilt.asked == [7, 8, 9]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"factor": 0.5}, "factor is 0.5; it must be above 1"),
        ({"factor": math.nan}, "factor is nan"),
        ({"patience": 0}, "patience is 0; it must be at least 1"),
        ({"window": 3}, "window is 3; it must be at least 4"),
        ({"rollbacks": -1}, "rollbacks is -1; it must be at least 0"),
    ],
)
def test_impossible_guards(changes: dict[str, float], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        GuardConfig(**changes)  # type: ignore[arg-type]
