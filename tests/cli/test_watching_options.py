"""How a run is watched, from the command line: options of pretrain, and the verb that writes a run's page."""

from pathlib import Path

import pytest
import tyro

from groundup.cli import pretrain
from groundup.cli.main import EXIT_FAULT, EXIT_USAGE, main
from groundup.core.config import decode, encode, fingerprint
from groundup.core.files import write_json
from groundup.core.runs import Run
from groundup.stages.config import PretrainConfig

WHERE = "--corpus c --tokenizer t --out o"
FLAGS = (tyro.conf.CascadeSubcommandArgs, tyro.conf.AvoidSubcommands)


def parsed(words: str) -> PretrainConfig:
    options = f"{WHERE} {words}".split()
    return tyro.cli(pretrain.Args, args=options, config=FLAGS, default=pretrain.defaults(options)).settings


def test_nothing_is_logged_elsewhere_unless_asked_for() -> None:
    assert parsed("").log_to == ()
    assert parsed("").dashboard


@pytest.mark.parametrize("words", ["tensorboard,wandb", "tensorboard wandb", "tensorboard, wandb tensorboard"])
def test_several_places_are_given_with_commas_or_blanks(words: str) -> None:
    found = parsed(f"--log-to {words} --no-dashboard")
    assert found.log_to == ("tensorboard", "wandb")
    assert not found.dashboard


def test_samples_have_prompts_and_a_length_and_none_are_none() -> None:
    found = parsed("--sample-prompts The We --sample-tokens 7")
    assert (found.sample_prompts, found.sample_tokens) == (("The", "We"), 7)
    assert parsed("--sample-prompts --steps 3").sample_prompts == ()


def test_an_unknown_place_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(f"pretrain {WHERE} --log-to tensorbord".split()) == EXIT_USAGE
    error = " ".join(capsys.readouterr().err.split())
    assert error == "error: There is no 'tensorbord' to log to; did you mean 'tensorboard'?"


def test_how_a_run_is_watched_is_kept_but_makes_no_other_run_of_it() -> None:
    plain, watched = PretrainConfig(), parsed("--log-to wandb --no-dashboard --sample-prompts a --sample-tokens 3")
    assert decode(PretrainConfig, encode(watched)) == watched
    assert fingerprint(parsed("")) == fingerprint(watched)
    assert fingerprint(plain) != fingerprint(PretrainConfig(steps=plain.steps + 1))


def test_report_writes_the_page_of_a_run_that_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Run(tmp_path / "run", PretrainConfig()) as run:
        run.log(1, {"loss": 3.0})
        run.log_sample(1, "The", " end")
        assert main(["report", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().out == f"report: {tmp_path / 'run' / 'report.html'}\n"
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Training loss" in page
    assert "Started and not finished: pretraining." in page
    write_json(tmp_path / "empty" / "x.json", {})
    assert main(["report", str(tmp_path / "empty")]) == EXIT_FAULT
    assert "holds no result of a stage" in capsys.readouterr().err
