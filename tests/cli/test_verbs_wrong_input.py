"""A user's mistake, verb by verb: one sentence on stderr, exit code not 0, no traceback, and nothing half-written."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from groundup.checkpoint.store import write_checkpoint
from groundup.cli.main import main
from groundup.tokenization.bpe import BytePairTokenizer
from groundup.tokenization.chat import END_OF_TEXT

sys.path.insert(0, str(Path(__file__).parents[1] / "inference"))
sys.path.insert(0, str(Path(__file__).parents[1] / "stages"))
from tiny_engines import BYTES, tiny_engine
from tiny_quickstart import write_notes

TEXT = "It is in the nature of things that they have to be said more than once. " * 40


def save_model(folder, tokenizer):
    """A run folder of one stage, as pretraining leaves it, with the tokenizer that is given."""
    tokenizer.save(folder / "tokenizer")
    model = tiny_engine().model
    weights = {name: weight.detach() for name, weight in model.named_parameters()}
    return write_checkpoint(folder / "checkpoints", 1, model.config, weights, {}, folder / "tokenizer")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Inputs good and bad, in the working directory of every test."""
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "good.txt").write_text(TEXT)
    write_notes(folder / "notes")
    (folder / "short.txt").write_text("A few words that are not enough for two contexts. ")
    (folder / "empty.txt").write_bytes(b"")
    (folder / "binary.txt").write_bytes(bytes(range(256)) * 20)
    (folder / "broken.json").write_text("{")
    (folder / "typo.json").write_text(json.dumps({"stepz": 3}))
    (folder / "mistyped.json").write_text(json.dumps({"steps": "many"}))
    (folder / "impossible.json").write_text(json.dumps({"steps": 0}))
    (folder / "deep.json").write_text(json.dumps({"pretrain": {"model": {"widht": 64}}}))
    BYTES.save(folder / "tokenizer")
    save_model(folder / "model", BYTES)
    save_model(folder / "mismatched", BytePairTokenizer([], special_tokens={END_OF_TEXT: 300}))
    changed = save_model(folder / "changed", BYTES)
    (changed / "tokenizer" / "tokenizer.json").write_bytes(
        (folder / "mismatched/tokenizer/tokenizer.json").read_bytes()
    )
    (folder / "mine").mkdir()
    (folder / "mine" / "thesis.txt").write_text("irreplaceable")
    return folder


@pytest.fixture
def told(place, monkeypatch, capsys):
    """Runs a command that must fail and returns its one sentence; afterwards every file is as it was."""
    monkeypatch.chdir(place)

    def files():
        return {path: path.is_file() and path.stat().st_mtime_ns for path in place.rglob("*")}

    def run(words):
        before = files()
        code = main(words)
        captured = capsys.readouterr()
        after = files()
        shutil.rmtree(place / "out", ignore_errors=True)
        assert after == before
        assert code in (1, 2)
        assert captured.out == ""
        assert "Traceback" not in captured.err
        assert captured.err.count("error: ") == 1
        assert captured.err.splitlines()[-1].startswith("error: ")
        return captured.err.splitlines()[-1]

    return run


