"""Byte, character and word tokenizers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup.core.errors import ConfigError, InputError
from groundup.tokenization.byte_tokenizer import ByteTokenizer
from groundup.tokenization.character_tokenizer import CharacterTokenizer
from groundup.tokenization.word_tokenizer import WordTokenizer

TEXTS = ["the cat and the dog", "the naïve dog"]


@given(st.text(st.characters(exclude_categories=("Cs",))))
def test_bytes_and_known_characters_come_back(text):
    assert ByteTokenizer().decode(ByteTokenizer().encode(text)) == text
    characters = CharacterTokenizer.train([text])
    assert characters.decode(characters.encode(text)) == text
    assert len(characters.encode(text)) == len(text)
    words = WordTokenizer.train([text], 1000)
    assert words.decode(words.encode(text)) == text
    assert "".join(words.split(text)) == text


def test_byte_ids_are_the_bytes():
    assert ByteTokenizer().encode("é!") == [0xC3, 0xA9, 0x21]
    assert ByteTokenizer().vocab_size == 256


def test_unknown_characters_and_words():
    characters = CharacterTokenizer.train(["ab", "cb"])
    assert characters.vocab_size == 4
    assert characters.encode("cxa") == [3, 0, 1]
    assert characters.decode([3, 0, 1]) == "c\ufffda"
    words = WordTokenizer.train(TEXTS, 3)
    assert words.pieces == ["\ufffd", " dog", "the"]  # both twice; " cat", " and", " the", " naïve" once
    assert words.encode("the big dog") == [2, 0, 1]


def test_the_unknown_token_is_no_piece_of_its_own():
    assert CharacterTokenizer.train(["a\ufffdb"]).pieces == ["\ufffd", "a", "b"]
    assert WordTokenizer.train(["a \ufffd\ufffd", "\ufffd"], 9).encode("\ufffd") == [0]


def test_training_reads_its_texts_once():
    assert CharacterTokenizer.train(iter(TEXTS)).pieces == CharacterTokenizer.train(TEXTS).pieces
    assert WordTokenizer.train(iter(TEXTS), 5).pieces == WordTokenizer.train(TEXTS, 5).pieces


def test_lone_surrogates_are_read_as_unknown_text():
    assert ByteTokenizer().encode("a\ud800") == list("a\ufffd".encode())
    assert CharacterTokenizer.train(["a"]).encode("a\ud800") == [1, 0]
    assert WordTokenizer.train(["a"], 9).encode("a\ud800") == [1, 0]


def test_ids_outside_are_refused():
    for tokenizer, bad in ((ByteTokenizer(), 256), (CharacterTokenizer.train(["ab"]), 3), (ByteTokenizer(), -1)):
        with pytest.raises(InputError, match="token id"):
            tokenizer.decode([bad])
    with pytest.raises(ConfigError, match="at least 1"):
        WordTokenizer.train(TEXTS, 0)
