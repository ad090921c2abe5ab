"""The stage and the verb: texts to tables. Domains, languages, baselines, reuse, wrong input."""

import gzip
import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest

from groundup.cli import tokenizer_evaluate
from groundup.cli.main import VERBS, main
from groundup.core.config import decode, encode
from groundup.core.errors import ConfigError, GroundupError, InputError, MissingError
from groundup.core.files import write_json
from groundup.stages import tokenizer_evaluation
from groundup.stages.tokenizer_evaluation import (
    TokenizerEvaluationConfig,
    evaluate_tokenizers,
    run_tokenizer_evaluation,
    short_names,
)
from groundup.tokenization.bpe_training import train_bpe
from groundup.tokenization.evaluation import Passage

ENGLISH = "The children were playing in the garden when it began to rain, and they ran into the house. "
GERMAN = "Die Kinder spielten im Garten, als es zu regnen begann, und sie liefen mit ihrem Hund in das Haus. "
RUSSIAN = "Дети играли в саду, когда начался дождь, и они побежали в дом, но собака не хотела идти с ними. "


def records(path, *documents):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(document, ensure_ascii=False) + "\n" for document in documents)
    path.write_bytes(gzip.compress(lines.encode()) if path.suffix == ".gz" else lines.encode())
    return path


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The working directory, with texts, vocabularies and a corpus."""
    monkeypatch.chdir(tmp_path)
    for name, text in (("notes/loose.txt", ENGLISH), ("notes/news/a.txt", ENGLISH * 2), ("notes/news/b.md", GERMAN)):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    records(tmp_path / "mixed.jsonl.gz", {"text": ENGLISH * 40}, {"text": GERMAN * 40}, {"text": RUSSIAN * 40})
    train_bpe([ENGLISH * 3 + GERMAN], 330, "gpt2", ()).save(tmp_path / "vocabularies/mine")
    train_bpe([RUSSIAN], 300, "gpt2", ()).save(tmp_path / "other/mine")
    corpus = tmp_path / "corpus"
    records(corpus / "train.jsonl", {"id": "t", "text": "abc rain", "source": "web/a"})
    records(
        corpus / "heldout.jsonl",
        {"id": "h1", "text": "abcd", "source": "web/b"},
        {"id": "h2", "text": "rain", "source": "books"},
        {"id": "h3", "text": "ab"},
    )
    write_json(corpus / "provenance.json", {"fingerprint": "f1"})
    write_json(corpus / "result.json", {"fingerprint": "f1"})
    return tmp_path


def evaluate(*names, **options):
    return evaluate_tokenizers(TokenizerEvaluationConfig(**{"tokenizers": names, "speed_rounds": 0, **options}))


def test_domains_are_first_folders_files_and_names_given(place):
    result = evaluate("byte", inputs=(Path("notes"), Path("mixed.jsonl.gz")), domains=("held=corpus",))
    assert {name: size["documents"] for name, size in result["domains"].items()} == {
        "mixed": 3,
        "news": 2,
        "notes": 1,
        "held": 3,
    }
    row = result["tokenizers"][0]
    assert set(row["domains"]) == set(result["domains"])
    assert result["documents"] == 9
    assert row["tokens"] == result["bytes"] == sum(size["bytes"] for size in result["domains"].values())


def test_sources_of_records_are_domains_and_a_corpus_is_its_heldout_split(place):
    result = evaluate("byte", "character", inputs=(Path("corpus"),))
    assert {name: size["bytes"] for name, size in result["domains"].items()} == {"books": 4, "web": 4, "corpus": 2}
    assert result["baselines_learnt_from"] == "the train split"
    character = result["tokenizers"][1]
    assert character["vocab_size"] == 1 + len(set("abc rain"))
    assert character["unknown_share"] == 1 / 10  # the d
    assert character["domains"]["web"]["unknown_share"] == 1 / 4
    assert character["round_trip"]["first"] == {"document": "h1", "at_byte": 3, "text": "d", "decoded": "\ufffd"}


def test_languages_with_enough_text_have_a_column(place):
    records(place / "few.jsonl", {"text": GERMAN * 5})
    result = evaluate("vocabularies/mine", inputs=(Path("mixed.jsonl.gz"),))
    assert list(result["languages"]) == ["ru", "de", "en"]
    assert result["languages"]["ru"]["bytes"] == len(RUSSIAN.encode()) * 40
    row = result["tokenizers"][0]
    assert row["languages"]["en"]["bytes_per_token"] > 2 * row["languages"]["ru"]["bytes_per_token"]
    assert row["languages"]["ru"]["fertility"] > row["languages"]["en"]["fertility"] >= 1
    rare = evaluate("byte", inputs=(Path("few.jsonl"), Path("notes")))
    assert list(rare["languages"]) == ["unknown"]
    assert rare["languages"]["unknown"]["documents"] == 4


def test_numbers_are_those_of_a_count_in_one_go(place):
    result = evaluate("vocabularies/mine", "word", inputs=(Path("mixed.jsonl.gz"),), word_vocab_size=20)
    tokenizer = train_bpe([ENGLISH * 3 + GERMAN], 330, "gpt2", ())
    texts = [text * 40 for text in (ENGLISH, GERMAN, RUSSIAN)]
    ids = [tokenizer.encode(text) for text in texts]
    mine, word = result["tokenizers"]
    assert mine["name"] == "mine"
    assert mine["tokens"] == sum(map(len, ids))
    assert mine["bytes_per_token"] == sum(len(text.encode()) for text in texts) / mine["tokens"]
    assert mine["tokens_per_document"]["p50"] == sorted(map(len, ids))[1]
    used = len({token for each in ids for token in each})
    assert mine["vocabulary"]["unused"] == tokenizer.vocab_size - used
    assert mine["round_trip"] == {"failures": 0, "first": None}
    assert mine["speed"] is None
    assert word["vocab_size"] == 20
    assert word["round_trip"]["failures"] == 3
    assert result["baselines_learnt_from"] == "the measured text"


def test_a_long_plain_text_is_several_documents_that_lose_nothing(place, monkeypatch):
    monkeypatch.setattr(tokenizer_evaluation, "LONGEST_DOCUMENT", 500)
    text = "\ufeff" + "\r\n\r\n".join(ENGLISH * count + RUSSIAN for count in (1, 2, 19, 3))
    (place / "long.txt").write_bytes(text.encode())
    result = evaluate("byte", inputs=(Path("long.txt"),))
    assert result["documents"] > 4
    assert result["characters"] == len(text) - 1  # without the byte order mark
    assert result["tokenizers"][0]["tokens_per_document"]["max"] <= 4 * 500


def test_memory_is_that_of_a_document(place, monkeypatch):
    """Of reading, that is: counting and language, which look at one document only, are cut short to be fast."""
    monkeypatch.setattr(tokenizer_evaluation, "SPEED_CHARACTERS", 1000)
    monkeypatch.setattr(
        tokenizer_evaluation, "Passage", lambda text: Passage(text[:10])
    )  # counting is not what is tested
    monkeypatch.setattr(tokenizer_evaluation, "identify", lambda text: ("en", 1.0))
    many = records(place / "many.jsonl", *[{"text": ENGLISH * 400}] * 80)
    tracemalloc.start()
    try:
        result = evaluate("byte", inputs=(many,))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert result["documents"] == 80
    assert many.stat().st_size > 2_900_000
    assert peak < 1_000_000


def test_binary_files_in_a_folder_are_left_out(place, caplog):
    (place / "notes/picture.txt").write_bytes(bytes(range(256)) * 9)
    (place / "notes/empty.md").write_bytes(b"")
    assert evaluate("byte", inputs=(Path("notes"),))["documents"] == 3
    assert [record.getMessage().split()[2] for record in caplog.records] == ["notes/empty.md", "notes/picture.txt"]


def test_speed_is_measured_on_a_bounded_part(place, monkeypatch):
    monkeypatch.setattr(tokenizer_evaluation, "SPEED_CHARACTERS", 1000)
    result = evaluate("byte", "vocabularies/mine", inputs=(Path("mixed.jsonl.gz"),), speed_rounds=1)
    assert result["speed_text_bytes"] == 1000
    assert all(min(row["speed"].values()) > 0 for row in result["tokenizers"])


def test_run_is_reused_until_text_vocabulary_or_options_change(place):
    config = TokenizerEvaluationConfig(("vocabularies/mine", "byte"), (Path("notes"),), speed_rounds=0)
    out = place / "out"
    first = run_tokenizer_evaluation(config, out)
    assert json.loads((out / "result.json").read_text()) == first
    assert (out / "bytes_per_token.png").read_bytes().startswith(b"\x89PNG")
    assert run_tokenizer_evaluation(config, out) == first
    train_bpe([GERMAN], 300, "gpt2", ()).save(place / "vocabularies/mine")
    second = run_tokenizer_evaluation(config, out)
    assert second["tokenizers"][0]["vocab_size"] == 300
    (place / "notes/loose.txt").write_text(GERMAN)
    third = run_tokenizer_evaluation(config, out)
    assert len({result["fingerprint"] for result in (first, second, third)}) == 3
    fewer = run_tokenizer_evaluation(replace(config, tokenizers=("byte",)), out)
    assert [row["name"] for row in fewer["tokenizers"]] == ["byte"]


def test_interrupted_run_ends_with_the_same_files(place):
    config = TokenizerEvaluationConfig(("vocabularies/mine", "byte"), (Path("mixed.jsonl.gz"),), speed_rounds=0)
    whole = run_tokenizer_evaluation(config, place / "whole")
    run_tokenizer_evaluation(config, place / "broken")
    (place / "broken/result.json").unlink()
    (place / "broken/.tmp-0123456789ab-result.json").write_text("{")
    again = run_tokenizer_evaluation(config, place / "broken")
    assert {**again, "seconds": 0} == {**whole, "seconds": 0}
    chart = "bytes_per_token.png"
    assert (place / "broken" / chart).read_bytes() == (place / "whole" / chart).read_bytes()
    assert not list((place / "broken").glob(".tmp-*"))


def test_a_hostile_domain_name_is_drawn(place):
    config = TokenizerEvaluationConfig(
        ("byte",), (Path("notes"),), ("$\\frac{ 孩子\x00=mixed.jsonl.gz",), speed_rounds=0
    )
    assert run_tokenizer_evaluation(config, place / "out")["domains"]


def test_names_that_are_not_alone_are_paths():
    assert short_names(["a/tok", "b/tok", "c/r50k.tiktoken", "x/byte"], ["byte"]) == {
        "a/tok": "a/tok",
        "b/tok": "b/tok",
        "c/r50k.tiktoken": "r50k",
        "x/byte": "x/byte",
    }


def test_config_survives_json():
    config = TokenizerEvaluationConfig(("byte",), (Path("a"),), ("news=b",))
    assert decode(TokenizerEvaluationConfig, encode(config)) == config


@pytest.mark.parametrize(
    ("options", "kind", "sentence"),
    [
        ({"tokenizers": ()}, ConfigError, "No tokenizer was given"),
        ({"inputs": ()}, ConfigError, "No text was given"),
        ({"tokenizers": ("byte", "vocabularies/mine", "./vocabularies/mine/")}, ConfigError, "given twice"),
        ({"inputs": (Path("notes"), Path("./notes"))}, ConfigError, "input notes was given twice"),
        ({"domains": ("loose=notes/loose.txt",)}, ConfigError, "text file notes/loose.txt was given twice"),
        ({"domains": ("=notes",)}, ConfigError, "NAME=PATH"),
        ({"domains": ("notes",)}, ConfigError, "NAME=PATH"),
        ({"speed_rounds": -1}, ConfigError, "speed_rounds is -1"),
        ({"word_vocab_size": 1}, ConfigError, "word_vocab_size is 1"),
        ({"tokenizers": ("bytes",)}, MissingError, "neither a file or folder nor one of byte, character, word"),
        ({"tokenizers": ("notes",)}, MissingError, "no vocabulary in notes"),
        ({"inputs": (Path("nowhere"),)}, MissingError, "nowhere"),
        ({"inputs": (Path("vocabularies"),)}, InputError, "no text in it"),
        ({"inputs": (Path("blank.jsonl"),)}, InputError, "no text in blank.jsonl"),
        ({"inputs": (Path("binary.txt"),)}, InputError, "looks binary"),
        ({"inputs": (Path("cut.jsonl.gz"),)}, InputError, "not a whole gzip file"),
        ({"inputs": (Path("unfinished"),)}, MissingError, "no finished corpus"),
    ],
)
def test_wrong_input_is_one_sentence_and_leaves_nothing_behind(place, options, kind, sentence):
    records(place / "blank.jsonl", {"text": " \n"})
    (place / "binary.txt").write_bytes(b"\x00\xff" * 200)
    (place / "cut.jsonl.gz").write_bytes((place / "mixed.jsonl.gz").read_bytes()[:-9])
    write_json(place / "unfinished/provenance.json", {"fingerprint": "f"})
    with pytest.raises(GroundupError, match=sentence) as caught:
        evaluate(**{"tokenizers": ("byte",), "inputs": (Path("notes"),), **options})
    assert isinstance(caught.value, kind)


@pytest.fixture
def verb(monkeypatch, capsys):
    """Run the verb as a user does, on a terminal of 100 columns; returns (exit code, stdout, stderr)."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setitem(VERBS, "tokenizer evaluate", "vocabularies side by side on the same texts")

    def run(*words):
        code = main(["tokenizer", "evaluate", *words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_the_verb_prints_tables_that_fit(place, verb):
    code, out, _ = verb(
        *("--tokenizer", "vocabularies/mine", "other/mine", "byte", "word", "--word-vocab-size", "9"),
        *("--input", "mixed.jsonl.gz", "notes", "--domain", "held-out=corpus", "--speed-rounds", "1", "--out", "out"),
    )
    assert code == 0
    rows = [line for line in out.splitlines() if line.startswith("│ vocabularies/mine")]
    result = json.loads((place / "out/result.json").read_text())["tokenizers"][0]
    assert f"{result['bytes_per_token']:.2f}" in rows[0]
    assert f"{result['languages']['ru']['fertility']:.2f}" in rows[2]
    assert len(rows) == 5
    assert all(len(line) <= 100 for line in out.splitlines() if line[:1] in "│┃┏┡└")
    for word in ("held-out", "unreach-", "encode", "Rényi", "longest tokens of other/mine", "measured text"):
        assert word in out
    assert "word does not give back" in out
    last = out.splitlines()[-1]
    assert last.startswith("4 tokenizers on")
    assert "out/result.json; next: groundup tokenizer encode --tokenizer vocabularies/mine" in last


def test_the_verb_without_a_folder_writes_nothing(place, verb):
    before = sorted(place.rglob("*"))
    code, out, _ = verb("--tokenizer", "byte", "--domain", "a=corpus", "--speed-rounds", "0")
    assert code == 0
    assert sorted(place.rglob("*")) == before
    assert "MB/s" not in out
    assert "keep the numbers with --out" in out.splitlines()[-1]


def test_more_groups_than_columns_are_announced(place, verb):
    records(place / "many.jsonl", *({"text": ENGLISH, "source": f"source-{number}"} for number in range(9)))
    code, out, _ = verb("--tokenizer", "byte", "--input", "many.jsonl", "--speed-rounds", "0")
    assert code == 0
    assert "of 9" in out
    assert "source-5" in out
    assert "source-6" not in out


def test_the_verb_tells_faults_in_a_sentence(place, verb):
    for words, sentence in (
        (("--tokenizer", "nowhere", "--input", "notes"), "There is no tokenizer nowhere"),
        (("--tokenizer", "byte"), "No text was given"),
        (("--tokenizer", "byte", "byte", "--input", "notes"), "given twice"),
        (("--tokenizer", "byte", "--input", "notes", "--out", "notes/out"), "lies inside the input folder notes"),
    ):
        code, out, err = verb(*words)
        assert (code, out) == (1, "")
        assert err.count("error: ") == 1
        assert sentence in " ".join(err.split())
    assert not (place / "notes/out").exists()


def test_help_shows_examples(verb):
    code, out, _ = verb("--help")
    assert code == 0
    assert tokenizer_evaluate.Args.__doc__ is not None
    assert "  groundup tokenizer evaluate --tokenizer runs/quickstart/tokenizer byte" in out