LAYER = "--model.layers.0.sequence"
PRETRAIN = "pretrain --tokenizer tokenizer --out out --compute.no-compile --corpus"


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        # a missing file
        ("corpus build --out out --input nowhere.txt", "There is no file nowhere.txt"),
        ("tokenizer train --out out --corpus nowhere.txt", "There is no file nowhere.txt"),
        (f"{PRETRAIN} nowhere.txt", "There is no file nowhere.txt"),
        ("pretrain --corpus good.txt --out out --tokenizer nowhere", "There is no file nowhere"),
        ("evaluate nowhere --corpus good.txt --out out", "There is no run or checkpoint nowhere"),
        ("evaluate model --corpus nowhere.txt --out out", "There is no file nowhere.txt"),
        ("sft --base nowhere --out out", "There is no run or checkpoint nowhere"),
        ("grpo --start nowhere --out out", "nowhere has no answers to held-out instructions"),
        ("generate nowhere", "There is no run or checkpoint nowhere"),
        ("chat nowhere", "There is no run or checkpoint nowhere"),
        ("serve nowhere --port 0", "There is no run or checkpoint nowhere"),
        ("quickstart --out out --config nowhere.json", "There is no file nowhere.json"),
        ("runs nowhere", "There is no folder nowhere"),
        # an empty file
        ("corpus build --out out --input empty.txt", "empty.txt is empty"),
        ("tokenizer train --out out --corpus empty.txt", "empty.txt is empty"),
        (f"{PRETRAIN} empty.txt", "empty.txt is empty"),
        ("evaluate model --out out --corpus empty.txt", "empty.txt is empty"),
        # a binary file
        ("corpus build --out out --input binary.txt", "binary.txt looks binary"),
        ("tokenizer train --out out --corpus binary.txt", "binary.txt looks binary"),
        (f"{PRETRAIN} binary.txt", "binary.txt looks binary"),
        ("evaluate model --out out --corpus binary.txt", "binary.txt looks binary"),
        # a recipe, or a config file, that cannot be used
        ("quickstart --out out --recipe quikstart", "There is no recipe 'quikstart'; did you mean 'quickstart'?"),
        (f"{PRETRAIN} good.txt --recipe x", "There is no recipe 'x'"),
        (f"{PRETRAIN} good.txt --config typo.json", "typo.json: unknown key 'stepz'; did you mean 'steps'?"),
        (f"{PRETRAIN} good.txt --config mistyped.json", 'mistyped.json: steps: Input should be a valid integer'),
        (f"{PRETRAIN} good.txt --config impossible.json", "impossible.json: PretrainConfig: steps is 0; it must be"),
        (f"{PRETRAIN} good.txt --config broken.json", "broken.json is not valid JSON"),
        (f"{PRETRAIN} good.txt --config binary.txt", "binary.txt is not valid JSON"),
        ("quickstart --out out --config deep.json", "unknown key 'pretrain.model.widht'; did you mean 'width'?"),
        ("quickstart --out out --config typo.json --recipe short", "--config and --recipe exclude each other"),
        # values that a config refuses
        (f"{PRETRAIN} good.txt --steps 0", "steps is 0; it must be at least 1"),
        (f"{PRETRAIN} good.txt --model.width 256 {LAYER}.num-heads 3", "width 256 is not a multiple of num_heads 3"),
        (f"{PRETRAIN} good.txt --optimizer.schedule.kind cosin", "There is no kind 'cosin' of optimizer.schedule"),
        (f"{PRETRAIN} good.txt --optimizer.matrices.momentum 1", "momentum is 1.0; it must be at least 0 and below 1"),
        (f"{PRETRAIN} good.txt --optimizer.rest.kind muon", "There is no kind 'muon' of optimizer.rest"),
        (f"{PRETRAIN} good.txt --compute.dtype float17", "dtype is 'float17'"),
        ("sft --base model --out out --target-accuracy 2", "target_accuracy is 2.0; it must be above 0"),
        ("grpo --start model --out out --grpo.group-size 1", "group_size is 1; a group needs at least 2"),
        ("grpo --start model --out out --grpo.reward style", "reward is 'style'; choose one of exact, random"),
        ("evaluate model --corpus good.txt --out out --stride 999", "stride is 999; it must be between 0 and"),
        ("evaluate model --corpus good.txt --out out --kneser-ney-order 0", "kneser_ney_order is 0"),
        ("quickstart --out out --pretrain.steps 0", "steps is 0; it must be at least 1"),
        ("quickstart --out out --corpus.held-out-fraction 1", "held_out_fraction is 1.0"),
        ("generate model --temperature -1", "temperature is -1.0"),
        ("generate model --top-p 0", "top_p is 0.0"),
        ("generate model --max-tokens 0", "max_tokens is 0"),
        ("serve model --port 70000", "port is 70000"),
        # a vocabulary smaller than the bytes and the special tokens
        ("tokenizer train --corpus good.txt --out out --vocab-size 259", "259"),
        ("quickstart --out out --tokenizer.vocab-size 100", "100"),
        # more than the context holds, and too little text for it
        (f"generate model --prompt {'x' * 60}", "The prompt has 61 tokens and the model's context holds 48"),
        # models and tokenizers that do not belong together, and models that cannot chat
        ("generate mismatched", "The tokenizer has 301 tokens and the model 260; they do not belong together"),
        ("chat mismatched", "The tokenizer has 301 tokens and the model 260; they do not belong together"),
        ("sft --base mismatched --out out", "The tokenizer has no <|user|>, <|assistant|>, <|end|>"),
        ("generate changed", "changed holds no checkpoint"),
        ("generate changed/checkpoints/step_00000001", "tokenizer/tokenizer.json does not have the hash"),
        ("grpo --start model --out out", "model has no answers to held-out instructions; it must be a finished sft"),
        # places that cannot be written
        ("corpus build --input notes --out mine", "mine holds files that are not a run's; choose another folder"),
        ("tokenizer train --corpus good.txt --out mine", "mine holds files that are not a run's"),
        (f"{PRETRAIN.replace('--out out', '--out mine')} good.txt", "mine holds files that are not a run's"),
        ("evaluate model --corpus good.txt --out mine", "mine holds files that are not a run's"),
        ("sft --base model --out mine", "mine holds files that are not a run's"),
        ("quickstart --out mine", "mine holds files that are not a run's"),
        ("quickstart --out good.txt", "Cannot write good.txt: file exists"),
        ("quickstart --out good.txt/run", "Cannot write good.txt/run: not a directory"),
        (f"{PRETRAIN.replace('--out out', '--out good.txt')} good.txt", "Cannot write good.txt: file exists"),
        ("tokenizer train --corpus good.txt --out good.txt/run", "Cannot write good.txt/run: not a directory"),
    ],
)  # fmt: skip
def test_one_sentence(told, command, sentence):
    assert sentence in told(command.split())


