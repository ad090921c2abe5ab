"""Averages of weights against their closed forms, and resumed exactly."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from groundup.optim.averaging import ExponentialAverage, LatestAverage

STEPS = 12
AVERAGES: dict[str, Callable[[], ExponentialAverage | LatestAverage]] = {
    "exponential": lambda: ExponentialAverage(0.8),
    "latest": lambda: LatestAverage(5),
}
every = pytest.mark.parametrize("make", AVERAGES.values(), ids=AVERAGES)


def weights_at(step: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Two weights, and a counter as a model may keep it beside them."""
    generator = torch.Generator().manual_seed(step)
    weights = {name: torch.randn(3, 4, generator=generator).to(dtype) for name in ("blocks.0.up", "gain")}
    return {**weights, "seen": torch.tensor(step)}


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9, 0.999])
def test_the_exponential_average_is_its_sum(decay: float) -> None:
    average = ExponentialAverage(decay)
    for last in range(STEPS):
        average.update(weights_at(last))
        shares = [decay ** (last - step) for step in range(last + 1)]
        for name in ("blocks.0.up", "gain"):
            terms = [share * weights_at(step)[name].double() for step, share in enumerate(shares)]
            expected = torch.stack(terms).sum(0) / sum(shares)
            torch.testing.assert_close(average.weights()[name].double(), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("snapshots", [1, 3, 30])
def test_the_latest_average_is_the_mean_of_the_last(snapshots: int) -> None:
    average = LatestAverage(snapshots)
    for last in range(STEPS):
        average.update(weights_at(last))
        kept = [weights_at(step)["gain"].double() for step in range(max(0, last + 1 - snapshots), last + 1)]
        expected = torch.stack(kept).mean(0)
        torch.testing.assert_close(average.weights()["gain"].double(), expected, atol=1e-6, rtol=0)


@every
def test_weights_are_fp32_copies_and_counters_the_newest(make: Callable) -> None:
    average = make()
    weights = weights_at(0, torch.bfloat16)
    average.update(weights)
    assert torch.equal(average.weights()["gain"], weights["gain"].float())
    weights["gain"].fill_(7.0)
    average.update(weights_at(1, torch.bfloat16))
    assert average.weights()["gain"].dtype == torch.float32
    assert average.weights()["gain"].max() < 6, "a later change of the weights does not reach what was taken in"
    assert average.weights()["seen"].item() == 1
    assert average.weights().keys() == weights.keys()


@every
@pytest.mark.parametrize("cut", [0, 1, 4, 7])
def test_a_saved_average_continues_exactly(make: Callable, cut: int) -> None:
    unbroken, before, behind = make(), make(), make()
    for step in range(cut):
        unbroken.update(weights_at(step))
        before.update(weights_at(step))
    behind.load({name: tensor.clone() for name, tensor in before.state().items()})
    for step in range(cut, STEPS):
        unbroken.update(weights_at(step))
        behind.update(weights_at(step))
        for name, weight in unbroken.weights().items():
            assert torch.equal(behind.weights()[name], weight)
    assert all(isinstance(tensor, Tensor) for tensor in unbroken.state().values())
