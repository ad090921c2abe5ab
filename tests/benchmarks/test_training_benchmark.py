"""The training benchmark: processes that take turns, ratios of pairs, shapes, the baseline; without its peers."""

import json
import math
import os
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))  # scripts, not a package

import training as benchmark  # noqa: E402
from harness.turns import Side, fastest, paired, take_turns  # noqa: E402
from training_peers.gpt2_style import GPT2Style  # noqa: E402
from training_peers.shapes import SHAPES, random_batches  # noqa: E402
from training_peers.steps import gpt2_style, groundup  # noqa: E402

from groundup.accounting.decoder import layers_cost  # noqa: E402
from groundup.accounting.language_model import parameters  # noqa: E402
from groundup.models.presets import llama  # noqa: E402

TINY = SHAPES["tiny"]
CHILD = """
import os, time
from harness.child import serve

def start(job):
    if job.get("fails"):
        raise ValueError("no such side")
    print("a library's own words on standard output")
    asked = []

    def answer(question):
        asked.append(question)
        if question.get("dies"):
            os._exit(7)
        if question.get("sleeps"):
            time.sleep(60)
        return {"number": len(asked), "twice": 2 * question["value"]}

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    return {"cores": cores, "threads": os.environ["OMP_NUM_THREADS"]}, answer

serve(start)
"""


@pytest.fixture
def child(tmp_path: Path) -> dict[str, str]:
    """The environment in which a module `answering_child` can be run."""
    (tmp_path / "answering_child.py").write_text(CHILD)
    return {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(BENCHMARKS)])}


def test_a_side_answers_every_question_from_one_process(child: dict[str, str]) -> None:
    with Side("answering_child", {"cores": 1}, environment=child) as side:
        assert side.ready == {"cores": 1, "threads": "1"}
        assert [side.ask({"value": value})["twice"] for value in (3, 5)] == [6, 10]
        assert side.last == {"number": 2, "twice": 10}
        process = side._process
    assert process.returncode == 0


def test_a_fault_of_a_side_is_an_answer_and_the_last_one(child: dict[str, str]) -> None:
    with Side("answering_child", {"fails": True}, environment=child) as side:
        assert side.ready == {"missing": "ValueError: no such side"}
        assert "missing" in side.ask({"value": 1})
    with Side("answering_child", {}, environment=child) as side:
        assert side.ask({}) == {"missing": "KeyError: 'value'"}
    with Side("answering_child", {}, environment=child) as side:
        assert "code 7" in side.ask({"dies": True})["missing"]
    with Side("no_such_module_anywhere", {}) as side:
        assert "No module named" in side.ready["missing"]


def test_a_side_that_hangs_is_given_up(child: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    with Side("answering_child", {}, environment=child) as side:
        side.seconds = 0.2
        assert side.ask({"sleeps": True}) == {"missing": "no answer within 0.2 seconds"}
        assert side._process.returncode != 0


def drifting(rates: dict[str, float], failing: str = "") -> tuple[dict[str, SimpleNamespace], Any]:
    """Sides whose rates all grow from question to question, as on a machine that gets faster; and what asks them."""
    clock = count(10)
    sides = {name: SimpleNamespace(name=name, rate=rate) for name, rate in rates.items()}
    asked: list[str] = []

    def rate(side: SimpleNamespace) -> float | str:
        asked.append(side.name)
        return "it broke" if side.name == failing and asked.count(failing) == 2 else side.rate * next(clock)

    rate.asked = asked
    return sides, rate


def test_a_drifting_machine_does_not_change_the_ratios() -> None:
    sides, rate = drifting({"ours": 3.0, "a": 1.0, "b": 2.0})
    pairs, dropped = take_turns(sides["ours"], {name: sides[name] for name in "ab"}, 3, rate)
    assert dropped == {}
    assert rate.asked == ["ours", "a", "ours", "b", "ours"] * 3
    for name, expected in (("a", 3.0), ("b", 1.5)):
        claim = paired("train", name, pairs[name], "tokens/s", target=2.0)
        assert claim.ratio == pytest.approx(expected)
        assert (claim.runs, claim.met) == (3, expected >= 2)


def test_a_peer_that_fails_drops_out_and_our_own_failure_ends_it() -> None:
    sides, rate = drifting({"ours": 3.0, "a": 1.0, "b": 2.0}, failing="a")
    pairs, dropped = take_turns(sides["ours"], {name: sides[name] for name in "ab"}, 3, rate)
    assert dropped == {"a": "it broke"}
    assert (len(pairs["a"]), len(pairs["b"])) == (1, 3)
    sides, rate = drifting({"ours": 3.0, "a": 1.0}, failing="ours")
    assert take_turns(sides["ours"], {"a": sides["a"]}, 3, rate)[1] == {"": "it broke"}


def test_the_fastest_way_is_taken_and_a_broken_one_is_not() -> None:
    sides, rate = drifting({"slow": 1.0, "fast": 5.0, "broken": 9.0}, failing="broken")
    best, found = fastest(sides, 3, rate)
    assert best == "fast"
    assert found["broken"] == "it broke"
    assert fastest({}, 3, rate)[0] is None


def test_the_ratio_is_the_median_of_ratios_not_of_rates() -> None:
    claim = paired("train", "them", [(10.0, 1.0), (20.0, 10.0), (60.0, 20.0)], "tokens/s")
    assert (claim.ours, claim.theirs, claim.ratio) == (20.0, 10.0, 3.0)
    assert json.loads(claim.json())["target"] is None


@pytest.mark.parametrize("size", SHAPES)
def test_shapes_count_as_our_accounting_does(size: str) -> None:
    shape = SHAPES[size]
    config = llama(
        shape.vocabulary, shape.context, shape.width, shape.depth, shape.heads, shape.heads, mlp_width=shape.mlp_width
    )
    assert shape.parameters == parameters(config)
    assert shape.matrix_parameters == layers_cost(config).matrices + shape.vocabulary * shape.width


def test_batches_are_the_same_each_time_and_targets_follow_tokens() -> None:
    first, again = random_batches(TINY), random_batches(TINY)
    assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(first, again, strict=True))
    tokens, targets = first[0]
    assert tokens.shape == targets.shape == (TINY.batch, TINY.context)
    assert torch.equal(tokens[:, 1:], targets[:, :-1])
    assert not torch.equal(tokens, first[1][0])
    assert tokens.max() < TINY.vocabulary


