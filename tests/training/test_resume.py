"""A training that was cut and resumed is the unbroken one, bit for bit; so are two with one seed."""

from pathlib import Path

import pytest
import torch
from tiny_training import (
    MODEL,
    OPTIMIZERS,
    SCHEDULES,
    STEPS,
    everything,
    fresh,
    optimizer_config,
    run,
    source,
    tokenizer_folder,
)

from groundup.checkpoint.store import latest_checkpoint, read_checkpoint
from groundup.core.errors import MissingError
from groundup.optim.config import Rule
from groundup.optim.optimizer_config import Lion, Sgd
from groundup.training.config import AverageConfig
from groundup.training.loop import train
from groundup.training.objectives import next_token
from groundup.training.state import TrainState

KINDS = [
    (matrix, dtype, schedule)
    for matrix in OPTIMIZERS
    for dtype in (torch.float32, torch.bfloat16)
    for schedule in SCHEDULES
]
numbers = pytest.mark.parametrize(("matrix", "dtype", "schedule"), KINDS, ids=str)


@numbers
def test_resuming_is_not_to_be_told_from_an_unbroken_run(
    matrix: str, dtype: torch.dtype, schedule: str, tmp_path: Path
) -> None:
    config = optimizer_config(matrices=OPTIMIZERS[matrix], schedule=SCHEDULES[schedule])
    unbroken = fresh(config, dtype)
    expected = [(tick.step, tick.loss, tick.gradient_norm, tick.learning_rate) for tick in run(unbroken, config, STEPS)]
    state, found = fresh(config, dtype), []
    for cut in (0, 1, 4, 5, STEPS):
        found += [(tick.step, tick.loss, tick.gradient_norm, tick.learning_rate) for tick in run(state, config, cut)]
        state.save(tmp_path / "checkpoints", tokenizer_folder(tmp_path / "tokenizer"), {"seconds": 1.0})
        checkpoint = latest_checkpoint(tmp_path / "checkpoints")
        assert checkpoint is not None
        assert checkpoint.state == {"seconds": 1.0, "step": cut, "passed_over": 0, "skips": 0, "recent_norms": []}
        state = TrainState.resumed(checkpoint, config, dtype)
        assert state.step == cut
    assert found == expected
    assert everything(state) == everything(unbroken)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_with_rules_it_resumes_as_exactly(dtype: torch.dtype, tmp_path: Path) -> None:
    rules = (Rule("^embedding", frozen=True), Rule("blocks.0.channel", optimizer=Sgd()), Rule("norm", optimizer=Lion()))
    config = optimizer_config(rules=rules)
    unbroken, state = fresh(config, dtype), fresh(config, dtype)
    embedding = state.weights()["embedding"].clone()
    run(unbroken, config, STEPS)
    run(state, config, 3)
    path = state.save(tmp_path / "checkpoints", tokenizer_folder(tmp_path / "tokenizer"), {})
    resumed = TrainState.resumed(read_checkpoint(path), config, dtype)
    run(resumed, config, STEPS)
    assert len(resumed.optimizers) == 4
    assert torch.equal(resumed.weights()["embedding"], embedding)
    for name, weight in unbroken.weights().items():
        assert torch.equal(resumed.weights()[name], weight)


@numbers
def test_one_seed_is_one_training(matrix: str, dtype: torch.dtype, schedule: str) -> None:
    config = optimizer_config(matrices=OPTIMIZERS[matrix], schedule=SCHEDULES[schedule])
    hashes = []
    for seed in (3, 3, 4):
        torch.manual_seed(len(hashes))  # PyTorch's own generator has no say
        state = fresh(config, dtype, seed)
        run(state, config, 3)
        hashes.append(everything(state))
    assert hashes[0] == hashes[1] != hashes[2]


def test_every_dtype_starts_from_the_same_weights() -> None:
    exact, low = fresh(optimizer_config()), fresh(optimizer_config(), torch.bfloat16)
    for name, weight in exact.weights().items():
        assert torch.equal(low.weights()[name], weight), "masters are exact"
        assert weight.dtype == torch.float32
    for one, other in zip(low.model.parameters(), exact.model.parameters(), strict=True):
        assert one.dtype == torch.bfloat16
        assert torch.equal(one, other.bfloat16())


