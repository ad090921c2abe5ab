"""What pretraining cannot work with is refused before its first step: one sentence, exit code not 0, nothing trained.

Files that are missing, empty or binary and broken configs are in `test_verbs_wrong_input.py`.
"""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from groundup.checkpoint.store import latest_checkpoint, write_checkpoint
from groundup.cli.main import main
from groundup.core.runs import read_metrics
from groundup.models.decoder import Decoder
from groundup.models.presets import llama
from groundup.stages import compute
from groundup.tokenization.bpe import BytePairTokenizer
from groundup.tokenization.chat import END_OF_TEXT
from groundup.tokenization.token_shards import TokenBlock, write_index, write_shard

sys.path.insert(0, str(Path(__file__).parents[1] / "stages"))
from tiny_pretraining import BYTES, write_inputs

SEPARATOR = BYTES.special_tokens[END_OF_TEXT]
MODEL = llama(260, 48, width=32, depth=1, num_heads=2, num_kv_heads=1, mlp_width=64)
LAYER = "--model.layers.0.sequence"
SHAPE = f"--model.context-length 48 --model.width 32 --model.depth 1 {LAYER}.num-heads 2 {LAYER}.num-kv-heads 1"
START = (
    f"pretrain --tokenizer tokenizer --out out --steps 2 --batch-size 2 {SHAPE} --compute.no-compile "
    "--model.layers.0.channel.hidden-width 64 --compute.dtype float32 --compute.threads 1"
)
HALF = "--data.weights corpus 0.5 s 0.5 --data.sources s"
DOCUMENTS = "--data.packing documents"


def write_shards(folder, ids, tokenizer=BYTES, separator=SEPARATOR):
    folder.mkdir()
    blocks = [TokenBlock(np.array(ids, dtype=np.uint32), len(ids), True)] if ids else []
    write_index(folder, tokenizer, separator, [write_shard(folder, 0, "text", blocks, tokenizer.vocab_size)])


