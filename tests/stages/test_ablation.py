"""Variants side by side: equal compute, rows that agree with the runs, reuse, divergence, the command line."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_quickstart import tiny_config, write_notes

from groundup.accounting.language_model import training_flops_per_token
from groundup.cli import main as cli
from groundup.cli.ablate import Args, chosen
from groundup.core.config import decode, encode
from groundup.core.errors import ConfigError
from groundup.models.config import Norm
from groundup.models.lstm_config import LstmConfig
from groundup.recipes.ablations import ABLATIONS, architecture
from groundup.stages import ablation, compute
from groundup.stages.ablation import at_equal_compute, run_ablation
from groundup.stages.config import AblationConfig, Variant
from groundup.tokenization.bpe import BytePairTokenizer
from groundup.tokenization.chat import SPECIAL_TOKENS
from groundup.training.loop import Diverged


@pytest.fixture(autouse=True)
def unmeasured(monkeypatch):
    """The true measurement takes a second."""
    monkeypatch.setattr(compute, "fastest_dtype", lambda: torch.float32)
    monkeypatch.setattr(compute, "measured_matmul_flops", lambda dtype: 1e9)


@pytest.fixture
def notes(tmp_path):
    return write_notes(tmp_path / "notes")


@pytest.fixture
def words(tmp_path):
    special = {name: 256 + index for index, name in enumerate(SPECIAL_TOKENS)}
    return BytePairTokenizer([], special_tokens=special).save(tmp_path / "words").parent


@pytest.fixture
def config(notes):
    base = replace(tiny_config(notes).pretrain, steps=4)
    models = {
        "base": base.model,
        "no norm": replace(base.model, norm=Norm("none")),
        "lstm": LstmConfig(context_length=80, width=32, depth=1),
    }
    return AblationConfig(tuple(Variant(name, replace(base, model=each)) for name, each in models.items()), seeds=2)


def test_rows_are_those_of_the_runs(config, notes, words, tmp_path):
    rows = {row["name"]: row for row in run_ablation(config, notes, words, tmp_path / "out")["rows"]}
    assert list(rows) == ["base", "no norm", "lstm"]
    found = {
        name: [
            json.loads((tmp_path / "out" / name.replace(" ", "_") / f"seed_{seed}" / "result.json").read_text())
            for seed in range(2)
        ]
        for name in rows
    }
    for name, row in rows.items():
        values = np.array([each["validation_bits_per_byte"] for each in found[name]])
        assert row["runs"] == list(values)
        assert values[0] != values[1]
        assert row["bits_per_byte"]["estimate"] == pytest.approx(values.mean())
        assert (row["tokens"], row["steps"]) == (found[name][0]["tokens"], found[name][0]["steps"])
        half = 12.706 * values.std(ddof=1) / np.sqrt(2)
        assert row["bits_per_byte"]["high"] - row["bits_per_byte"]["estimate"] == pytest.approx(half, rel=1e-3)
    base = np.array(rows["base"]["runs"])
    assert rows["base"]["difference"] is None
    assert rows["lstm"]["difference"]["estimate"] == pytest.approx((np.array(rows["lstm"]["runs"]) - base).mean())
    table = (tmp_path / "out" / "table.md").read_text()
    assert f"| no norm | {rows['no norm']['bits_per_byte']['estimate']:.3f} |" in table
    assert (tmp_path / "out" / "ablation.png").read_bytes().startswith(b"\x89PNG")


def test_all_get_the_flops_of_the_base(config):
    variants = {each.name: each.pretrain for each in at_equal_compute(config.variants, 260)}
    spent = {
        name: each.steps * each.batch_size * 80 * training_flops_per_token(each.model)
        for name, each in variants.items()
    }
    assert variants["base"].steps == 4
    assert variants["lstm"].steps != 4
    assert all(each.model.vocab_size == 260 for each in variants.values())
    for name, flops in spent.items():  # to the nearest step
        assert abs(flops - spent["base"]) <= spent[name] / variants[name].steps / 2


def test_whole_runs_are_reused_and_a_variant_may_come_later(config, notes, words, tmp_path, monkeypatch):
    first = run_ablation(replace(config, variants=config.variants[:2]), notes, words, tmp_path / "out")
    trained = []
    run_pretrain = ablation.run_pretrain
    monkeypatch.setattr(ablation, "run_pretrain", lambda *given: trained.append(given[-1]) or run_pretrain(*given))
    monkeypatch.setattr("groundup.stages.pretraining.train", only(LstmConfig))
    second = run_ablation(config, notes, words, tmp_path / "out")
    assert len(trained) == 6
    assert second["rows"][:2] == first["rows"]


def only(kind):
    """The training loop, which may train no other models."""
    from groundup.training.loop import train

    def ticks(state, *arguments):
        assert isinstance(state.model.config, kind)
        return train(state, *arguments)

    return ticks


def test_a_variant_that_diverges_is_told_and_the_others_go_on(config, notes, words, tmp_path, monkeypatch):
    run_pretrain = ablation.run_pretrain

    def sometimes(settings, *rest):
        if settings.model.kind == "lstm" or (getattr(settings.model, "norm", None) == Norm("none") and settings.seed):
            raise Diverged("The loss is nan at step 3.")
        return run_pretrain(settings, *rest)

    monkeypatch.setattr(ablation, "run_pretrain", sometimes)
    base, bare, lstm = run_ablation(config, notes, words, tmp_path / "out")["rows"]
    assert (base["diverged"], bare["diverged"], lstm["diverged"]) == (0, 1, 2)
    assert bare["difference"]["estimate"] == pytest.approx(bare["runs"][0] - base["runs"][0])
    assert bare["difference"]["low"] is None
    assert lstm["bits_per_byte"] is None
    table = (tmp_path / "out" / "table.md").read_text()
    assert "(1 of 2 diverged)" in table
    assert "| lstm | diverged |  |" in table


def test_the_named_ablations_are_configs():
    for make in ABLATIONS.values():
        config = make()
        assert decode(AblationConfig, json.loads(json.dumps(encode(config)))) == config
        tokens = [each.pretrain for each in at_equal_compute(config.variants, 4096)]
        assert all(1 / 2 < each.steps / tokens[0].steps < 2 for each in tokens)


def test_the_options_choose_variants_seeds_and_steps():
    names = ("LSTM", "base")
    args = Args("architecture", Path("c"), Path("t"), Path("o"), only=names, seeds=1, steps=7)
    config = chosen(architecture(), args)
    assert [each.name for each in config.variants] == list(names)
    assert (config.seeds, config.variants[0].pretrain.steps, config.variants[1].pretrain.steps) == (1, 7, 150)


@pytest.mark.parametrize(
    ("words_of_the_user", "sentence"),
    [
        (["archit"], "There is no ablation 'archit'; did you mean 'architecture'?"),
        (["architecture", "--only", "no-norm"], "There is no variant 'no-norm'; did you mean 'no norm'?"),
        (["architecture", "--seeds", "0"], "seeds is 0; it must be at least 1."),
        (["none.json"], "none.json"),
    ],
)
def test_wrong_words(words_of_the_user, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    given = ["ablate", *words_of_the_user, "--corpus", "c", "--tokenizer", "t", "--out", "o"]
    assert cli.main(given) == 1
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_names_of_variants(config):
    base = config.variants[0]
    for names, sentence in [
        (("a", "a"), "each with its name"),
        ((), "none; there must"),
        (("a/b",), "names a folder"),
        (("..",), "names a folder"),
    ]:
        with pytest.raises(ConfigError, match=sentence):
            AblationConfig(tuple(replace(base, name=name) for name in names))
