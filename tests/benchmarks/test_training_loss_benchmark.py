"""The benchmark of loss after equal time: claims from given runs, which runs there are, a stop, the peer."""

import json
import math
import os
import random
import statistics
import sys
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))  # scripts, not a package

import training_loss as benchmark  # noqa: E402
from harness.child import pin  # noqa: E402
from harness.measure import run_child  # noqa: E402
from training_loss import GPT2, OURS, Run, Session  # noqa: E402
from training_peers.gpt2_recipe import learning_rate, recipe_shape, train_for  # noqa: E402
from training_peers.gpt2_style import GPT2Style  # noqa: E402
from training_peers.loss_worker import Trained, heldout_score  # noqa: E402
from training_peers.shapes import SHAPES, random_batches  # noqa: E402

from groundup.batches.windows import WindowSource  # noqa: E402
from groundup.core.config import decode, encode  # noqa: E402
from groundup.core.files import write_text  # noqa: E402
from groundup.corpus.config import CorpusConfig  # noqa: E402
from groundup.models.presets import llama  # noqa: E402
from groundup.stages.config import ComputeConfig, PretrainConfig  # noqa: E402
from groundup.stages.corpus import run_corpus  # noqa: E402
from groundup.tokenization.bpe import BytePairTokenizer  # noqa: E402
from groundup.tokenization.chat import END_OF_TEXT, SPECIAL_TOKENS  # noqa: E402

EAGER, COMPILED = GPT2
BYTES = BytePairTokenizer([], special_tokens={name: 256 + index for index, name in enumerate(SPECIAL_TOKENS)})


def a_run(bits: float, seconds: float = 100.0, tokens: int = 1000) -> dict[str, Any]:
    score = {"bits_per_byte": bits, "low": bits - 0.1, "high": bits + 0.1}
    return {**score, "seconds": seconds, "tokens": tokens, "steps": 10, "parameters": 5, "code": "a"}


def a_session(scores: dict[str, list[float]], at_once: int = 1, place: Path = Path()) -> Session:
    """One whose runs of each side, in the order of seeds, have these bits per byte."""
    sides: dict[str, Any] = {OURS: PretrainConfig(), **GPT2}
    results = {Run(name, seed, 0): a_run(bits) for name, each in scores.items() for seed, bits in enumerate(each)}
    return Session(sides, 100.0, 3, 1, at_once, place / "corpus", place / "tokenizer", results)


def test_the_better_variant_counts_and_the_interval_is_student_s_over_seeds() -> None:
    session = a_session({OURS: [1.2, 1.3, 1.1], EAGER: [1.5, 1.4, 1.3], COMPILED: [1.4, 1.4, 1.2]})
    benchmark.report(session)
    (claim,) = session.claims
    assert (claim.claim, claim.peer, claim.unit) == ("bits per byte after 100 s", COMPILED, "bits per byte")
    assert (claim.ours, claim.theirs, claim.runs, claim.met) == (1.2, 1.4, 3, True)
    assert claim.ratio == pytest.approx(1.4 / 1.2)
    differences = [0.2, 0.1, 0.1]
    half = 4.302653 * statistics.stdev(differences) / math.sqrt(3)  # t of 2 degrees of freedom, from its tables
    mean = statistics.fmean(differences)
    assert claim.difference == {
        "estimate": pytest.approx(mean, abs=1e-5),
        "low": pytest.approx(mean - half, abs=1e-5),
        "high": pytest.approx(mean + half, abs=1e-5),
    }
    value = json.loads(claim.json())
    assert (value["ratio"], value["tokens"]["ours"], value["seconds"]["theirs"]) == (1.167, 1000, 100)


def test_a_higher_loss_of_ours_is_below_one_and_below_target() -> None:
    session = a_session({OURS: [1.5], EAGER: [1.2]})
    benchmark.report(session)
    (claim,) = session.claims
    assert (claim.ratio, claim.met) == (pytest.approx(0.8), False)
    assert claim.difference == {"estimate": pytest.approx(-0.3), "low": None, "high": None}
    assert json.loads(claim.json())["difference"]["low"] is None  # and no Infinity, which is no JSON
    benchmark.summarize(session, "title")


def test_a_config_of_before_has_a_claim_of_its_own_without_a_target() -> None:
    session = a_session({OURS: [1.2], EAGER: [1.5], "groundup, old.json": [1.25]})
    session.sides["groundup, old.json"] = PretrainConfig()
    benchmark.report(session)
    assert [(claim.peer, claim.target) for claim in session.claims] == [(EAGER, 1.0), ("groundup, old.json", None)]


def test_a_pair_in_which_ours_had_more_time_does_not_count() -> None:
    session = a_session({OURS: [1.2, 1.2, 1.2], EAGER: [1.5, 1.4, 1.3]})
    session.results[Run(OURS, 1, 0)]["seconds"] = 106.0
    session.results[Run(OURS, 2, 0)]["seconds"] = 104.0
    benchmark.report(session)
    assert (session.claims[0].runs, session.claims[0].theirs) == (2, pytest.approx(1.4))
    assert any("seed 1" in note and "106" in note for note in session.notes)


