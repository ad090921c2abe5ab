"""`groundup runs`: the table, one run, and the sentence for what is not there."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from groundup.cli.main import EXIT_FAULT, main
from groundup.core.files import write_json
from groundup.core.runs import Run


@dataclass(frozen=True)
class Config:
    """A config with one value."""

    size: int = 1


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A finished run with a report, and an older one that stopped after its tokenizer."""
    accuracy = {"estimate": 0.25, "low": 0.2, "high": 0.3}
    with Run(tmp_path / "whole", Config()) as run:
        run.finish({"seconds": 600.0})
    report = {"seconds": {"corpus": 5}, "tokens_per_second": 9876, "bits_per_byte": {"model": 1.23456}}
    write_json(tmp_path / "whole" / "summary.json", {**report, "accuracy": {"sft": accuracy}, "list": [1, 2]})
    write_json(tmp_path / "whole" / "report.html", "")
    with Run(tmp_path / "partial", Config()), Run(tmp_path / "partial" / "tokenizer", Config()) as stage:
        stage.finish({"seconds": 3.0, "vocab_size": 4096, "ok": True})
    for age, name in enumerate(["whole", "partial"]):
        os.utime(tmp_path / name / "config.json", (10**9 - age, 10**9 - age))
    return tmp_path


def test_the_table_is_newest_first_with_the_best_numbers_first(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", str(root)]) == 0
    shown = capsys.readouterr().out
    order = ["whole", "finished", "bits_per_byte.model 1.235", "accuracy.sft 0.25", "tokens_per_second 9,876"]
    order += ["partial", "tokenizer", "unfinished"]
    places = [shown.index(word) for word in order if word not in ("finished", "unfinished")]
    assert places == sorted(places)
    assert "2001-09-09" in shown
    assert "vocab_size" in shown
    assert shown.splitlines()[-1].endswith("--name whole")


def test_one_run_shows_every_number_and_where_it_comes_from(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", str(root), "--name", "whole"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split() == ["state", "finished"] for line in lines)
    assert any(line.split() == ["bits_per_byte.model", "1.235"] for line in lines)
    assert any(line.split() == ["seconds.corpus", "5"] for line in lines)
    assert lines[-1] == f"report: {root / 'whole' / 'report.html'}; chat: groundup serve {root / 'whole'}"


def test_an_unfinished_run_shows_its_stages(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", str(root), "--name", "partial"]) == 0
    shown = capsys.readouterr().out
    assert "unfinished" in shown
    assert "tokenizer.vocab_size  4,096" in shown
    assert "tokenizer.ok" not in shown, "a truth value is no number"


def test_what_is_not_there_is_one_sentence(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", str(root), "--name", "hole"]) == EXIT_FAULT
    assert f"error: There is no run 'hole' in {root}; did you mean 'whole'?" in capsys.readouterr().err
    assert main(["runs", str(root / "absent")]) == EXIT_FAULT
    assert "make a run with `groundup quickstart`" in capsys.readouterr().err
    (root / "empty").mkdir()
    assert main(["runs", str(root / "empty")]) == 0
    assert "start one with `groundup quickstart`" in capsys.readouterr().out
