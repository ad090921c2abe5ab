"""Rank files: tiktoken gives the same ids, for any set of tokens in any order of ranks."""

import base64
from pathlib import Path

import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.core.errors import ConfigError, InputError
from groundup.tokenization.bpe import BytePairTokenizer
from groundup.tokenization.bpe_training import train_bpe
from groundup.tokenization.merge_recovery import merges_of_ranks
from groundup.tokenization.patterns import PATTERNS
from groundup.tokenization.vocabulary_files import load_vocabulary, save_vocabulary

TEXT = "The cat sat on the mat; the naïve cat's 12 hats. 日本 日本 the other hatter mattered, naturally. " * 4
EVERYTHING = r"(?s:.+)"
BYTES = {bytes([byte]): byte for byte in range(256)}


def write_ranks(path: Path, ranks: dict[bytes, int]) -> Path:
    path.write_text("".join(f"{base64.b64encode(token).decode()} {rank}\n" for token, rank in ranks.items()))
    return path


def twin(ranks: dict[bytes, int], pattern: str, special_tokens: dict[str, int] | None = None) -> tiktoken.Encoding:
    return tiktoken.Encoding("twin", pat_str=pattern, mergeable_ranks=ranks, special_tokens=special_tokens or {})


# With ranks in any order, many hold tokens that no merge makes, and tokens that are made of later ones.
vocabularies = st.lists(st.text("abc", min_size=2, max_size=6), unique=True, max_size=12)


@settings(max_examples=400)
@given(vocabularies, st.lists(st.text("abc", max_size=30), max_size=6))
def test_any_ranks_give_the_ids_of_tiktoken(tmp_path_factory, tokens, texts):
    ranks = BYTES | {token.encode(): 256 + 2 * place for place, token in enumerate(tokens)}
    ours = load_vocabulary(write_ranks(tmp_path_factory.getbasetemp() / "any.tiktoken", ranks), EVERYTHING)
    theirs = twin(ranks, EVERYTHING)
    for text in [*texts, *tokens, "".join(tokens)]:
        assert ours.encode(text) == theirs.encode_ordinary(text)


@settings(max_examples=200)
@given(vocabularies)
def test_a_token_is_unmade_exactly_when_its_bytes_end_in_others(tokens):
    ranks = {token.encode(): place for place, token in enumerate(tokens)}
    found = merges_of_ranks(ranks)
    tokenizer = BytePairTokenizer(found.merges, EVERYTHING)
    assert sorted([*found.made, *found.unmade]) == sorted(ranks)
    assert [len(tokenizer.encode(token.decode())) for token in found.made] == [1] * len(found.made)
    assert all(len(tokenizer.encode(token.decode())) > 1 for token in found.unmade)
    assert [tokenizer.vocabulary[256 + place] for place in range(len(found.made))] == found.made


@pytest.mark.parametrize("pattern", sorted(PATTERNS))
def test_a_trained_vocabulary_comes_back(pattern, tmp_path):
    trained = train_bpe([TEXT], 320, pattern)
    path = save_vocabulary(trained, "tiktoken", tmp_path / "words.tiktoken")
    assert load_vocabulary(path, pattern).fingerprint == trained.fingerprint
    ranks = {base64.b64decode(line.split()[0]): int(line.split()[1]) for line in path.read_text().splitlines()}
    assert twin(ranks, trained.pattern).encode_ordinary(TEXT) == trained.encode(TEXT)


def test_ids_with_gaps_and_bytes_in_another_order_come_back(tmp_path):
    trained = train_bpe([TEXT], 300, "gpt2")
    ids = [*range(255, -1, -1), *range(300, 300 + 3 * len(trained.merges), 3)]
    moved = BytePairTokenizer(trained.merges, "gpt2", ids=ids, whole_pieces={b"zqz": 299})
    path = save_vocabulary(moved, "tiktoken", tmp_path / "words.tiktoken")
    assert load_vocabulary(path, "gpt2").fingerprint == moved.fingerprint


@pytest.mark.parametrize(
    ("name", "pattern", "special_tokens"),
    [
        ("r50k_base", "gpt2", {"<|endoftext|>": 50256}),
        ("cl100k_base", "cl100k", 5),
        ("o200k_base", "o200k", {"<|endoftext|>": 199999, "<|endofprompt|>": 200018}),
    ],
)
def test_published_names_bring_pattern_and_special_tokens(tmp_path, name, pattern, special_tokens):
    loaded = load_vocabulary(write_ranks(tmp_path / f"{name}.tiktoken", BYTES))
    assert loaded.pattern == PATTERNS[pattern]
    assert special_tokens in (loaded.special_tokens, len(loaded.special_tokens))
    other = load_vocabulary(write_ranks(tmp_path / f"{name}.tiktoken", BYTES), "digits")
    assert other.pattern == PATTERNS["digits"]


def test_other_names_are_read_with_the_pattern_of_gpt2_and_a_note(tmp_path, caplog):
    caplog.set_level("INFO", logger="groundup")
    assert load_vocabulary(write_ranks(tmp_path / "x.tiktoken", BYTES)).pattern == PATTERNS["gpt2"]
    assert "does not name its pre-token pattern" in caplog.text
    caplog.clear()
    load_vocabulary(tmp_path / "x.tiktoken", "gpt2")
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not base64 at all\n", "line 1 is not"),
        ("YQ== x\n", "line 1 is not"),
        ("YQ== 0\nYQ== 1\n", "line 2 has a token that is there already"),
        ("YQ== 1\n", "no token for the byte 0x00"),
        ("", "no token for the byte 0x00"),
        ("YWJj 5\n" + "".join(f"{base64.b64encode(t).decode()} {r}\n" for t, r in BYTES.items()), "has the id 5"),
        ("YWJj -5\n" + "".join(f"{base64.b64encode(t).decode()} {r}\n" for t, r in BYTES.items()), "has the id -5"),
    ],
)
def test_broken_rank_files(tmp_path, content, message):
    path = tmp_path / "x.tiktoken"
    path.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        load_vocabulary(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"merges": [(97, 98)], "normalization": "NFC"}, "into the form NFC first"),
        ({"merges": [(97, 98), (98, 99)], "ids": [*range(256), 301, 300]}, "which merge goes first"),
        ({"merges": [(97, 98), (98, 99), (97, 257)]}, "a merge never joins anything"),  # "abc" ends as "ab", "c"
    ],
)
def test_what_tiktoken_would_read_otherwise_is_not_written(tmp_path, arguments, message):
    with pytest.raises(ConfigError, match=message):
        save_vocabulary(BytePairTokenizer(**arguments), "tiktoken", tmp_path / "x.tiktoken")
    assert not (tmp_path / "x.tiktoken").exists()


def test_the_name_must_say_what_it_is(tmp_path):
    with pytest.raises(ConfigError, match=r"does not end in \.tiktoken"):
        save_vocabulary(BytePairTokenizer(()), "tiktoken", tmp_path / "x.txt")
