"""The inference benchmark: shapes, shared weights, the check that all sides run one model; without its peers."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))  # scripts, not a package

import inference as benchmark  # noqa: E402
from inference_peers.shapes import SHAPES, Shape, prompts, write_models  # noqa: E402
from inference_peers.sides import groundup  # noqa: E402

from groundup.checkpoint.gguf import read_gguf  # noqa: E402
from groundup.checkpoint.huggingface import read_huggingface  # noqa: E402
from groundup.checkpoint.store import latest_checkpoint  # noqa: E402

TINY = SHAPES["tiny"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("models")
    write_models(TINY, place)
    return place


def test_all_sides_have_the_same_weights(folder: Path) -> None:
    checkpoint = latest_checkpoint(folder / "checkpoints")
    assert checkpoint is not None
    ours = checkpoint.weights()
    assert sum(weight.numel() for weight in ours.values()) == TINY.parameters
    for _, theirs in (read_huggingface(folder / "huggingface"), read_gguf(folder / "bf16.gguf")):
        assert theirs.keys() == ours.keys()
        assert all(torch.equal(theirs[name].float(), ours[name]) for name in ours)


def test_124m_is_the_size_of_the_smallest_gpt2() -> None:
    assert SHAPES["124M"].parameters == pytest.approx(124e6, rel=0.01)
    untied = Shape(width=8, depth=1, heads=2, mlp_width=16, vocabulary=10, context=8, tied=False)
    assert untied.parameters == 4 * 64 + 3 * 8 * 16 + 2 * 8 + 8 + 2 * 80


@pytest.mark.parametrize("weights", ["bf16", "int8", "int4"])
def test_our_side_gives_as_many_tokens_as_asked(folder: Path, weights: str) -> None:
    side = groundup(folder, weights, 1, compiled=False)
    asked = prompts(TINY, 3, 5)
    assert [len(set(map(len, asked))), [len(ids) for ids in side.generate(asked, 4)]] == [1, [4, 4, 4]]
    assert side.prefill(asked[0]) == side.generate(asked[:1], 1)[0][0]


def test_prompts_are_the_same_everywhere_and_differ_by_row() -> None:
    assert prompts(TINY, 2, 4) == prompts(TINY, 2, 4)
    assert prompts(TINY, 2, 4)[0] != prompts(TINY, 2, 4)[1]


@pytest.mark.parametrize(("theirs", "agreed"), [([1, 2, 3, 4], True), ([1, 2, 3, 0], True), ([1, 2, 0, 0], False)])
def test_a_side_with_another_model_is_void(theirs: list[int], agreed: bool) -> None:
    session = benchmark.Session([], [], 1, 1, Path())
    sides = [SimpleNamespace(ready={"first": first}) for first in ([1, 2, 3, 4], theirs)]
    assert benchmark.agrees(session, "tiny", "llama.cpp bf16", *sides) is agreed
    assert bool(session.void) is not agreed


def test_every_promise_names_sides_that_exist() -> None:
    for size in SHAPES:
        for task in benchmark.tasks(size).values():
            for ours, peer in task.pairs:
                assert ours in benchmark.OURS
                assert peer in benchmark.PEERS


def test_a_claim_is_the_median_of_ratios_of_neighbours(capsys: pytest.CaptureFixture[str]) -> None:
    rates = iter([100.0, 50.0, 120.0, 110.0, 40.0, 90.0])
    side = SimpleNamespace(ask=lambda question: {"rate": next(rates)})
    session = benchmark.Session(["transformers bf16"], ["decode 1"], 2, 1, Path())
    task = benchmark.Task(1, 4, 2, {("bf16", "transformers bf16"): 2.0})
    benchmark.compete(session, "tiny", "decode 1", task, "bf16", {"bf16": side, "transformers bf16": side})
    (claim,) = session.claims
    assert claim.ratio == pytest.approx((110 / 50 + 100 / 40) / 2)
    assert claim.met
    assert json.loads(claim.json())["unit"] == "tokens/s"
