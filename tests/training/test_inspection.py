"""What is measured of a step, against the weights and gradients themselves."""

import math

import pytest
import torch
from tiny_training import MODEL, optimizer_config, source

from groundup.training.inspection import resident_bytes
from groundup.training.loop import train
from groundup.training.objectives import next_token
from groundup.training.state import TrainState


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_norms_and_ratios_of_groups(dtype: torch.dtype) -> None:
    config = optimizer_config()
    state = TrainState(MODEL, config, dtype, 0)
    ticks = train(state, source(), next_token, config, 6, inspect_every=3)
    next(ticks)
    assert next(ticks).metrics == {}
    before = {name: weight.clone() for name, weight in state.weights().items()}
    tick = next(ticks)
    after = state.weights()
    groups = {"embedding": ["embedding"], "rest": [], "matrices": []}
    for name, weight in before.items():
        if name != "embedding":
            groups["matrices" if name.startswith("blocks") and weight.ndim > 1 else "rest"].append(name)
    for group, names in groups.items():
        moved = math.sqrt(sum((after[name] - before[name]).double().square().sum().item() for name in names))
        size = math.sqrt(sum(before[name].double().square().sum().item() for name in names))
        assert tick.metrics[f"update_ratio_{group}"] == pytest.approx(moved / size, rel=1e-4)
    norms = [tick.metrics[f"gradient_norm_{group}"] for group in groups]
    assert math.hypot(*norms) == pytest.approx(tick.gradient_norm, rel=1e-5)
    assert len(tick.metrics) == 6
    assert next(ticks).metrics == {}


def test_inspection_changes_nothing() -> None:
    config = optimizer_config()
    found = []
    for every in (0, 1):
        state = TrainState(MODEL, config, torch.float32, 0)
        list(train(state, source(), next_token, config, 5, inspect_every=every))
        found.append(state.weights())
    assert all(torch.equal(weight, found[1][name]) for name, weight in found[0].items())


def test_memory_grows_with_what_is_held() -> None:
    before = resident_bytes()
    held = torch.ones(64 << 20, dtype=torch.uint8)
    assert resident_bytes() - before > 0.9 * len(held)
