"""Run folders: reuse, resume, rewind, refusal of what is not a run, and faults of the disk."""

import json
import logging
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.core.errors import InputError, OutputError
from groundup.core.files import read_json
from groundup.core.runs import Run, clear, finished, list_runs, read_metrics, read_samples


@dataclass(frozen=True)
class Config:
    """A config with one value."""

    size: int = 1


def steps_of(directory: Path) -> list[int]:
    return [line["step"] for line in read_metrics(directory)]


def test_a_kill_before_any_line_then_a_second_start_ends_the_same(tmp_path: Path) -> None:
    script = Path(__file__).with_name("kill_scenarios.py")
    subprocess.run([sys.executable, str(script), "resume_a_run", str(tmp_path)], check=True, timeout=100)


def test_a_finished_run_is_reused_for_the_same_config_and_inputs_only(tmp_path: Path) -> None:
    assert finished(tmp_path, Config()) is None
    with Run(tmp_path, Config(), {"corpus": "abc"}) as run:
        assert finished(tmp_path, Config(), {"corpus": "abc"}) is None
        written = run.finish({"seconds": 2.5})
    assert finished(tmp_path, Config(), {"corpus": "abc"}) == written == read_json(tmp_path / "result.json")
    assert written["seconds"] == 2.5
    assert finished(tmp_path, Config(2), {"corpus": "abc"}) is None
    assert finished(tmp_path, Config(), {"corpus": "abd"}) is None
    assert finished(tmp_path, Config()) is None


def test_the_folder_tells_what_was_asked_and_what_it_ran_on(tmp_path: Path) -> None:
    with Run(tmp_path, Config(3), {"corpus": "abc"}) as run:
        run.add_provenance(kernels={"attention": "reference"})
        logging.getLogger("groundup.test").info("a message")
    assert read_json(tmp_path / "config.json") == {"size": 3}
    recorded = read_json(tmp_path / "provenance.json")
    assert recorded["inputs"] == {"corpus": "abc"}
    assert recorded["kernels"] == {"attention": "reference"}
    assert "INFO groundup.test: a message" in (tmp_path / "log.txt").read_text()
    assert logging.getLogger("groundup").handlers == [], "a closed run listens no more"


def test_a_run_of_another_config_is_cleared_and_one_of_the_same_is_continued(tmp_path: Path) -> None:
    with Run(tmp_path, Config(1)) as run:
        run.log(1, {"loss": 3.0})
        (tmp_path / "checkpoints").mkdir()
        run.finish({})
    with Run(tmp_path, Config(1)) as run:
        run.log(2, {"loss": 2.0})
    assert steps_of(tmp_path) == [1, 2]
    assert (tmp_path / "checkpoints").is_dir()
    with Run(tmp_path, Config(2)):
        pass
    assert steps_of(tmp_path) == []
    assert sorted(os.listdir(tmp_path)) == ["config.json", "log.txt", "metrics.jsonl", "provenance.json"]


