"""Training: the incremental trainer gives exactly the merges of the definition that recounts everything."""

import logging
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.core.errors import ConfigError
from groundup.tokenization.bpe_training import train_bpe
from groundup.tokenization.merge_learning import join, learn_merges, learn_merges_reference
from groundup.tokenization.pretoken_counts import PretokenCounts


def as_bytes(merges: list[tuple[int, int]]) -> list[tuple[bytes, bytes]]:
    vocabulary = [bytes([byte]) for byte in range(256)]
    for left, right in merges:
        vocabulary.append(vocabulary[left] + vocabulary[right])
    return [(vocabulary[left], vocabulary[right]) for left, right in merges]


def count_pretokens(texts: list[str], pattern: str, special_tokens: tuple[str, ...] = ()) -> Counter[bytes]:
    counts = PretokenCounts(pattern, special_tokens)
    for text in texts:
        counts.add(text.encode())
    return Counter(counts.mapping())


def test_the_textbook_example():
    """By hand: es and st occur 9 times each, and st is the greater; then est, ow, low, ..."""
    counts = {b"low": 5, b"lower": 2, b"widest": 3, b"newest": 6}
    assert as_bytes(learn_merges(counts, 6)) == [
        (b"s", b"t"),
        (b"e", b"st"),
        (b"o", b"w"),
        (b"l", b"ow"),
        (b"w", b"est"),
        (b"n", b"e"),
    ]


def test_ties_go_to_the_greatest_pair_of_byte_strings():
    assert as_bytes(learn_merges({b"ab": 1, b"ac": 1, b"\xffa": 1, b"\x00z": 1}, 9)) == [
        (b"\xff", b"a"),
        (b"a", b"c"),
        (b"a", b"b"),
        (b"\x00", b"z"),
    ]
    # A longer string is greater than its own beginning: (ab, c) before (a, c).
    assert as_bytes(learn_merges({b"ab": 9, b"abc": 2, b"ac": 2}, 3)) == [(b"a", b"b"), (b"ab", b"c"), (b"a", b"c")]


words = st.dictionaries(
    st.one_of(
        st.binary(max_size=12), st.text("ab", max_size=24).map(str.encode), st.text("aé ", max_size=9).map(str.encode)
    ),
    st.integers(1, 5),
    max_size=25,
)


@settings(deadline=None, max_examples=400)
@given(words, st.integers(0, 40))
def test_equals_the_reference(counts, number):
    assert learn_merges(counts, number) == learn_merges_reference(counts, number)


@pytest.mark.parametrize(
    "piece", [b"a" * n for n in range(12)] + [b"abababab", b"aabaabaa", b"aaabaaabaaaa", b"abcabcabca"]
)
def test_overlaps_equal_the_reference(piece):
    for counts in ({piece: 1}, {piece: 3, b"aa": 1, b"ba": 2}):
        assert learn_merges(counts, 20) == learn_merges_reference(counts, 20)


@settings(deadline=None, max_examples=100)
@given(words)
def test_no_two_merges_make_the_same_bytes(counts):
    made = [left + right for left, right in as_bytes(learn_merges(counts, 100))]
    assert len(made) == len(set(made))


def test_join_is_from_the_left():
    assert join([1, 1, 1], (1, 1), 9) == [9, 1]
    assert join([2, 1, 1, 1, 1], (1, 1), 9) == [2, 9, 9]


def test_prose_equals_the_reference():
    text = (
        "It was the best of times, it was the worst of times, it was the age of wisdom. " * 3 + "naïve café 1859 " * 2
    )
    counts = count_pretokens([text], "gpt2")
    assert learn_merges(counts, 60) == learn_merges_reference(counts, 60)


def test_count_pretokens():
    counts = count_pretokens(["the cat the cat", " the"], "gpt2")
    assert counts == Counter({b"the": 1, b" cat": 2, b" the": 2})


def test_special_tokens_are_boundaries_and_not_counted():
    counts = count_pretokens(["ab<|end|>cd<|end|>", "x<|end|>|>y"], "gpt2", ("<|end|>", "<|end|>|>"))
    assert counts == Counter({b"ab": 1, b"cd": 1, b"x": 1, b"y": 1})
    tokenizer = train_bpe(["ab<|end|>" * 50], 300, "gpt2", ("<|end|>",))
    assert tokenizer.merges == ((ord("a"), ord("b")),)


def test_vocabulary_is_bytes_then_merges_then_specials():
    tokenizer = train_bpe(["hello hello hello world world of words " * 9], 270, "gpt2", ("<|a|>", "<|b|>"))
    assert tokenizer.vocab_size == 270
    assert [tokenizer.vocabulary[token] for token in range(256)] == [bytes([byte]) for byte in range(256)]
    assert tokenizer.special_tokens == {"<|a|>": 268, "<|b|>": 269}
    assert len(tokenizer.merges) == 12


def test_too_little_text_trains_fewer_merges_and_says_so(caplog):
    with caplog.at_level(logging.WARNING, logger="groundup"):
        tokenizer = train_bpe(["abc abc"], 4096, "gpt2", ("<|end|>",))
    assert tokenizer.vocab_size == 256 + 3 + 1  # bc, abc, " abc"
    assert "only 3 pairs to merge" in caplog.text
    assert tokenizer.special_tokens == {"<|end|>": 259}


def test_order_of_documents_changes_nothing():
    texts = ["one two three", "two three four", "aaaa bb aaab", "ébé ébé"]
    assert train_bpe(texts, 300).merges == train_bpe(texts[::-1], 300).merges


@pytest.mark.parametrize(
    ("vocab_size", "specials", "message"),
    [
        (255, (), "at least 256"),
        (259, ("a1", "b1", "c1", "d1"), r"at least 260 \(256 bytes and 4 special tokens\)"),
        (400, ("<|x|>", "<|x|>"), "given twice"),
        (400, ("",), "empty text"),
    ],
)
def test_impossible_vocabularies_are_refused(vocab_size, specials, message):
    with pytest.raises(ConfigError, match=message):
        train_bpe(["text"], vocab_size, special_tokens=specials)


def test_the_smallest_vocabulary_has_no_merges():
    assert train_bpe(["hello"], 257, special_tokens=("<|e|>",)).merges == ()


def test_lone_surrogates_are_counted_as_replacement_characters():
    lone, replaced = "a\ud800b \ud83d\ude42 " * 9, "a\ufffdb 🙂 " * 9
    assert train_bpe([lone], 300, "gpt2").merges == train_bpe([replaced], 300, "gpt2").merges
