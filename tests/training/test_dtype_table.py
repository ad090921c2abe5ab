"""The table of number formats: what a step really used, in every precision, without touching the training."""

from typing import Any

import pytest
import torch
from random_texts import SHAPES, batch_of
from tiny_training import MODEL, STEPS, everything, fresh, optimizer_config, run, source
from torch import Tensor

from groundup.batches.batch import Batch
from groundup.models.language_model import LanguageModel
from groundup.models.model_config import ModelConfig
from groundup.optim.config import Rule
from groundup.training.dtype_table import tabulated
from groundup.training.loop import train
from groundup.training.objectives import next_token
from groundup.training.precision import PRECISIONS
from groundup.training.state import TrainState

PARAMETERS = {  # weight, gradient, master
    "float32": ("float32", "float32", None),
    "bfloat16": ("bfloat16", "bfloat16", "float32"),
    "autocast": ("float32", "float32", None),
    "float16": ("float16", "float32", "float32"),
    "float8": ("bfloat16", "bfloat16", "float32"),
}


def table(state: TrainState, steps: int = 1) -> dict[str, Any]:
    """The one that was told, after as many steps."""
    told: list[dict[str, Any]] = []
    batches = source() if state.model.config is MODEL else Random()
    ticks = train(state, batches, next_token, optimizer_config(), STEPS)
    for place, _ in enumerate(tabulated(ticks, state, next_token, told.append), 1):
        assert len(told) == (place >= steps)
    return told[0]


class Random:
    """A source of random ids."""

    def batch(self, step: int, shard: int = 0, shards: int = 1) -> Batch:
        return batch_of(4, step)


@pytest.mark.parametrize("name", PRECISIONS)
def test_formats_of_parameters(name: str) -> None:
    state = fresh(optimizer_config(), PRECISIONS[name])
    found = table(state)
    assert found["precision"] == name
    rows = {row["names"]: row for row in found["parameters"]}
    assert {(row["weight"], row["gradient"], row["master"]) for row in rows.values()} == {PARAMETERS[name]}
    assert rows["blocks.*.sequence.query"]["moments"] == {"momentum": "float32"}
    assert rows["embedding"]["moments"] == {"mean": "float32", "mean_square": "float32"}
    assert {row["role"] for row in rows.values()} == {"embedding", "rest", "matrices"}
    assert rows["blocks.*.channel.down"]["tensors"] == MODEL.depth
    assert sum(row["numbers"] for row in rows.values()) == sum(each.numel() for each in state.model.parameters())


@pytest.mark.parametrize("name", PRECISIONS)
def test_formats_of_the_computation(name: str) -> None:
    found = table(fresh(optimizer_config(), PRECISIONS[name]))["computation"]
    products = str(PRECISIONS[name].products).removeprefix("torch.")
    weights = str(PRECISIONS[name].weights).removeprefix("torch.")
    assert found["outputs of layers"] == {weights: MODEL.depth}
    assert found["softmax"].keys() == found["loss"].keys() == {"float32"}
    for phase in ("forward", "backward"):
        assert found[f"operands of matrix products, {phase}"].keys() == {products}
    matrices = 7 * MODEL.depth  # query, key, value, output, gate, up, down
    expected = {"forward": {"float8_e4m3fn": 2 * matrices}, "backward": {"float8_e5m2": matrices}}
    rounded = {phase: found.get(f"rounded operands, {phase}") for phase in expected}
    assert rounded == (expected if name == "float8" else {"forward": None, "backward": None})


@pytest.mark.parametrize("shape", SHAPES)
def test_every_model_has_one(shape: str) -> None:
    config: ModelConfig = SHAPES[shape]
    found = table(TrainState(config, optimizer_config(), PRECISIONS["autocast"], 0))
    assert found["computation"]["outputs of layers"]
    products = found["computation"]["operands of matrix products, forward"]
    exact = {"experts": 4, "delta": None}.get(shape, 0)  # two operands of a router in each of two layers
    assert exact is None or products.get("float32", 0) == exact
    assert shape != "delta" or products["float32"] > 0, "states are fp32"


def test_frozen_parameters_and_other_optimizers_have_rows_of_their_own() -> None:
    config = optimizer_config(rules=(Rule(r"^blocks\.0\..*query$", frozen=True),))
    state = TrainState(MODEL, config, torch.bfloat16, 0)
    rows = [row for row in table(state)["parameters"] if row["names"] == "blocks.*.sequence.query"]
    assert [(row["tensors"], row["gradient"], row["moments"]) for row in rows] == [
        (1, None, {}),
        (1, "bfloat16", {"momentum": "float32"}),
    ]
    assert {row["master"] for row in rows} == {"float32"}


def test_a_training_that_is_tabulated_is_the_same() -> None:
    config = optimizer_config()
    one, other = fresh(config, torch.bfloat16), fresh(config, torch.bfloat16)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    found = list(tabulated(train(one, source(), next_token, config, STEPS), one, next_token, print))
    assert torch.equal(torch.rand(1), expected)
    assert [tick.loss for tick in found] == [tick.loss for tick in run(other, config, STEPS)]
    assert everything(one) == everything(other)
    assert not any(optimizer._optimizer_step_pre_hooks for optimizer in one.optimizers)


def test_an_update_that_overflowed_tells_nothing_yet() -> None:
    state, calls = fresh(optimizer_config(), torch.float16), []

    def objective(model: LanguageModel, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        loss, metrics = next_token(model, batch)
        calls.append(model is state.model)
        factor = 1e9 if calls.count(True) in (1, 2) and calls[-1] else 1.0
        return loss.detach() + factor * (loss - loss.detach()), metrics

    told: list[dict[str, Any]] = []
    ticks = train(state, source(), objective, optimizer_config(), STEPS)
    seen = [(tick.overflowed, len(told)) for tick in tabulated(ticks, state, objective, told.append)]
    assert seen == [(True, 0)] * 2 + [(False, 1)] * (STEPS - 2)
