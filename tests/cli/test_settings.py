"""`--PART.kind KIND`: the part becomes one of that kind before options are made, so that its own options exist."""

import pytest
import tyro

from groundup.cli import pretrain, quickstart
from groundup.cli.settings import with_kinds
from groundup.core.errors import ConfigError
from groundup.models.lstm_config import LstmConfig
from groundup.models.mixer_config import DeltaRule, MixtureOfExperts
from groundup.optim.optimizer_config import AdamW, Lion, Muon, Soap
from groundup.optim.schedule_config import Cosine, Wsd
from groundup.stages.config import PretrainConfig
from groundup.training.config import AverageConfig

FLAGS = (tyro.conf.CascadeSubcommandArgs, tyro.conf.AvoidSubcommands)
WHERE = "--corpus c --tokenizer t --out o "


def parsed(line: str) -> PretrainConfig:
    """As `groundup pretrain` reads its options."""
    words = (WHERE + line).split()
    return tyro.cli(pretrain.Args, args=words, config=FLAGS, default=pretrain.defaults(words)).settings


def test_options_of_the_chosen_kind_exist() -> None:
    found = parsed(
        "--optimizer.matrices.kind soap --optimizer.matrices.frequency 5 --optimizer.schedule.kind=cosine "
        "--optimizer.schedule.final-fraction 0.1 --optimizer.learning-rate 0.002 --optimizer.matrix-learning-rate 0.01"
    ).optimizer
    assert found.matrices == Soap(frequency=5)
    assert found.rest == AdamW()
    assert found.schedule == Cosine(0.1)
    assert (found.learning_rate, found.matrix_learning_rate) == (0.002, 0.01)


def test_the_kind_that_is_there_keeps_its_values() -> None:
    settings = PretrainConfig()
    settings = with_kinds(settings, ["--optimizer.matrices.kind", "muon"])
    assert settings == PretrainConfig()
    short = parsed("--recipe short --optimizer.schedule.kind wsd").optimizer
    assert (short.schedule, short.matrices, short.warmup_steps) == (Wsd(), Muon(iterations=3), 5)


def test_layers_and_models_have_kinds_too() -> None:
    found = parsed(
        "--model.layers.0.channel.kind mixture --model.layers.0.sequence.kind delta_rule --model.depth 2"
    ).model
    assert found.layers[0].channel == MixtureOfExperts()  # type: ignore[union-attr]
    assert found.layers[0].sequence == DeltaRule()  # type: ignore[union-attr]
    assert parsed("--model.kind lstm --model.depth 3").model == LstmConfig(depth=3)


def test_a_kind_that_is_an_option_like_any_other_changes_only_itself() -> None:
    found = parsed("--average.snapshots 3 --average.kind latest").average
    assert found == AverageConfig("latest", snapshots=3)
    assert parsed("--average.kind=exponential --average.decay 0.9").average == AverageConfig("exponential", decay=0.9)


def test_a_quickstarts_parts_are_reached_by_their_path() -> None:
    words = ["--pretrain.optimizer.rest.kind", "lion", "--grpo.optimizer.schedule.kind", "wsd"]
    settings = tyro.cli(quickstart.Args, args=words, config=FLAGS, default=quickstart.defaults(words)).settings
    assert settings.pretrain.optimizer.rest == Lion()
    assert settings.grpo.optimizer.schedule == Wsd()
    assert settings.sft.optimizer.rest == AdamW()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--optimizer.matrices.kind soup", "There is no kind 'soup' of optimizer.matrices; did you mean 'soap'"),
        ("--optimizer.rest.kind muon", "There is no kind 'muon' of optimizer.rest; did you mean 'lion'"),
        ("--model.layers.0.channel.kind=x", "There is no kind 'x' of model.layers.0.channel; known: dense, gated"),
    ],
)
def test_an_unknown_kind_is_refused(words: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        with_kinds(PretrainConfig(), words.split())


@pytest.mark.parametrize(
    "words",
    ["--optimizer.shedule.kind wsd", "--model.layers.7.channel.kind mixture", "--optimizer.rest.kind", "--x.kind y"],
)
def test_what_is_no_part_is_left_for_the_parser_to_refuse(words: str) -> None:
    assert with_kinds(PretrainConfig(), words.split()) == PretrainConfig()