def test_the_baseline_is_gpt2_as_transformers_has_it() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    ours = GPT2Style(TINY)
    config = GPT2Config(
        vocab_size=TINY.vocabulary,
        n_positions=TINY.context,
        n_embd=TINY.width,
        n_layer=TINY.depth,
        n_head=TINY.heads,
        activation_function="gelu",
        resid_pdrop=0,
        embd_pdrop=0,
        attn_pdrop=0,
    )
    theirs = GPT2LMHeadModel(config).eval()
    names = {"attn.c_attn": "query_key_value", "attn.c_proj": "output", "mlp.c_fc": "up", "mlp.c_proj": "down"}
    with torch.no_grad():
        theirs.transformer.wte.weight.copy_(ours.embedding.weight)
        theirs.transformer.wpe.weight.copy_(ours.positions.weight)
        for their_layer, our_layer in zip(theirs.transformer.h, ours.layers, strict=True):
            for their_name, our_name in names.items():
                module = their_layer.get_submodule(their_name)
                module.weight.copy_(our_layer.get_submodule(our_name).weight.T)
                module.bias.zero_()
    tokens, targets = random_batches(TINY)[0]
    logits = theirs(tokens).logits
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
    assert ours(tokens, targets).item() == pytest.approx(expected.item(), abs=1e-5)


@pytest.fixture
def few_steps() -> Iterator[None]:
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("few_steps")
@pytest.mark.parametrize("optimizer", ["adamw", "muon", None])
def test_our_steps_and_the_baseline_s_train(optimizer: str | None) -> None:
    trainee = gpt2_style(TINY) if optimizer is None else groundup(TINY, optimizer, compiled=False)
    losses = [trainee.step() for _ in range(17)]
    ready = {"first_loss": losses[0], "parameters": trainee.parameters}
    assert benchmark.wrong(ready, TINY) is None
    assert losses[16] < losses[0] - 0.05  # the same batch, for the third time


def test_what_a_side_must_show_before_it_counts() -> None:
    right = {"first_loss": math.log(TINY.vocabulary) + 0.1, "parameters": TINY.parameters}
    assert benchmark.wrong(right, TINY) is None
    assert benchmark.wrong({"step_seconds": 0.0}, TINY) is None  # the matrix product
    assert benchmark.wrong({"missing": "no module"}, TINY) == "no module"
    assert "first loss" in str(benchmark.wrong({**right, "first_loss": math.nan}, TINY))
    assert "parameters" in str(benchmark.wrong({**right, "parameters": TINY.parameters // 2}, TINY))
    side = SimpleNamespace(ready=right, last={"loss": right["first_loss"] - 1})
    assert benchmark.untrained(side) is None
    side.last = {"loss": right["first_loss"]}
    assert "did not fall" in str(benchmark.untrained(side))


def test_claims_say_who_is_compared_and_the_share_is_of_flops() -> None:
    session = benchmark.Session([], runs=2, threads=1, stretch_seconds=1)
    benchmark.report(session, "19M", "litgpt", [(12.0, 10.0), (14.0, 10.0)])
    benchmark.report(session, "19M", "muon", [(10.0, 8.0)])
    benchmark.report(session, "19M", "matrix", [(1_000.0, 200e9)])
    litgpt, muon, matrix = session.claims
    assert (litgpt.ratio, litgpt.target, litgpt.met) == (pytest.approx(1.3), 1.15, True)
    assert (muon.ratio, muon.peer, muon.target) == (0.8, "groundup, AdamW", None)
    assert matrix.ratio == pytest.approx(6 * SHAPES["19M"].matrix_parameters * 1_000 / 200e9)
    assert (matrix.target, matrix.unit, matrix.met) == (0.75, "GFLOP/s", False)


def test_a_stretch_is_as_long_as_asked_and_at_least_two_steps() -> None:
    session = benchmark.Session([], runs=1, threads=1, stretch_seconds=4)
    assert session.steps(SimpleNamespace(ready={"step_seconds": 0.5})) == 8
    assert session.steps(SimpleNamespace(ready={"step_seconds": 9.0})) == 2