def test_one_after_the_other_or_ours_beside_every_group() -> None:
    session = a_session({})
    session.seeds = 2
    assert session.heats() == [[Run(side, seed, 0)] for seed in (0, 1) for side in (OURS, EAGER, COMPILED)]
    session.at_once = 2
    assert session.heats() == [
        [Run(OURS, seed, group), Run(side, seed, group)] for seed in (0, 1) for group, side in enumerate(GPT2)
    ]
    session.at_once = 8
    assert session.heats() == [[Run(side, seed, 0) for side in (OURS, EAGER, COMPILED)] for seed in (0, 1)]


def test_a_job_has_the_budget_the_seed_and_the_threads_and_the_others_as_long_as_ours() -> None:
    session = a_session({OURS: [1.2]})
    ours = session.job(Run(OURS, 2, 0), place=1)
    config = decode(PretrainConfig, ours["config"])
    assert (config.budget, config.seed, config.compute.threads) == ("100.000s", 2, 1)
    assert (ours["cores"], ours["place"], ours["side"]) == (1, 1, "groundup")
    assert session.job(Run(EAGER, 0, 0), place=0)["seconds"] == 100
    session.results[Run(OURS, 0, 0)]["seconds"] = 130.0
    theirs = session.job(Run(COMPILED, 0, 0), place=0)
    assert (theirs["seconds"], theirs["compiled"], theirs["side"]) == (130, True, "gpt2_style")
    session.at_once = 2
    assert session.job(Run(COMPILED, 0, 0), place=0)["seconds"] == 100


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where a corpus and a tokenizer have results with a fingerprint."""
    for name in ("corpus", "tokenizer"):
        write_text((tmp_path / name) / "result.json", json.dumps({"fingerprint": name}))
    return tmp_path


@pytest.mark.parametrize("at_once", [1, 2])
def test_a_stopped_benchmark_continues_and_a_finished_one_starts_anew(
    at_once: int, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int]] = []
    stops = [4]

    def child(module: str, job: dict[str, Any]) -> dict[str, Any]:
        if len(asked) == stops[0]:
            raise KeyboardInterrupt
        asked.append((job["side"], job["seed"]))
        return a_run(1.0)

    monkeypatch.setattr(benchmark, "run_child", child)
    store = place / "runs.jsonl"
    session = a_session({}, at_once, place)
    with pytest.raises(KeyboardInterrupt):
        benchmark.measure(session, store)
    done = len(session.results)
    assert done == 4
    stops[0] = -1
    session = a_session({}, at_once, place)
    benchmark.measure(session, store)
    runs = [run for heat in session.heats() for run in heat]
    assert len(asked) == len(runs)
    assert set(session.results) == set(runs)
    session = a_session({}, at_once, place)
    benchmark.measure(session, store)
    assert len(asked) == 2 * len(runs)


def test_runs_of_other_settings_are_not_taken_over(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = place / "runs.jsonl"
    session = a_session({}, place=place)
    first = session.settings()
    benchmark.append(store, [{"settings": first, "run": Run(OURS, 0, 0), "result": a_run(1.0)}])
    assert benchmark.kept_runs(store, first) == {Run(OURS, 0, 0): a_run(1.0)}
    assert a_session({}, place=place).settings() == first
    session.seconds = 50
    assert session.settings() != first
    assert benchmark.kept_runs(store, session.settings()) == {}
    write_text(place / "corpus" / "result.json", json.dumps({"fingerprint": "other"}))
    assert a_session({}, place=place).settings() != first


def test_a_peer_that_fails_is_left_out_and_our_failure_voids(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = {"side": "gpt2_style", "compiled": True}

    def child(module: str, job: dict[str, Any]) -> dict[str, Any]:
        return {"missing": "it broke"} if failing.items() <= job.items() else a_run(1.0)

    monkeypatch.setattr(benchmark, "run_child", child)
    session = a_session({}, place=place)
    benchmark.measure(session, place / "peer.jsonl")
    benchmark.report(session)
    assert [claim.peer for claim in session.claims] == [EAGER]
    assert f"{COMPILED}: left out (it broke)" in session.notes
    failing = {"side": "groundup"}
    session = a_session({}, place=place)
    benchmark.measure(session, place / "ours.jsonl")
    benchmark.report(session)
    assert (session.claims, session.void) == ([], [f"{OURS}: it broke"])


def test_processes_at_the_same_time_have_cores_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[set[int]] = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 5, 6}, raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, cores: taken.append(set(cores)), raising=False)
    for cores, number in ((1, 0), (2, 0), (2, 1), (9, 0)):
        pin(cores, number)
    assert taken == [{6}, {5, 6}, {1, 2}, {0, 1, 2, 5, 6}]


def test_the_peer_s_token_losses_are_torch_s_cross_entropy() -> None:
    torch.manual_seed(0)
    model = GPT2Style(SHAPES["tiny"])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)  # far from a uniform guess
    tokens, targets = random_batches(SHAPES["tiny"])[0]
    model.requires_grad_(False)
    losses, logits = model.token_losses(tokens, targets), model.logits(tokens)
    expected = [[torch.nn.functional.cross_entropy(logits[b, t], targets[b, t]) for t in (0, 7, 63)] for b in (0, 3)]
    torch.testing.assert_close(losses[[0, 3]][:, [0, 7, 63]], torch.tensor(expected))
    assert losses.mean().item() == pytest.approx(model(tokens, targets).item(), abs=1e-5)


def test_the_held_out_score_is_that_of_windows_of_the_peer_s_context() -> None:
    torch.manual_seed(0)
    model = GPT2Style(recipe_shape(BYTES.vocab_size))
    texts = ["abc é" * 20, "short"]
    nats = 0.0
    for text in texts:
        ids = torch.tensor([BYTES.special_tokens[END_OF_TEXT], *text.encode()])
        windows = [(start, min(start + 64, len(ids) - 1)) for start in range(0, len(ids) - 1, 64)]
        for start, end in windows:  # the last one is moved back so that it is full
            first = max(0, end - 64)
            logits = model.logits(ids[None, first:end])[0]
            losses = torch.nn.functional.cross_entropy(logits, ids[first + 1 : end + 1], reduction="none")
            nats += losses[start - first :].sum().item()
    expected = nats / math.log(2) / sum(len(text.encode()) for text in texts)
    assert heldout_score(Trained(model, 64, {}), BYTES, texts).estimate == pytest.approx(expected, rel=1e-5)


def test_the_learning_rate_warms_up_by_steps_and_falls_by_time_as_torch_s_cosine_does() -> None:
    assert learning_rate(0, 0.0, math.inf, 600.0) == pytest.approx(1e-3 / 101)
    assert learning_rate(99, 5.0, math.inf, 600.0) == pytest.approx(1e-3 * 100 / 101)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1e-3)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10, eta_min=1e-4)
    for tenth in range(11):
        now = 20 + 58 * tenth
        assert learning_rate(100 + tenth, now, 20.0, 600.0) == pytest.approx(cosine.get_last_lr()[0])
        optimizer.step()
        cosine.step()


def test_the_peer_trains_until_the_time_is_over_and_learns() -> None:
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    model = GPT2Style(SHAPES["tiny"])
    tokens = torch.arange(2_000).numpy() % 7  # text that can be learnt
    source = WindowSource(tokens, 4, 32, seed=0)
    batch = source.batch(0)
    before = model(batch.tokens_BT, batch.targets_BT).item()
    ticks = count()
    steps, seconds = train_for(41.0, model, source, clock=lambda: float(next(ticks)))  # a second for each look at it
    torch.set_num_threads(threads)
    assert (steps, seconds) == (40, 41.0)
    assert model(batch.tokens_BT, batch.targets_BT).item() < before - 0.5


def test_matrices_that_write_to_the_residual_stream_start_smaller() -> None:
    torch.manual_seed(0)
    model = GPT2Style(recipe_shape(300))
    for layer in model.layers:
        assert layer.up.weight.std().item() == pytest.approx(0.02, rel=0.05)
        for matrix in (layer.output, layer.down):
            assert matrix.weight.std().item() == pytest.approx(0.02 / math.sqrt(8), rel=0.05)


@pytest.mark.slow
def test_both_sides_train_and_are_scored_in_processes_of_their_own(tmp_path: Path) -> None:
    generator = random.Random(0)
    (tmp_path / "notes").mkdir()
    for number in range(24):
        words = generator.choices(("the", "of", "river", "village", "and", "winter", "that", "have"), k=300)
        (tmp_path / "notes" / f"{number}.txt").write_text(" ".join(words))
    run_corpus(CorpusConfig(source="files", inputs=(tmp_path / "notes",), seed=1), tmp_path / "corpus")
    BYTES.save(tmp_path / "tokenizer")
    model = llama(260, 48, width=32, depth=2, num_heads=2, num_kv_heads=1, mlp_width=64)
    config = PretrainConfig(
        model=model, compute=ComputeConfig(compile=False, threads=1), budget="1s", evaluate_windows=4
    )
    paths = {"corpus": str(tmp_path / "corpus"), "tokenizer": str(tmp_path / "tokenizer")}
    for side, row in (({"side": "groundup", "config": encode(config)}, 16 * 48), ({"side": "gpt2_style"}, 12 * 64)):
        found = run_child(benchmark.WORKER, {**paths, **side, "compiled": False, "seconds": 1.0, "seed": 3, "cores": 1})
        assert found["tokens"] == found["steps"] * row
        assert 0.3 < found["seconds"] < 5
        assert found["low"] <= found["bits_per_byte"] <= found["high"]
        assert found["bits_per_byte"] < 8.5  # a guess has log2(260) = 8.02, and a second on a busy machine few steps