def test_weights_saved_from_bf16_are_the_masters(tmp_path: Path) -> None:
    config = optimizer_config()
    state = fresh(config, torch.bfloat16)
    run(state, config, 3)
    checkpoint = read_checkpoint(state.save(tmp_path, tokenizer_folder(tmp_path / "tokenizer"), {}))
    weights = checkpoint.weights()
    assert all(weight.dtype == torch.float32 for weight in weights.values())
    assert any(not torch.equal(weight, weight.bfloat16().float()) for weight in weights.values())
    for name, parameter in state.model.named_parameters():
        assert torch.equal(weights[name].bfloat16(), parameter)
    assert not any(name.endswith(".master") for name in checkpoint.optimizer()), "they would be saved twice"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_new_training_takes_the_weights_and_nothing_else(dtype: torch.dtype, tmp_path: Path) -> None:
    config = optimizer_config()
    state = fresh(config)
    run(state, config, 4)
    checkpoint = read_checkpoint(state.save(tmp_path, tokenizer_folder(tmp_path / "tokenizer"), {}))
    started = TrainState.from_weights(checkpoint, config, dtype)
    assert started.step == 0
    assert started.model.config == MODEL
    for name, weight in state.weights().items():
        assert torch.equal(started.weights()[name], weight)
    for optimizer in started.optimizers:
        assert all(set(slot) <= {"master"} for slot in optimizer.state.values())


def test_resuming_needs_the_optimizers_state(tmp_path: Path) -> None:
    config = optimizer_config()
    state = fresh(config)
    path = state.save(tmp_path, tokenizer_folder(tmp_path / "tokenizer"), {})
    checkpoint = read_checkpoint(path)
    (path / "optimizer" / "state.safetensors").unlink()
    with pytest.raises(MissingError, match="training cannot resume from it"):
        TrainState.resumed(checkpoint, config, torch.float32)


def test_a_finished_training_has_no_more_ticks() -> None:
    config = optimizer_config()
    state = fresh(config)
    run(state, config, STEPS)
    before = everything(state)
    assert list(train(state, source(), next_token, config, STEPS)) == []
    assert everything(state) == before


def test_a_copy_is_of_its_step_however_long_training_goes_on(tmp_path: Path) -> None:
    config = optimizer_config()
    state = fresh(config)
    run(state, config, 3)
    expected = everything(state)
    snapshot = state.snapshot({"seconds": 1.0}, copy=True)
    run(state, config, STEPS)
    snapshot.write(tmp_path / "checkpoints", tokenizer_folder(tmp_path / "tokenizer"))
    checkpoint = latest_checkpoint(tmp_path / "checkpoints")
    assert checkpoint is not None
    assert everything(TrainState.resumed(checkpoint, config, torch.float32)) == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("average", [AverageConfig("exponential", 0.8), AverageConfig("latest", snapshots=2, every=2)])
def test_an_average_goes_on_after_a_resume(average: AverageConfig, dtype: torch.dtype, tmp_path: Path) -> None:
    config = optimizer_config()
    unbroken = fresh(config, dtype)
    unbroken.keep_average(average)
    seen = [
        {name: weight.clone() for name, weight in unbroken.weights().items()}
        for _ in train(unbroken, source(), next_token, config, STEPS, average_every=average.every)
    ]
    state = fresh(config, dtype)
    state.keep_average(average)
    ticks = train(state, source(), next_token, config, STEPS, average_every=average.every)
    while next(ticks).step < 5:
        pass
    state.save(tmp_path / "checkpoints", tokenizer_folder(tmp_path / "tokenizer"), {})
    checkpoint = latest_checkpoint(tmp_path / "checkpoints")
    assert checkpoint is not None
    resumed = TrainState.resumed(checkpoint, config, dtype)
    resumed.keep_average(average)
    list(train(resumed, source(), next_token, config, STEPS, average_every=average.every))
    assert unbroken.average is not None
    assert resumed.average is not None
    for name, mean in resumed.average.weights().items():
        assert torch.equal(mean, unbroken.average.weights()[name])
        if average.kind == "latest":
            torch.testing.assert_close(mean, (seen[-1][name] + seen[-3][name]) / 2)
    before = everything(resumed)
    with resumed.averaged() as model:
        for name, parameter in model.named_parameters():
            assert torch.equal(parameter, resumed.average.weights()[name].to(dtype))
    assert everything(resumed) == before
