import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted_copies import random_texts

from groundup.core.errors import ConfigError
from groundup.corpus.dedup.substrings import joined, remove_substrings, repeated_values
from groundup.corpus.dedup.suffix_array import common_prefixes, suffix_array

integers = st.lists(st.integers(0, 3), max_size=60) | st.lists(st.integers(0, 1000), max_size=30)
documents = st.lists(st.lists(st.integers(0, 2), max_size=25), max_size=5)


@given(integers)
def test_the_array_is_that_of_sorted_suffixes(values):
    assert suffix_array(np.array(values, np.int32)).tolist() == sorted(range(len(values)), key=lambda i: values[i:])


@pytest.mark.parametrize("text", ["mississippi", "a" * 300, "ab" * 200, "abcab" * 99, "banana" * 50 + "x"])
def test_the_array_of_repetitive_texts(text):
    values = np.frombuffer(text.encode(), np.uint8).astype(np.int32)
    assert suffix_array(values).tolist() == sorted(range(len(text)), key=lambda i: text[i:])


@given(integers)
def test_common_prefixes_are_those_of_neighbours(values):
    order = suffix_array(np.array(values, np.int32))

    def common(a, b):
        pairs = zip(values[a:], values[b:], strict=False)
        return next((i for i, (x, y) in enumerate(pairs) if x != y), min(len(values) - a, len(values) - b))

    expected = [0, *(common(a, b) for a, b in pairwise(order))][: len(values)]
    assert common_prefixes(np.array(values, np.int32), order).tolist() == expected


@given(documents, st.integers(1, 6), st.sampled_from(["one", "none"]))
def test_repeats_are_those_of_a_table_of_windows(sequences, length, keep):
    places = {}
    for number, values in enumerate(sequences):
        for start in range(len(values) - length + 1):
            places.setdefault(tuple(values[start : start + length]), []).append((number, start))
    expected = [[False] * len(values) for values in sequences]
    for found in places.values():
        for number, start in (found[1:] if keep == "one" else found) if len(found) > 1 else ():
            expected[number][start : start + length] = [True] * length
    values, starts = joined([np.array(each, np.int64) for each in sequences])
    covered = repeated_values(values, length, keep)
    ours = [covered[start : start + len(each)].tolist() for start, each in zip(starts, sequences, strict=True)]
    assert ours == expected


def test_a_planted_paragraph_stays_once():
    generator = random.Random(1)
    texts = random_texts(generator, 40, (100, 200))
    (paragraph,) = random_texts(generator, 1, (60, 60))
    with_it = [text[:50] + f" <{i}> " + paragraph + f" <{i}> " + text[50:] for i, text in enumerate(texts)]
    found = remove_substrings(with_it, len(paragraph))
    assert found.texts[0] == with_it[0]
    for i, text in list(enumerate(found.texts))[1:]:
        assert paragraph[5:-5] not in text
        assert len(text) <= len(with_it[i]) - len(paragraph)
        assert text.startswith(texts[i][:40])
        assert text.endswith(texts[i][-40:])
    assert found.pieces.tolist() == [0] + [1] * 39
    assert not any(paragraph[5:-5] in text for text in remove_substrings(with_it, len(paragraph), "none").texts)


@given(st.lists(st.text(st.sampled_from("aé漢\ud800"), max_size=20), max_size=4), st.integers(1, 8))
def test_characters_are_never_split(texts, length):
    found = remove_substrings(texts, length)
    for before, after, removed in zip(texts, found.texts, found.bytes, strict=True):
        sizes = [len(text.encode(errors="surrogatepass")) for text in (before, after)]
        assert sizes[0] - sizes[1] == removed
        characters = iter(before)
        assert all(character in characters for character in after)  # a subsequence


def test_impossible_lengths_are_refused():
    with pytest.raises(ConfigError, match="substring is 0"):
        repeated_values(joined([])[0], 0)
