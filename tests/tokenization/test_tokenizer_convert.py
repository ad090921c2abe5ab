"""`groundup tokenizer convert` as a user types it: the same ids in every form, and a sentence where that cannot be."""

from pathlib import Path

import pytest
import tiktoken.load  # as the printed line needs it
import tokenizers

from groundup.cli.main import VERBS, main
from groundup.tokenization.bpe_training import train_bpe
from groundup.tokenization.vocabulary_files import load_vocabulary

TEXT = "Four score and seven years ago our fathers brought forth on this continent a new nation. " * 9
VERB = "tokenizer convert"


@pytest.fixture(autouse=True)
def _verb(monkeypatch):
    monkeypatch.setitem(VERBS, VERB, "a vocabulary for other programs, and back")


@pytest.fixture
def folder(tmp_path) -> Path:
    train_bpe([TEXT], 300, "gpt2", ("<|end|>",)).save(tmp_path / "tok")
    return tmp_path / "tok"


def convert(*words: object) -> int:
    return main([*VERB.split(), *map(str, words)])


@pytest.mark.parametrize(
    ("form", "name", "reader"),
    [
        ("huggingface", "hf", "transformers.AutoTokenizer.from_pretrained"),
        ("gpt2", "two", "transformers.GPT2TokenizerFast.from_pretrained"),
        ("groundup", "ours", "groundup tokenizer encode --tokenizer"),
    ],
)
def test_there_and_back(folder, tmp_path, capsys, form, name, reader):
    out = tmp_path / name
    assert convert("--tokenizer", folder, "--to", form, "--out", out) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(f"300 tokens: {out}; load it: {reader}")
    assert load_vocabulary(out).fingerprint == load_vocabulary(folder).fingerprint
    assert convert("--tokenizer", out, "--to", "groundup", "--out", tmp_path / "back") == 0
    assert (tmp_path / "back" / "tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()


def test_the_line_for_tiktoken_can_be_run(folder, tmp_path, capsys):
    out = tmp_path / "words.tiktoken"
    assert convert("--tokenizer", folder, "--to", "tiktoken", "--out", out) == 0
    printed = capsys.readouterr().out.splitlines()
    names: dict[str, object] = {"tiktoken": tiktoken}
    for line in printed[1:3]:
        exec(line.strip(), names)
    theirs = eval(printed[-1].split("load it: ")[1], names)
    ours = load_vocabulary(folder)
    assert theirs.encode(TEXT + "<|end|>", allowed_special="all") == ours.encode(TEXT + "<|end|>", allow_special=True)
    assert convert("--tokenizer", out, "--pattern", "gpt2", "--to", "huggingface", "--out", tmp_path / "hf") == 0
    reader = tokenizers.Tokenizer.from_file(str(tmp_path / "hf" / "tokenizer.json"))
    assert reader.encode(TEXT).ids == ours.encode(TEXT)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tokenizer", "ABSENT", "--to", "groundup", "--out", "X"], "There is no file"),
        (["--tokenizer", "TOK", "--to", "tiktoken", "--out", "X"], "must end in .tiktoken"),
        (["--tokenizer", "TOK", "--to", "huggingface", "--out", "TOK"], "is where --tokenizer is"),
        (["--tokenizer", "TOK", "--to", "gpt2", "--out", "X", "--pattern", "gpt2"], "names its own pre-token pattern"),
        (["--tokenizer", "DIGITS", "--to", "gpt2", "--out", "X"], "write it for Hugging Face"),
        (["--tokenizer", "TOK", "--to", "groundup", "--out", "FILE"], "Cannot write"),
    ],
)
def test_faults_are_one_sentence(folder, tmp_path, capsys, words, message):
    train_bpe([TEXT], 300, "digits").save(tmp_path / "digits")
    (tmp_path / "file").write_text("x")
    assert convert(*(str(tmp_path / word.lower()) if word.isupper() else word for word in words)) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert message in told.err
    assert told.err.startswith("error: ")
    assert told.err.count("\n") == 1


def test_help_has_examples_on_lines_of_their_own(capsys):
    assert convert("--help") == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert "examples:" in lines
    assert sum(line.startswith(f"groundup {VERB} --") for line in lines) == 4
