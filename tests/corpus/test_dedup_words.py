import random
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup.corpus.dedup.hashing import hash_stretches, mix, pack, reference_hash, reference_mix
from groundup.corpus.dedup.normalisation import character_table, normalise, scan_words
from groundup.corpus.dedup.words import ngrams_of_texts, word_ngrams

INTERESTING = (
    "aB9 éÉßŁ,._-\n\t\u0301\u00ad\u200b\ud800漢字のアガไทยกำ한국\u1100\u1161ΣσςİıǅＡ①𝄞𝅗𝅥हिन्दी😀\U000e0061\U0010ffff"
)
texts = st.text(st.sampled_from(INTERESTING) | st.characters(), max_size=60)


def scanned(text):
    data, starts = pack([text])
    words = np.empty(len(data) + 1, np.uint64)
    return words[: scan_words(data, 0, starts[1], character_table(), words)].tolist()


@given(texts)
def test_words_are_those_of_the_definition(text):
    assert scanned(text) == [reference_hash(word.encode()) for word in normalise(text).split()]


def test_every_character_is_as_the_definition_says():
    wrong = [
        hex(code)
        for code in [*range(0x3400), *range(0xA000, 0xAC80), *range(0xD700, 0x20100), 0x2F800, 0xE0100, 0x10FFFF]
        if scanned(f"x{chr(code)}y") != [reference_hash(w.encode()) for w in normalise(f"x{chr(code)}y").split()]
    ]
    assert not wrong


@given(st.text(max_size=40))
def test_the_form_does_not_depend_on_composition_or_repetition(text):
    assert normalise(unicodedata.normalize("NFD", text)) == normalise(unicodedata.normalize("NFC", text))
    assert normalise(normalise(text)) == normalise(text)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("Café,  BAR!\n\tbaz", "cafe bar baz"),
        ("ΟΔΟΣ οδος", "οδοσ οδοσ"),
        ("co\u00adoperate it's", "cooperate it s"),
        ("東京タワー 3F", "東 京 タ ワ ー 3f"),
        ("हिन्दी", "हिनदी"),
        ("!?… \u0301", ""),
    ],
)
def test_known_forms(text, form):
    assert normalise(text) == form


@given(st.lists(st.binary(max_size=30), max_size=8))
def test_hashes_of_bytes_are_those_of_the_definition(parts):
    ends = np.cumsum([len(part) for part in parts], dtype=np.int64)
    starts = ends - np.array([len(part) for part in parts], np.int64)
    data = np.frombuffer(b"".join(parts), np.uint8)
    assert hash_stretches(data, starts, ends).tolist() == [reference_hash(part) for part in parts]


@given(st.integers(0, 2**64 - 1))
def test_the_mixer_is_that_of_the_definition(value):
    assert int(mix(np.uint64(value))) == reference_mix(value)


def test_the_first_values_of_splitmix64():
    # Java's SplittableRandom(0): mix of multiples of the golden ratio
    step = 0x9E3779B97F4A7C15
    assert [reference_mix(step * i % 2**64) for i in (1, 2)] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]


@given(st.lists(st.sampled_from("abcd"), max_size=30).map(" ".join), st.integers(1, 6))
def test_ngram_hashes_stand_for_ngrams(text, n):
    words = text.split()
    ngrams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    hashes = word_ngrams(text, n).tolist()
    assert len(hashes) == len(ngrams)
    assert len(set(zip(ngrams, hashes, strict=True))) == len(set(ngrams)) == len(set(hashes))


def test_texts_together_are_as_texts_alone():
    generator = random.Random(0)
    many = ["".join(generator.choices(INTERESTING, k=generator.randrange(80))) for _ in range(200)]
    hashes, starts = ngrams_of_texts(many, 3)
    for i, text in enumerate(many):
        assert hashes[starts[i] : starts[i + 1]].tolist() == word_ngrams(text, 3).tolist()
