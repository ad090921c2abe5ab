"""The quickstart in one process: what it leaves behind, what it reuses, what a change makes anew."""

import json
from dataclasses import replace

import pytest
from tiny_quickstart import tiny_config, write_notes

from groundup.core.runs import read_metrics
from groundup.stages import compute
from groundup.stages.quickstart import run_quickstart

STAGES = ("corpus", "tokenizer", "pretrain", "evaluate", "sft", "grpo", "control")


@pytest.fixture(autouse=True)
def no_measurement(monkeypatch):
    """The machine's matrix products take seconds to measure."""
    monkeypatch.setattr(compute, "measured_matmul_flops", lambda dtype: 1e10)


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    """A run of the tiny quickstart; tests that change it copy nothing, they come last."""
    place = tmp_path_factory.mktemp("quickstart")
    config = tiny_config(write_notes(place / "notes"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compute, "measured_matmul_flops", lambda dtype: 1e10)
        run_quickstart(config, place / "runs" / "tiny")
    return config, place / "runs" / "tiny"


def results(out):
    return {stage: json.loads((out / stage / "result.json").read_text()) for stage in STAGES}


def test_the_summary_holds_the_numbers_that_it_promises(finished_run):
    _, out = finished_run
    summary = json.loads((out / "summary.json").read_text())
    assert set(summary["bits_per_byte"]) == {"model", "xz", "kneser_ney"}
    assert all(0 < bits < 10 for bits in summary["bits_per_byte"].values())
    for name in ("sft", "grpo", "control"):
        accuracy = summary["accuracy"][name]
        assert 0 <= accuracy["low"] <= accuracy["estimate"] <= accuracy["high"] <= 1
        assert accuracy["n"] == 30
    assert set(STAGES) <= set(summary["seconds"])
    assert all(seconds > 0 for seconds in summary["seconds"].values())
    assert summary["tokens_per_second"] > 0
    assert summary["mfu"] > 0
    report = (out / "report.html").read_text()
    assert "http://" not in report.replace("http://www.w3.org", "")


def test_the_numbers_are_those_of_the_stages(finished_run):
    _, out = finished_run
    summary, by_stage = json.loads((out / "summary.json").read_text()), results(out)
    assert summary["bits_per_byte"]["model"] == by_stage["evaluate"]["bits_per_byte"]["model"]
    for name in ("sft", "grpo", "control"):
        assert summary["accuracy"][name]["estimate"] == by_stage[name]["accuracy"]["estimate"]
        answers = (out / name / "eval" / "instructions" / "examples.jsonl").read_text().splitlines()
        right = sum(json.loads(line)["answer"].strip() == json.loads(line)["expected"] for line in answers)
        assert right == by_stage[name]["accuracy"]["correct"]
    assert by_stage["pretrain"]["tokens"] == 13 * 4 * 80
    assert by_stage["pretrain"]["steps"] == 13


def test_training_logged_each_interval_once(finished_run):
    _, out = finished_run
    lines = read_metrics(out / "pretrain")
    losses = [line["step"] for line in lines if "loss" in line]
    assert losses == [3, 4, 6, 8, 9, 12, 13]  # every third step, and wherever a checkpoint was written
    assert sum(line["tokens"] for line in lines if "loss" in line) == 13 * 4 * 80
    assert [line["step"] for line in lines if "validation_bits_per_byte" in line] == [5, 10, 13]
    for stage in ("grpo", "control"):
        lines = read_metrics(out / stage)
        assert [line["step"] for line in lines] == [1, 2, 3, 4]
        assert [line["step"] for line in lines if "heldout_accuracy" in line] == [3, 4]
    assert {line["reward"] for line in read_metrics(out / "control")} & {0.25, 0.5, 0.75}


def test_a_second_run_does_nothing_again(finished_run, monkeypatch):
    config, out = finished_run
    before = results(out)
    stamps = {path: path.stat().st_mtime_ns for stage in STAGES for path in (out / stage).rglob("*")}
    summary = (out / "summary.json").read_bytes()
    run_quickstart(config, out)
    assert {path: path.stat().st_mtime_ns for stage in STAGES for path in (out / stage).rglob("*")} == stamps
    assert results(out) == before
    assert (out / "summary.json").read_bytes() == summary


def test_a_changed_config_is_built_anew_from_where_it_changed(finished_run):
    config, out = finished_run
    before, pretrained = results(out), (out / "pretrain" / "result.json").stat().st_mtime_ns
    changed = replace(config, control=False, sft=replace(config.sft, max_steps=3))
    run_quickstart(changed, out)
    assert not (out / "control").exists(), "a control that is not wanted goes"
    after = json.loads((out / "sft" / "result.json").read_text())
    assert after["steps"] == 3 + config.sft.anneal_steps
    assert after["fingerprint"] != before["sft"]["fingerprint"]
    assert json.loads((out / "grpo" / "result.json").read_text())["fingerprint"] != before["grpo"]["fingerprint"]
    assert (out / "pretrain" / "result.json").stat().st_mtime_ns == pretrained, "what still fits is kept"
    assert json.loads((out / "summary.json").read_text())["accuracy"]["control"] is None
    assert json.loads((out / "config.json").read_text())["sft"]["max_steps"] == 3
