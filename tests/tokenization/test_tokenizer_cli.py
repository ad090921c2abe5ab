"""The three verbs as a user types them: results on stdout, faults as one sentence and exit code 1."""

import io
from types import SimpleNamespace

import numpy as np
import pytest

from groundup.cli.main import main
from groundup.tokenization.bpe import BytePairTokenizer
from groundup.tokenization.bpe_training import train_bpe

TEXT = (
    "Four score and seven years ago our fathers brought forth on this continent a new nation, conceived in liberty. "
    * 9
)


@pytest.fixture
def folder(tmp_path):
    train_bpe([TEXT], 300, "digits", ("<|end|>",)).save(tmp_path / "tok")
    return str(tmp_path / "tok")


@pytest.fixture
def stdin(monkeypatch):
    def give(data: bytes) -> None:
        fake = SimpleNamespace(buffer=io.BytesIO(data), isatty=lambda: False)
        monkeypatch.setattr("sys.stdin", fake)

    return give


def test_train(tmp_path, capsys):
    (tmp_path / "in.txt").write_text(TEXT)
    out = tmp_path / "out"
    assert (
        main(["tokenizer", "train", "--corpus", str(tmp_path / "in.txt"), "--vocab-size", "270", "--out", str(out)])
        == 0
    )
    printed = capsys.readouterr().out
    assert "bytes/token" in printed
    assert printed.splitlines()[-1].startswith(f"270 tokens in 0.0 s: {out}/tokenizer.json; next:")
    assert BytePairTokenizer.load(out).vocab_size == 270


def test_encode_and_decode(folder, tmp_path, capsys, stdin):
    expected = BytePairTokenizer.load(tmp_path / "tok").encode("score 12<|end|>")
    assert main(["tokenizer", "encode", "--tokenizer", folder, "--text", "score 12<|end|>"]) == 0
    printed = capsys.readouterr().out
    assert printed == " ".join(map(str, expected)) + "\n"
    assert main(["tokenizer", "decode", "--tokenizer", folder, *printed.split()]) == 0
    assert capsys.readouterr().out == "score 12<|end|>"
    stdin(printed.encode())
    assert main(["tokenizer", "decode", "--tokenizer", folder]) == 0
    assert capsys.readouterr().out == "score 12<|end|>"
    stdin(b"score 12<|end|>")
    assert main(["tokenizer", "encode", "--tokenizer", folder, "--allow-special"]) == 0
    assert capsys.readouterr().out.split()[-1] == "299"


def test_files(folder, tmp_path, capsys):
    (tmp_path / "a.txt").write_text("years ago\n")
    array = str(tmp_path / "a.npy")
    assert main(["tokenizer", "encode", "--tokenizer", folder, str(tmp_path / "a.txt"), "--out", array]) == 0
    assert np.load(array).dtype == np.uint16
    assert main(["tokenizer", "decode", "--tokenizer", folder, array]) == 0
    assert capsys.readouterr().out == "years ago\n"
    (tmp_path / "ids.txt").write_text("[102, 111,\n114]")
    assert main(["tokenizer", "decode", "--tokenizer", folder, str(tmp_path / "ids.txt")]) == 0
    assert capsys.readouterr().out == "for"


def test_show(folder, capsys):
    assert main(["tokenizer", "encode", "--tokenizer", folder, "--show", "--text", "years\né"]) == 0
    assert capsys.readouterr().out == "years\\n\n\\xc3\\xa9\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["encode", "--text", ""], "--text is empty"),
        (["encode", "absent.txt"], "There is no file absent.txt"),
        (["encode", "BINARY"], "looks binary"),
        (["encode", "EMPTY"], "is empty"),
        (["encode", "--text", "a", "--out", "a.txt"], "must end in .npy"),
        (["encode", "--text", "a", "EMPTY"], "Both --text and the file"),
        (["decode", "1", "300"], "The token id 300 is not in this vocabulary"),
        (["decode", "1", "x"], "'x' in the arguments is not a token id"),
        (["decode", "x"], "'x' is neither a token id"),
        (["decode", "EMPTY"], "There are no token ids"),
        (["decode", "WRONG.npy"], "is not a NumPy array"),
        (["decode", "FLOATS.npy"], "array of float64 with shape (2,)"),
    ],
)
def test_faults_are_one_sentence(folder, tmp_path, capsys, words, message):
    (tmp_path / "BINARY").write_bytes(bytes(range(256)) * 9)
    (tmp_path / "EMPTY").write_bytes(b"")
    (tmp_path / "WRONG.npy").write_bytes(b"no array")
    np.save(tmp_path / "FLOATS.npy", np.zeros(2))
    words = [str(tmp_path / word) if word.split(".")[0].isupper() else word for word in words]
    assert main(["tokenizer", words[0], "--tokenizer", folder, *words[1:]]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert message in told.err
    assert told.err.startswith("error: ")
    assert told.err.count("\n") == 1


@pytest.mark.parametrize("verb", ["train", "encode", "decode"])
def test_help_has_examples_on_lines_of_their_own(verb, capsys):
    assert main(["tokenizer", verb, "--help"]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert "examples:" in lines
    assert any(line.startswith(f"groundup tokenizer {verb} --") for line in lines)