def save_model(folder, model):
    decoder = Decoder(model)
    weights = {name: weight.detach() for name, weight in decoder.state_dict().items()}
    return write_checkpoint(folder, 1, model, weights, {}, BYTES)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Inputs good and bad, in the working directory of every test."""
    folder = tmp_path_factory.mktemp("inputs")
    write_inputs(folder)
    words = [SEPARATOR, *b"the river and the village "] * 40
    write_shards(folder / "outside", [*words, 260, *words, 65_000])
    write_shards(folder / "nothing", [])
    write_shards(folder / "few", words[:47])
    write_shards(folder / "joined", words, separator=None)
    write_shards(
        folder / "foreign", words, BytePairTokenizer([(104, 101)], special_tokens={END_OF_TEXT: SEPARATOR + 1})
    )
    write_shards(folder / "altered", words)
    (folder / "altered/shard_00000.bin").write_bytes((folder / "altered/shard_00000.bin").read_bytes()[::-1])
    (folder / "letter.txt").write_text("x")
    (folder / "few.txt").write_text("A few words that are not enough. ")
    later = {"data": {"weight_changes": [{"from_share": 0.5, "weights": {"lakes": 1.0}}]}}
    (folder / "lakes.json").write_text(json.dumps(later))
    (folder / "nan.json").write_text('{"optimizer": {"learning_rate": NaN}}')
    save_model(folder / "model", MODEL)
    return folder


@pytest.fixture
def told(place, monkeypatch, capsys):
    """Runs a command that must fail; returns its exit code and the one sentence, and whether it left a run's folder."""
    monkeypatch.chdir(place)
    monkeypatch.setattr(compute, "measured_matmul_flops", lambda dtype: 1e10)

    def run(words):
        code = main(words.split())
        captured = capsys.readouterr()
        out = place / "out"
        assert not (out / "checkpoints").exists()
        assert not (out / "result.json").exists()
        assert read_metrics(out) == []
        opened = out.exists()
        shutil.rmtree(out, ignore_errors=True)
        assert captured.out == ""
        assert "Traceback" not in captured.err
        assert captured.err.count("error: ") == 1
        return code, captured.err.splitlines()[-1], opened

    return run


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        # token ids that the tokenizer, and so the model, does not have; shards that are not what they were
        (f"{HALF} outside", "holds id 260 (token 1080), and the tokenizer's last id is 259; encode the text again."),
        (f"{HALF} foreign", "foreign was encoded with another tokenizer"),
        (f"{HALF} altered", "shard_00000.bin was altered after it was written; delete altered and write the tokens"),
        (f"{HALF} nowhere", "There is no file nowhere/index.json"),
        (f"{HALF} notes", "There is no file notes/index.json"),
        # too little text to cut off a held-out part
        ("--corpus letter.txt", "letter.txt holds too little text to train on; give a few kilobytes at least."),
        # weights that are no shares, or of unknown sources
        ("--data.weights corpus 0.5 s 0.4 --data.sources s letters", "from 0 of the training on sum to 0.9, not to 1"),
        ("--data.weights corpus 0.6 s 0.6 --data.sources s letters", "from 0 of the training on sum to 1.2, not to 1"),
        ("--data.weights corpus nan s 0.5 --data.sources s letters", "gives 'corpus' the weight nan; it must be"),
        ("--data.weights corpus 1.5 s -0.5 --data.sources s letters", "gives 'corpus' the weight 1.5; it must be"),
        ("--data.weights corpus 0.5 leters 0.5 --data.sources letters letters",
         "names an unknown source 'leters'; did you mean 'letters'?"),
        ("--data.sources letters letters", "The source 'letters' has no weight in any phase; give it one or leave it"),
        ("--config lakes.json", "The mixture from 0.5 of the training on names an unknown source 'lakes'"),
        # rates and the like that are no number
        ("--optimizer.learning-rate nan", "learning_rate is nan; it must be above 0 and finite."),
        ("--optimizer.learning-rate inf", "learning_rate is inf; it must be above 0 and finite."),
        ("--optimizer.learning-rate 0", "learning_rate is 0.0; it must be above 0 and finite."),
        ("--optimizer.matrix-learning-rate nan", "matrix_learning_rate is nan; it must be above 0 and finite."),
        ("--optimizer.embedding-learning-rate nan", "embedding_learning_rate is nan; it must be above 0 and finite."),
        ("--optimizer.clip-norm nan", "clip_norm is nan; it must be above 0"),
        ("--optimizer.weight-decay nan", "weight_decay is nan; it must be between 0 and 1."),
        ("--optimizer.schedule.final-fraction nan", "final_fraction is nan; it must be between 0 and 1"),
        ("--optimizer.rest.beta1 nan", "beta1 is nan; it must be at least 0 and below 1."),
        ("--guard.factor nan", "The guard's factor is nan; it must be above 1, or 0 for no guard."),
        ("--average.kind exponential --average.decay nan", "The average's decay is nan; it must be at least 0"),
        ("--config nan.json", "nan.json: optimizer: learning_rate is nan; it must be above 0 and finite."),
        # weights to start from that do not fit
        ("--start-from nowhere", "There is no run or checkpoint nowhere"),
        ("--start-from tokenizer", "tokenizer holds no checkpoint; train one there first, or name another run."),
    ],
)  # fmt: skip
def test_refused_before_the_folder_is_opened(told, words, sentence):
    corpus = "" if "--corpus" in words else "--corpus notes"
    code, said, opened = told(f"{START} {corpus} {words}")
    assert sentence in said
    assert code in (1, 2)
    assert not opened


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        # too little text for the context
        ("--corpus few.txt", "The training text has 33 tokens, fewer than two contexts of 48; give more text"),
        (f"--corpus few.txt {DOCUMENTS}", "The training text has 33 tokens, fewer than a context of 48; give more"),
        (f"--corpus notes {HALF} nothing", "nothing has 0 tokens, fewer than two contexts of 48"),
        (f"--corpus notes {HALF} nothing {DOCUMENTS}", "nothing has 0 tokens, fewer than a context of 48"),
        (f"--corpus notes {HALF} few", "few has 47 tokens, fewer than two contexts of 48"),
        (f"--corpus notes {HALF} few {DOCUMENTS}", "few has 47 tokens, fewer than a context of 48"),
        ("--corpus notes --model.context-length 50000", "tokens, fewer than two contexts of 50000; give more text or"),
        (f"--corpus notes --model.context-length 50000 {DOCUMENTS}", "tokens, fewer than a context of 50000; give"),
        (f"--corpus notes {HALF} joined {DOCUMENTS}", "joined has no separator in front of its documents"),
        # weights to start from that do not fit
        ("--corpus notes --start-from model --model.width 64",
         "embedding is 260 x 32 in the checkpoint and 260 x 64 in this model; give it the checkpoint's shape."),
        ("--corpus notes --start-from model --model.depth 2", "The checkpoint has no blocks.1."),
        ("--corpus notes --start-from model --model.layers.0.channel.hidden-width 96",
         "is 64 x 32 in the checkpoint and 96 x 32 in this model; give it the checkpoint's shape."),
    ],
)  # fmt: skip
def test_refused_before_the_first_step(told, words, sentence):
    """What only tokens or weights tell: an unfinished run without a step may be left, which a next attempt takes."""
    code, said, _ = told(f"{START} {words}")
    assert sentence in said
    assert code == 1


def test_a_refusal_leaves_the_run_that_was_there(place, told, monkeypatch, capsys):
    """A mistake in the next command must not cost what the folder holds."""
    monkeypatch.chdir(place)
    words = f"{START} --corpus notes".replace("--out out", "--out done").split()
    monkeypatch.setattr(compute, "measured_matmul_flops", lambda dtype: 1e10)
    assert main(words) == 0
    before = {path: path.read_bytes() for path in (place / "done").rglob("*") if path.is_file()}
    for mistake in (f"{HALF} outside", "--optimizer.learning-rate nan", "--start-from nowhere"):
        assert main([*words, *mistake.split()]) in (1, 2)
        assert {path: path.read_bytes() for path in (place / "done").rglob("*") if path.is_file()} == before


def test_a_checkpoint_of_another_shape_among_the_runs_own(place, monkeypatch, capsys, tmp_path):
    """Its name says that it is the newest; training must not go on with another model than the config's."""
    monkeypatch.chdir(place)
    monkeypatch.setattr(compute, "measured_matmul_flops", lambda dtype: 1e10)
    words = f"{START} --corpus notes".replace("--out out", f"--out {tmp_path}").split()
    assert main(words) == 0
    (tmp_path / "result.json").unlink()
    own = latest_checkpoint(tmp_path / "checkpoints")
    assert own is not None
    strange = save_model(place / "wide", replace(MODEL, width=64))
    shutil.copytree(strange, tmp_path / "checkpoints" / "step_00000003")
    capsys.readouterr()
    assert main(words) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("error: ")
    assert "step_00000003 is of another model: its width is 64, this run's is 32;" in said
    assert latest_checkpoint(tmp_path / "checkpoints").path.name == "step_00000003"
    shutil.rmtree(tmp_path / "checkpoints" / "step_00000003")
    assert main(words) == 0
    assert latest_checkpoint(tmp_path / "checkpoints").fingerprint == own.fingerprint
