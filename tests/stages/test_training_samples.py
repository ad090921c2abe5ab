"""Samples on the way through a training: what they are, that nothing else notices them, and what a resume does."""

import logging
from dataclasses import replace

import pytest
import torch
from tiny_quickstart import tiny_config, write_notes

from groundup.core.errors import ConfigError
from groundup.core.runs import read_metrics, read_samples
from groundup.inference.engine import find_checkpoint, load_engine
from groundup.models.config import Layer
from groundup.models.mixer_config import Attention, MixtureOfExperts
from groundup.stages import compute
from groundup.stages.pretrain import run_pretrain
from groundup.stages.samples import samples
from groundup.tokenization.bpe import BytePairTokenizer
from groundup.tokenization.chat import SPECIAL_TOKENS
from groundup.training.loop import train

PROMPTS = ("", "the river")


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """Trains the tiny model with changes to its config; returns the run's folder."""
    monkeypatch.setattr(compute, "measured_matmul_flops", lambda dtype: 1e9)
    notes = write_notes(tmp_path / "notes")
    special = {name: 256 + index for index, name in enumerate(SPECIAL_TOKENS)}
    tokenizer = BytePairTokenizer([], special_tokens=special).save(tmp_path / "tokenizer").parent
    config = tiny_config(notes).pretrain

    def trained(name, **changes):
        torch.manual_seed(0)  # dropout draws from the global generator
        run_pretrain(replace(config, **changes), notes, tokenizer, tmp_path / name)
        return tmp_path / name

    trained.config = config
    return trained


def curves(run):
    """What does not depend on the machine's speed, with all digits."""
    timeless = ("loss", "gradient_norm", "validation_bits_per_byte", "averaged_bits_per_byte")
    return [(line["step"], name, line[name]) for line in read_metrics(run) for name in timeless if name in line]


def mixture(config):
    experts = MixtureOfExperts(num_experts=4, experts_per_token=2, hidden_width=16, balance_bias_rate=0.01)
    return replace(config.model, layers=(Layer(Attention(2, 1), experts),), dropout=0.1)


@pytest.mark.filterwarnings("ignore")  # PyTorch's compiler warns about its own ways
@pytest.mark.parametrize("kind", ["decoder", "mixture", pytest.param("compiled", marks=pytest.mark.slow)])
def test_a_training_with_samples_is_the_same_to_the_bit(trained, kind):
    config = trained.config
    model = mixture(config) if kind == "mixture" else replace(config.model, dropout=0.1)
    changes = {"model": model, "compute": replace(config.compute, compile=kind == "compiled")}
    with_samples = trained("with", **changes, sample_prompts=PROMPTS)
    without = trained("without", **changes, sample_prompts=())
    assert curves(with_samples) == curves(without)
    assert find_checkpoint(with_samples).fingerprint == find_checkpoint(without).fingerprint
    assert len(read_samples(with_samples)) == 3 * len(PROMPTS)
    assert not (without / "samples.jsonl").exists()


def test_samples_are_those_of_the_saved_weights(trained):
    run = trained("run", sample_prompts=PROMPTS, evaluate_every=4)
    written = read_samples(run)
    assert [(line["step"], line["prompt"]) for line in written] == [(s, p) for s in (4, 8, 12, 13) for p in PROMPTS]
    engine = load_engine(run / "checkpoints", torch.float32)
    expected = samples(engine, PROMPTS, trained.config.sample_tokens, trained.config.seed)
    assert [{key: line[key] for key in ("prompt", "text")} for line in written[-2:]] == expected
    assert expected[0]["text"] != written[0]["text"], "the weights have moved since step 4"


def test_a_resumed_run_has_each_sample_once_and_the_same(trained, monkeypatch):
    def stopped(*arguments):
        for tick in train(*arguments):
            yield tick
            if tick.step == 11:  # behind a sample, in front of the checkpoint that would hold its step
                raise KeyboardInterrupt

    whole = trained("whole", sample_prompts=PROMPTS)
    monkeypatch.setattr("groundup.stages.pretraining.train", stopped)
    with pytest.raises(KeyboardInterrupt):
        trained("stopped", sample_prompts=PROMPTS)
    monkeypatch.setattr("groundup.stages.pretraining.train", train)
    stopped_at = [line["step"] for line in read_samples(whole.parent / "stopped")]
    assert stopped_at == [5, 5, 10, 10]
    assert read_samples(trained("stopped", sample_prompts=PROMPTS)) == read_samples(whole)


def test_what_is_watched_can_be_changed_in_the_middle_of_a_run(trained, monkeypatch):
    """Other samples, mirrors or no dashboard are no other run: what was trained is kept."""

    def stopped(*arguments):
        for tick in train(*arguments):
            yield tick
            if tick.step == 9:
                raise KeyboardInterrupt

    monkeypatch.setattr("groundup.stages.pretraining.train", stopped)
    with pytest.raises(KeyboardInterrupt):
        trained("run", sample_prompts=("the",))
    monkeypatch.setattr("groundup.stages.pretraining.train", train)
    run = trained("run", sample_prompts=("silver",), sample_tokens=3, log_to=("tensorboard",), dashboard=False)
    assert [(line["step"], line["prompt"]) for line in read_samples(run)] == [
        (5, "the"),
        (10, "silver"),
        (13, "silver"),
    ]
    assert "resuming at step 8" in (run / "log.txt").read_text()


def test_a_prompt_without_room_is_refused_and_a_model_that_cannot_generate_goes_without(trained, caplog):
    with pytest.raises(ConfigError, match="has 81 tokens, which leaves no room in a context of 80; shorten it"):
        trained("long", sample_prompts=("x" * 80,))
    assert not (trained("short", sample_prompts=()).parent / "long").exists()
    choosing = MixtureOfExperts(num_experts=4, experts_per_token=2, hidden_width=16, routing="experts")
    model = replace(trained.config.model, layers=(Layer(Attention(2, 1), choosing),))
    with caplog.at_level(logging.INFO):
        run = trained("experts", model=model)
    assert caplog.text.count("There will be no samples: In this model experts choose their tokens") == 1
    assert read_samples(run) == []
