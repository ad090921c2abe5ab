"""Byte, character and word tokenizers, and the table that compares them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.core.errors import ConfigError, InputError
from groundup.tokenization.baselines import ByteTokenizer, CharacterTokenizer, WordTokenizer
from groundup.tokenization.bpe_training import train_bpe
from groundup.tokenization.comparison import compare_tokenizers

TEXTS = ["the cat and the dog", "the naïve dog"]


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=("Cs",))))
def test_bytes_and_known_characters_come_back(text):
    assert ByteTokenizer().decode(ByteTokenizer().encode(text)) == text
    characters = CharacterTokenizer.train([text])
    assert characters.decode(characters.encode(text)) == text
    words = WordTokenizer.train([text], 1000)
    assert words.decode(words.encode(text)) == text


def test_byte_ids_are_the_bytes():
    assert ByteTokenizer().encode("é!") == [0xC3, 0xA9, 0x21]
    assert ByteTokenizer().vocab_size == 256


def test_unknown_characters_and_words():
    characters = CharacterTokenizer.train(["abc"])
    assert characters.vocab_size == 4
    assert characters.encode("cxa") == [3, 0, 1]
    assert characters.decode([3, 0, 1]) == "c\ufffda"
    words = WordTokenizer.train(TEXTS, 3)
    assert words.pieces == ["\ufffd", " dog", "the"]  # both twice; " cat", " and", " the", " naïve" once
    assert words.encode("the big dog") == [2, 0, 1]


def test_ids_outside_are_refused():
    for tokenizer, bad in ((ByteTokenizer(), 256), (CharacterTokenizer.train(["ab"]), 3), (ByteTokenizer(), -1)):
        with pytest.raises(InputError, match="token id"):
            tokenizer.decode([bad])
    with pytest.raises(ConfigError, match="at least 1"):
        WordTokenizer.train(TEXTS, 0)


def test_comparison_rows_are_those_of_a_count_by_hand():
    rows = compare_tokenizers(
        {"byte": ByteTokenizer(), "character": CharacterTokenizer.train(["aé"]), "word": WordTokenizer.train(["é"], 5)},
        ["aé", "é b"],
    )
    assert rows == [
        {"name": "byte", "vocab_size": 256, "bytes_per_token": 1.0, "unknown_share": 0.0, "tokens": 7},
        {"name": "character", "vocab_size": 3, "bytes_per_token": 7 / 5, "unknown_share": 2 / 5, "tokens": 5},
        {"name": "word", "vocab_size": 2, "bytes_per_token": 7 / 3, "unknown_share": 2 / 3, "tokens": 3},
    ]


def test_trained_vocabulary_holds_more_bytes_per_token_than_bytes():
    bpe = train_bpe(TEXTS * 9, 290)
    rows = compare_tokenizers({"bpe": bpe, "byte": ByteTokenizer()}, TEXTS)
    assert rows[0]["bytes_per_token"] > 2 * rows[1]["bytes_per_token"]


def test_nothing_to_compare_on():
    with pytest.raises(InputError, match="no text to compare"):
        compare_tokenizers({"byte": ByteTokenizer()}, [""])
