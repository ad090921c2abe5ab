"""Recipes of pretraining: what docs/recipes.md says of each, how the command line finds them, and that each trains."""

import json
import random
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import tyro

from groundup.accounting.decoder import matrix_parameters
from groundup.accounting.language_model import parameters, training_flops_per_token
from groundup.accounting.memory import training_memory
from groundup.cli import main as cli
from groundup.cli import pretrain
from groundup.core.errors import MissingError
from groundup.models.building import build_model
from groundup.models.config import DecoderConfig
from groundup.models.mixer_config import Attention
from groundup.models.presets import preset
from groundup.optim.optimizer_config import AdamW, Muon
from groundup.optim.schedule_config import Cosine, Wsd
from groundup.recipes.named import PRETRAINING, RECIPES, pretraining_recipe, recipe
from groundup.stages import compute
from groundup.stages.config import ComputeConfig, PretrainConfig
from groundup.stages.pretrain import run_pretrain

sys.path.insert(0, str(Path(__file__).parents[1] / "stages"))
from tiny_pretraining import BYTES

PAGE = Path(__file__).parents[2] / "docs" / "recipes.md"
FLAGS = (tyro.conf.CascadeSubcommandArgs, tyro.conf.AvoidSubcommands)
WHERE = "--corpus c --tokenizer t --out o"


def parsed(words: str) -> PretrainConfig:
    options = f"{WHERE} {words}".split()
    return tyro.cli(pretrain.Args, args=options, config=FLAGS, default=pretrain.defaults(options)).settings


def decoder(settings: PretrainConfig) -> DecoderConfig:
    assert isinstance(settings.model, DecoderConfig)
    return settings.model


def tokens(settings: PretrainConfig) -> int:
    return settings.rows_before(settings.steps) * settings.model.context_length


# --- what the page says ----------------------------------------------------------------------------------------------


def row(name: str) -> str:
    """The beginning of the table's line of a recipe, computed."""
    settings = pretraining_recipe(name)
    model, flops = decoder(settings), training_flops_per_token(settings.model)
    rows, optimizer = settings.batch_size // settings.accumulate, settings.optimizer.matrices.kind
    memory = training_memory(model, rows, model.context_length, "bfloat16", optimizer).total
    shape = f"{settings.batch_size} × {model.context_length}"
    horizon = [settings.budget, f"{flops:.3g} a token"]
    if not settings.budget:
        horizon = [f"{settings.steps:,} × {shape} = {tokens(settings):,}", f"{flops * tokens(settings):.3g}"]
    cells = [f"`{name}`", f"{model.vocab_size:,}", f"{parameters(model):,}", f"{matrix_parameters(model):,}", *horizon]
    return f"| {' | '.join(cells)} | {memory / 1e9:.1f} GB |"


@pytest.mark.parametrize("name", PRETRAINING)
def test_the_table_is_what_accounting_says(name: str) -> None:
    assert row(name) in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [*RECIPES, *PRETRAINING])
def test_the_page_and_the_help_name_every_recipe(name: str) -> None:
    assert f"`{name}`" in PAGE.read_text(encoding="utf-8")
    assert f"\n      {name} " in (pretrain.Args.__doc__ or "")


def test_the_models_have_the_sizes_that_were_published() -> None:
    published = {"tinystories-17m": 22_696_448, "owt": 45_224_448}  # by participants of the course
    for name in PRETRAINING:
        count = on_meta(pretraining_recipe(name))
        assert count == parameters(pretraining_recipe(name).model)
        assert count == published.get(name, count)
    assert on_meta(pretraining_recipe("tinystories-17m")) - 10_000 * 512 == pytest.approx(17e6, rel=0.05)


