"""The stage: corpus folder or text file in, tokenizer and result out; reused, redone and reproducible."""

import json
from pathlib import Path

import pytest

from groundup.core.config import decode, encode
from groundup.core.errors import ConfigError, GroundupError, InputError, MissingError
from groundup.core.files import write_json
from groundup.stages.tokenizer import run_tokenizer
from groundup.tokenization.bpe import BytePairTokenizer
from groundup.tokenization.bpe_training import train_bpe
from groundup.tokenization.config import TokenizerConfig

TRAIN = [
    "we the people, in order: the cat sat on the mat and the dog sat on the log 1984 " * 6,
    "a naïve cat; a naïve dog, at 12 o'clock. " * 6,
]
HELDOUT = ["the dog and the naïve bird sat at 19 o'clock"]


@pytest.fixture
def corpus(tmp_path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for split, texts in (("train", TRAIN), ("heldout", HELDOUT)):
        lines = (json.dumps({"id": f"{split}{i}", "text": text}) for i, text in enumerate(texts))
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_json(folder / "provenance.json", {"fingerprint": "f1"})
    write_json(folder / "result.json", {"fingerprint": "f1"})
    return folder


def test_trains_on_the_train_split_and_compares_on_the_heldout_one(corpus, tmp_path):
    config = TokenizerConfig(vocab_size=300)
    result = run_tokenizer(config, corpus, tmp_path / "out")
    tokenizer = BytePairTokenizer.load(tmp_path / "out")
    assert tokenizer.merges == train_bpe(TRAIN, 300, special_tokens=config.special_tokens).merges
    rows = {row["name"]: row for row in result["comparison"]}
    assert list(rows) == ["bpe", "byte", "character", "word"]
    assert rows["bpe"]["tokens"] == len(tokenizer.encode(HELDOUT[0]))
    assert rows["byte"]["tokens"] == len(HELDOUT[0].encode())
    assert rows["word"]["unknown_share"] > 0  # "bird" was never seen
    assert result["compared_on"] == "heldout"
    assert result["bytes_per_token"] == rows["bpe"]["bytes_per_token"]
    assert result["vocab_size"] == 300
    assert json.loads((tmp_path / "out" / "result.json").read_text()) == result


def test_text_files_and_compared_vocabularies(tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text(" ".join(TRAIN), encoding="utf-8")
    train_bpe(TRAIN, 270, "gpt2").save(tmp_path / "mine")
    config = TokenizerConfig(vocab_size=290, pattern="gpt2", special_tokens=(), compare=(str(tmp_path / "mine"),))
    result = run_tokenizer(config, text, tmp_path / "out")
    assert [row["name"] for row in result["comparison"]] == ["bpe", "byte", "character", "word", "mine"]
    assert result["compared_on"] == "train"


def test_compared_vocabularies_of_one_name_are_told_apart(corpus, tmp_path):
    places = [str(tmp_path / name) for name in ("a/tok", "b/tok", "corpus2/byte", "c/alone")]
    for place in places:
        train_bpe(TRAIN, 270, "gpt2").save(Path(place))
    config = TokenizerConfig(vocab_size=270, compare=tuple(places))
    result = run_tokenizer(config, corpus, tmp_path / "out")
    assert [row["name"] for row in result["comparison"]][4:] == [*places[:3], "alone"]
    train_bpe(TRAIN, 260, "gpt2").save(Path(places[0]))
    assert run_tokenizer(config, corpus, tmp_path / "out")["comparison"][4]["vocab_size"] == 260


def test_finished_run_is_reused_until_something_changes(corpus, tmp_path):
    out = tmp_path / "out"
    first = run_tokenizer(TokenizerConfig(vocab_size=280), corpus, out)
    written = (out / "tokenizer.json").stat().st_mtime_ns
    assert run_tokenizer(TokenizerConfig(vocab_size=280), corpus, out) == first
    assert (out / "tokenizer.json").stat().st_mtime_ns == written
    write_json(corpus / "result.json", {"fingerprint": "f2"})
    second = run_tokenizer(TokenizerConfig(vocab_size=280), corpus, out)
    assert second["fingerprint"] != first["fingerprint"]
    third = run_tokenizer(TokenizerConfig(vocab_size=281), corpus, out)
    assert third["vocab_size"] == 281


def test_interrupted_run_ends_with_the_same_files(corpus, tmp_path):
    config = TokenizerConfig(vocab_size=280)
    run_tokenizer(config, corpus, tmp_path / "whole")
    broken = tmp_path / "broken"
    run_tokenizer(config, corpus, broken)
    (broken / "result.json").unlink()
    (broken / "tokenizer.json").unlink()
    (broken / ".tmp-0123456789ab-tokenizer.json").write_text("{")
    run_tokenizer(config, corpus, broken)
    assert (broken / "tokenizer.json").read_bytes() == (tmp_path / "whole" / "tokenizer.json").read_bytes()
    assert not list(broken.glob(".tmp-*"))


def test_config_survives_json():
    config = TokenizerConfig(vocab_size=300, compare=("a", "b"))
    assert decode(TokenizerConfig, encode(config)) == config


@pytest.mark.parametrize(
    "values", [{"vocab_size": 259}, {"pattern": "nonsense"}, {"special_tokens": ("<|a|>", "<|a|>")}]
)
def test_impossible_configs(values):
    with pytest.raises(ConfigError):
        TokenizerConfig(**values)


@pytest.mark.parametrize(
    ("content", "error"), [(None, MissingError), (b"", InputError), (b"\x00\xff" * 200, InputError)]
)
def test_wrong_input_leaves_nothing_behind(tmp_path, content, error):
    path = tmp_path / "input.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(GroundupError) as caught:
        run_tokenizer(TokenizerConfig(vocab_size=300), path, tmp_path / "out")
    assert isinstance(caught.value, error)
    assert not (tmp_path / "out").exists()