def test_a_text_shorter_than_two_contexts(place, monkeypatch, capsys, tmp_path):
    """Only the tokens tell; the run folder that was opened is an unfinished run, which a second attempt takes over."""
    monkeypatch.chdir(place)
    monkeypatch.setattr("groundup.stages.compute.measured_matmul_flops", lambda dtype: 1e9)
    words = f"{PRETRAIN} short.txt --compute.dtype float32 --compute.threads 1".replace(
        "--out out", f"--out {tmp_path}"
    )
    assert main(words.split()) == 1
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("error: The training text has 49 tokens, fewer than two contexts of 256")
    assert not (tmp_path / "result.json").exists()
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("command", ["quickstart --out locked/run", "tokenizer train --corpus good.txt --out locked"])
def test_a_read_only_folder(place, monkeypatch, capsys, command):
    monkeypatch.chdir(place)
    (place / "locked").mkdir(mode=0o500, exist_ok=True)
    assert main(command.split()) == 1
    assert "error: Cannot write locked" in capsys.readouterr().err
    assert not list((place / "locked").iterdir())


FULL = """
import resource, sys
from groundup.stages import compute
compute.measured_matmul_flops = lambda dtype: 1e9
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))  # as a full disk: no file grows further
from groundup.cli.main import main
sys.exit(main(sys.argv[2:]))
"""
SMALL = f"--model.width 32 --model.depth 1 {LAYER}.num-heads 2 {LAYER}.num-kv-heads 2 --model.context-length 32"
TINY = f"--steps 2 --batch-size 2 {SMALL} --compute.no-compile --compute.dtype float32 --compute.threads 1"


@pytest.mark.parametrize(
    ("limit", "command"),
    [
        (1000, "tokenizer train --corpus good.txt --out OUT --vocab-size 300"),
        (5000, f"{PRETRAIN.replace('--out out', '--out OUT')} good.txt {TINY}"),
        (40_000, f"{PRETRAIN.replace('--out out', '--out OUT')} good.txt {TINY}"),
    ],
    ids=["tokenizer", "metadata", "checkpoint"],
)
def test_a_full_disk(place, tmp_path, limit, command):
    out = tmp_path / "run"
    words = command.replace("OUT", str(out)).split()
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(limit), *words], capture_output=True, text=True, cwd=place, env=environment
    )
    said = done.stderr.splitlines()
    assert done.returncode == 1, done.stderr
    assert said[-1].startswith("error: Cannot write")
    assert "file too large" in said[-1]
    assert "Traceback" not in done.stderr
    assert not (out / "result.json").exists()
    assert not [path for path in out.rglob("*") if path.name.startswith(".tmp-")]
    assert not list(out.glob("checkpoints/step_*"))