def on_meta(settings: PretrainConfig) -> int:
    """Parameters of the model itself, without memory for them."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build_model(settings.model).parameters())


def test_the_course_s_model_and_number_of_tokens() -> None:
    stories, web = pretraining_recipe("tinystories-17m"), pretraining_recipe("owt")
    assert stories.model == preset("cs336-tinystories")
    assert tokens(stories) == tokens(web) == 327_680_000
    assert web == replace(stories, model=replace(decoder(stories), vocab_size=32_000))
    optimizer = stories.optimizer
    assert (optimizer.matrices, optimizer.rest, optimizer.schedule) == (AdamW(), AdamW(), Cosine(0.1))
    assert optimizer.matrix_rate(optimizer.matrices) == optimizer.embedding_learning_rate == optimizer.learning_rate


def test_the_speedrun_is_a_decoder_of_gpt2_s_size_in_batches_of_half_a_million_tokens() -> None:
    settings = pretraining_recipe("speedrun-gpt2")
    model = decoder(settings)
    gpt2 = preset("gpt2-small")
    assert (model.depth, model.width, model.context_length) == (gpt2.depth, gpt2.width, gpt2.context_length)
    assert matrix_parameters(model) == pytest.approx(parameters(gpt2), rel=0.01)
    assert settings.batch_size * model.context_length == 2**19
    assert settings.optimizer.matrices == Muon()
    assert settings.optimizer.schedule == Wsd(0.7)
    assert 15 < tokens(settings) / matrix_parameters(model) < 21


def test_the_quickstart_s_pretraining_is_the_quickstart_s() -> None:
    for name in RECIPES:
        assert pretraining_recipe(name) == recipe(name).pretrain


# --- the command line ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRETRAINING)
def test_a_recipe_is_where_options_start(name: str) -> None:
    assert parsed(f"--recipe {name}") == pretraining_recipe(name)
    changed = parsed(f"--recipe {name} --budget 20tok/param --optimizer.schedule.kind constant --model.depth 3")
    assert (changed.budget, changed.optimizer.schedule.kind, decoder(changed).depth) == ("20tok/param", "constant", 3)
    assert changed.optimizer.matrices == pretraining_recipe(name).optimizer.matrices


def test_steps_that_are_asked_for_win_over_a_recipe_s_budget() -> None:
    assert parsed("--recipe laptop").budget == "1h,6epochs"
    for steps in ("--steps 7", "--steps=7"):
        assert (parsed(f"--recipe laptop {steps}").steps, parsed(f"--recipe laptop {steps}").budget) == (7, "")
    assert parsed("--recipe laptop --steps 7 --budget 10min").budget == "10min"


def test_an_unknown_recipe_suggests_the_nearest() -> None:
    with pytest.raises(MissingError, match=r"There is no recipe 'tinystories'; did you mean 'tinystories-17m'\?"):
        pretraining_recipe("tinystories")
    with pytest.raises(MissingError, match=r"There is no recipe 'quikstart'; did you mean 'quickstart'\?"):
        pretraining_recipe("quikstart")
    with pytest.raises(MissingError, match="The recipe 'owt' is for pretraining alone; known here: quickstart, short"):
        recipe("owt")


def test_another_vocabulary_than_the_recipe_s_is_told(tmp_path, monkeypatch, capsys) -> None:
    BYTES.save(tmp_path / "bytes")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("groundup.stages.pretrain.run_pretrain", lambda *inputs: 1 / 0)  # told before anything runs
    words = "pretrain --tokenizer bytes --corpus none.txt --out out"

    def told(options: str) -> str:
        with pytest.raises(ZeroDivisionError):
            cli.main(f"{words} {options}".split())
        return " ".join(capsys.readouterr().err.split())

    said = told("--recipe tinystories-17m")
    assert "is for a tokenizer of 10,000 tokens, but" in said
    assert f"bytes has 260: the model gets {22_696_448 - 2 * 512 * 9740:,} parameters instead of 22,696,448" in said
    assert told("--recipe tinystories-17m --model.vocab-size 260") == told("") == told("--recipe quickstart") == ""


# --- training --------------------------------------------------------------------------------------------------------


def shrunk(settings: PretrainConfig) -> PretrainConfig:
    """The same recipe with a small model and batch: kinds of mixers, optimizers and schedule stay."""
    model = decoder(settings)
    layer = model.layers[0]
    assert isinstance(layer.sequence, Attention)
    attention = replace(layer.sequence, num_heads=2, num_kv_heads=2)
    small = replace(layer, sequence=attention, channel=replace(layer.channel, hidden_width=0))
    return replace(
        settings,
        model=replace(model, vocab_size=260, context_length=32, width=32, depth=2, layers=(small,)),
        compute=ComputeConfig("float32", compile=False, threads=1),
        steps=3,
        budget="",
        batch_size=4,
        accumulate=min(settings.accumulate, 2),
        evaluate_windows=2,
        sample_tokens=2,
    )


@pytest.fixture
def inputs(tmp_path: Path) -> tuple[Path, Path]:
    """A text of one's own, a few kilobytes, and a tokenizer of bytes."""
    generator = random.Random(0)
    words = ["the", "river", "and", "village", "was", "winter", "of", "harvest"]
    (tmp_path / "notes.txt").write_text(" ".join(generator.choices(words, k=800)))
    BYTES.save(tmp_path / "tokenizer")
    return tmp_path / "notes.txt", tmp_path / "tokenizer"


@pytest.mark.parametrize("name", PRETRAINING)
def test_a_recipe_trains(name: str, inputs, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(compute, "measured_matmul_flops", lambda dtype: 1e9)
    settings = shrunk(pretraining_recipe(name))
    result = run_pretrain(settings, *inputs, tmp_path / "out")
    assert (result["steps"], result["tokens"]) == (3, 3 * 4 * 32)
    assert result["validation_bits_per_byte"] < 10  # a uniform guess has 8
    saved = json.loads((tmp_path / "out" / "config.json").read_text())
    assert saved["optimizer"]["matrices"]["kind"] == settings.optimizer.matrices.kind


def test_the_laptop_s_hour_is_planned_by_the_clock(inputs, tmp_path, monkeypatch) -> None:
    """A second instead of an hour, on a text that is read many times over."""
    monkeypatch.setattr(compute, "measured_matmul_flops", lambda dtype: 1e9)
    settings = replace(shrunk(pretraining_recipe("laptop")), budget="1s")
    result = run_pretrain(settings, *inputs, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "plan.json").read_text()) == {"budget": "1s", "steps": result["steps"]}