@pytest.mark.parametrize("content", [{"notes.txt": "mine"}, {"provenance.json": "[]"}, {"provenance.json": "{}"}])
def test_a_folder_that_is_no_run_is_refused_untouched(content: dict[str, str], tmp_path: Path) -> None:
    for name, text in content.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(OutputError, match="holds files that are not a run's; choose another folder"):
        Run(tmp_path, Config())
    with pytest.raises(OutputError, match="holds files that are not a run's"):
        clear(tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == content


def test_clear_follows_no_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    with Run(tmp_path / "run", Config()):
        pass
    (tmp_path / "run" / "link").symlink_to(outside)
    clear(tmp_path / "run")
    assert os.listdir(tmp_path / "run") == []
    assert (outside / "precious").exists()
    clear(tmp_path / "absent")


def test_a_second_writer_is_refused_and_a_closed_or_failed_one_is_not_in_the_way(tmp_path: Path) -> None:
    with Run(tmp_path, Config()), pytest.raises(OutputError, match="is being written by another process"):
        Run(tmp_path, Config(2))
    with pytest.raises(ZeroDivisionError), Run(tmp_path, Config()):
        _ = 1 / 0
    with Run(tmp_path, Config()) as run:
        run.finish({})


@settings(max_examples=25)
@given(st.lists(st.integers(1, 5), max_size=8), st.integers(0, 20), st.data())
def test_what_a_kill_leaves_of_the_metrics_can_be_read_continued_and_rewound(
    tmp_path_factory: pytest.TempPathFactory, gaps: list[int], rewind_to: int, data: st.DataObject
) -> None:
    directory = tmp_path_factory.mktemp("run")
    steps = [sum(gaps[: index + 1]) for index in range(len(gaps))]
    with Run(directory, Config()) as run:
        for step in steps:
            run.log(step, {"loss": 1 / step, "note": "naïve\u2028line"})
    path = directory / "metrics.jsonl"
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    kept = steps[: whole[:cut].count(b"\n")]
    readable = steps_of(directory)
    assert readable in (kept, steps[: len(kept) + 1]), "only the end of a whole last line may be missing"
    with Run(directory, Config()) as run:
        run.log(99, {})
        assert steps_of(directory) == [*kept, 99]
        run.rewind(rewind_to)
        run.log(100, {})
    assert steps_of(directory) == [*(step for step in kept if step <= rewind_to), 100]


def test_samples_are_continued_and_rewound_as_metrics_are(tmp_path: Path) -> None:
    text = "naïve\u2028line\n"
    with Run(tmp_path, Config()) as run:
        assert not (tmp_path / "samples.jsonl").exists()
        for step in (5, 10, 15):
            run.log(step, {"loss": 1.0})
            run.log_sample(step, "The", text)
    with open(tmp_path / "samples.jsonl", "a") as file:
        file.write('{"step": 20, "pro')  # a kill
    with Run(tmp_path, Config()) as run:
        run.rewind(10)
        run.log_sample(12, "A", text)
    assert read_samples(tmp_path) == [{"step": step, "prompt": prompt, "text": text}
        for step, prompt in ((5, "The"), (10, "The"), (12, "A"))]  # fmt: skip
    assert steps_of(tmp_path) == [5, 10]


def test_a_follower_hears_every_line_and_rewind_while_it_follows(tmp_path: Path) -> None:
    heard: list[tuple[str, int, object]] = []

    class Follower:
        def log(self, step: int, values: dict[str, object]) -> None:
            written = (tmp_path / "metrics.jsonl").read_text() + (tmp_path / "samples.jsonl").read_text()
            heard.append(("log", step, json.dumps(values)[1:-1] in written))

        def rewind(self, step: int, metrics: list[dict[str, object]]) -> None:
            heard.append(("rewind", step, metrics))

    with Run(tmp_path, Config()) as run:
        run.log_sample(1, "The", "end")
        with run.followed_by(Follower()):
            run.log(1, {"loss": 2.0})
            run.log_sample(2, "The", "end")
            run.log(3, {"loss": 1.0})
            run.rewind(2)
        run.log(4, {"loss": 1.0})
    lines = [("log", 1, True), ("log", 2, True), ("log", 3, True)]
    assert heard == [*lines, ("rewind", 2, [{"step": 1, "loss": 2.0}])]


def test_a_broken_line_in_the_middle_is_named(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\nbroken\n{"step": 2}\n')
    with pytest.raises(InputError, match=r"metrics\.jsonl line 2 is not JSON .*; repair or delete the file"):
        read_metrics(tmp_path)


def test_a_logged_line_can_be_read_at_once(tmp_path: Path) -> None:
    with Run(tmp_path, Config()) as run:
        run.log(1, {"loss": 0.5})
        assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {"step": 1, "loss": 0.5}


def test_a_full_disk_is_one_sentence_and_the_run_can_be_continued(small_disk: Path) -> None:
    directory = small_disk / "run"
    with pytest.raises(OutputError, match=r"metrics\.jsonl: no space left on device"), Run(directory, Config()) as run:
        run.log(1, {"filler": "x" * 10**6})
    (directory / "metrics.jsonl").write_text("")
    with Run(directory, Config()) as run:
        run.finish({"seconds": 1})
    assert finished(directory, Config()) is not None


def test_a_log_on_a_full_disk_is_one_sentence_too(small_disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(OutputError, match=r"log\.txt: no space left on device"), Run(small_disk / "run", Config()):
        logging.getLogger("groundup.test").info("x" * 10**6)
    assert capsys.readouterr().err == ""


def test_list_runs_is_newest_first_with_the_stages_that_are_done(tmp_path: Path) -> None:
    for age, name in enumerate(["young", "old"]):
        with Run(tmp_path / name, Config()) as run:
            for order, stage in enumerate(["tokenizer", "pretrain", "evaluate"]):
                with Run(tmp_path / name / stage, Config()) as inner:
                    if stage != "evaluate":
                        inner.finish({})
                        os.utime(tmp_path / name / stage / "result.json", (1000 + order, 1000 + order))
            if name == "old":
                run.finish({})
        os.utime(tmp_path / name / "config.json", (2000 - age, 2000 - age))
    (tmp_path / "no-run").mkdir()
    (tmp_path / "file").touch()
    found = [(one.name, one.stages, one.finished, one.modified) for one in list_runs(tmp_path)]
    stages = ("tokenizer", "pretrain")
    assert found == [("young", stages, False, 2000.0), ("old", stages, True, 1999.0)]
    assert list(list_runs(tmp_path / "absent")) == []
