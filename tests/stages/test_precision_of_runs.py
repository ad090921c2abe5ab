"""Runs in each number format: chosen once, told in files, resumed to the bit, and taken by every stage that trains."""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_quickstart import tiny_config, write_notes

from groundup.cli.main import main
from groundup.core.errors import ConfigError
from groundup.inference.engine import find_checkpoint
from groundup.stages import compute
from groundup.stages.compute import prepare_compute
from groundup.stages.config import ComputeConfig, QuickstartConfig
from groundup.stages.evaluate import run_evaluate
from groundup.stages.grpo import run_grpo
from groundup.stages.pretrain import run_pretrain
from groundup.stages.pretraining import interval_metrics
from groundup.stages.sft import run_sft
from groundup.tokenization.bpe import BytePairTokenizer
from groundup.tokenization.chat import SPECIAL_TOKENS
from groundup.training.loop import Tick, train
from groundup.training.precision import PRECISIONS

LOW = ["autocast", "float16", "float8"]


@pytest.fixture(autouse=True)
def measured(monkeypatch: pytest.MonkeyPatch) -> list[torch.dtype]:
    """Which formats were measured; the true measurement takes a second."""
    asked: list[torch.dtype] = []
    monkeypatch.setattr(compute, "measured_matmul_flops", lambda dtype: asked.append(dtype) or 1e9)
    return asked


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return write_notes(tmp_path / "notes")


@pytest.fixture
def words(tmp_path: Path) -> Path:
    special = {name: 256 + index for index, name in enumerate(SPECIAL_TOKENS)}
    return BytePairTokenizer([], special_tokens=special).save(tmp_path / "tokenizer").parent


def settings(name: str, notes: Path) -> QuickstartConfig:
    """Everything in one format."""
    whole, how = tiny_config(notes), ComputeConfig(name, compile=False, threads=1)
    pretrain = replace(whole.pretrain, compute=how, steps=6, checkpoint_every=2)
    sft, grpo = replace(whole.sft, compute=how), replace(whole.grpo, compute=how)
    return replace(whole, pretrain=pretrain, evaluate=replace(whole.evaluate, compute=how), sft=sft, grpo=grpo)


def stopped_after(steps: int) -> Callable[..., Iterator[Tick]]:
    """The training loop of a process that is interrupted then."""

    def ticks(*arguments: Any) -> Iterator[Tick]:
        for tick in train(*arguments):
            yield tick
            if tick.step == steps:
                raise KeyboardInterrupt

    return ticks


@pytest.mark.parametrize("name", LOW)
def test_a_pretraining_resumes_to_the_bit_and_says_what_is_in_which_format(
    name: str, notes: Path, words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(name, notes).pretrain
    result = run_pretrain(config, notes, words, tmp_path / "whole")
    assert result["dtype"] == name
    assert result["validation_bits_per_byte"] < 9
    table = json.loads((tmp_path / "whole" / "dtypes.json").read_text())
    assert table["precision"] == name
    weights = str(PRECISIONS[name].weights).removeprefix("torch.")
    assert {row["weight"] for row in table["parameters"]} == {weights}
    assert table["computation"]["loss"] == {"float32": 1}
    lines = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    scales = {line["loss_scale"] for line in lines if "loss_scale" in line}
    assert scales == ({65536.0} if name == "float16" else set())
    monkeypatch.setattr("groundup.stages.pretraining.train", stopped_after(3))
    with pytest.raises(KeyboardInterrupt):
        run_pretrain(config, notes, words, tmp_path / "stopped")
    monkeypatch.setattr("groundup.stages.pretraining.train", train)
    run_pretrain(config, notes, words, tmp_path / "stopped")
    assert find_checkpoint(tmp_path / "stopped").fingerprint == find_checkpoint(tmp_path / "whole").fingerprint


@pytest.mark.slow
@pytest.mark.parametrize("name", LOW)
def test_every_stage_takes_each_format(name: str, notes: Path, words: Path, tmp_path: Path) -> None:
    config = settings(name, notes)
    run_pretrain(config.pretrain, notes, words, tmp_path / "base")
    evaluated = run_evaluate(
        replace(config.evaluate, baselines=False), tmp_path / "base", notes, tmp_path / "evaluated"
    )
    assert evaluated["bits_per_byte"]["model"] < 9
    run_sft(config.sft, tmp_path / "base", tmp_path / "sft")
    learnt = run_grpo(config.grpo, tmp_path / "sft", tmp_path / "grpo")
    assert learnt["steps"] == config.grpo.grpo.steps
    norms = [
        json.loads(line)["gradient_norm"] for line in (tmp_path / "grpo" / "metrics.jsonl").read_text().splitlines()
    ]
    assert all(math.isfinite(norm) for norm in norms)


@pytest.mark.parametrize("name", LOW)
def test_the_rate_is_that_of_the_products(name: str, tmp_path: Path, measured: list[torch.dtype]) -> None:
    """MFU is a share of it."""
    config = ComputeConfig(name, threads=1)
    assert prepare_compute(config, tmp_path) == prepare_compute(config, tmp_path) == (PRECISIONS[name], 1e9)
    assert measured == [torch.float16 if name == "float16" else torch.bfloat16]
    assert json.loads((tmp_path / "compute.json").read_text())["dtype"] == name


def test_norms_of_steps_that_overflowed_are_no_part_of_the_mean() -> None:
    usual = Tick(1, 2.0, 3.0, 0.1, 8, 0.5, {})
    lost = usual._replace(gradient_norm=math.inf, overflowed=True)
    assert interval_metrics([usual, lost, usual._replace(gradient_norm=5.0)], 1e9, 6)["gradient_norm"] == 4.0
    assert interval_metrics([lost], 1e9, 6)["gradient_norm"] == math.inf


def test_a_dtype_that_there_is_not() -> None:
    with pytest.raises(ConfigError, match="dtype is 'fp8'; choose one of auto, float32, bfloat16, autocast, float16"):
        ComputeConfig("fp8")


def test_help_names_them(capsys: pytest.CaptureFixture[str]) -> None:
    main(["pretrain", "--help"])
    told = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "One of auto; float32; bfloat16 (weights, with fp32 masters); autocast (fp32 weights, bf16 products)" in told
