"""Compiled training: the kernel's merges are those of the definition, whatever the counts and the guessed floor."""

import random
import threading
import time
from collections.abc import Mapping
from contextlib import contextmanager
from itertools import takewhile

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from groundup.tokenization import pretoken_counts
from groundup.tokenization.compiled import learning
from groundup.tokenization.compiled.learning import DONE, STOP, learn
from groundup.tokenization.merge_learning import join, learn_merges, learn_merges_reference
from groundup.tokenization.pretoken_counts import CountArrays, learn_compiled

Merges = list[tuple[int, int]]
LARGE = 1 << 40


def arrays_of(counts: Mapping[bytes, int]) -> CountArrays:
    return CountArrays(
        np.frombuffer(b"".join(counts), np.uint8),
        np.array([len(piece) for piece in counts], np.int64),
        np.array(list(counts.values()), np.int64),
    )


def learnt(counts: Mapping[bytes, int], number: int, floor: int = 1) -> Merges:
    shared = np.zeros(2, np.int64)
    merges = learn(*arrays_of(counts), number, floor, shared)
    assert merges.shape == (shared[DONE], 2)
    return [(left, right) for left, right in merges.tolist()]


def spelt(merges: Merges) -> list[bytes]:
    """The bytes of each merge's token."""
    tokens = [bytes([byte]) for byte in range(256)]
    for left, right in merges:
        tokens.append(tokens[left] + tokens[right])
    return tokens[256:]


def frequencies(counts: Mapping[bytes, int], merges: Merges) -> list[int]:
    """How often each merge's pair occurs when it is its turn."""
    words = [(list(piece), count) for piece, count in counts.items()]
    found = []
    for number, pair in enumerate(merges, 256):
        words, before = [(join(word, pair, number), count) for word, count in words], words
        found.append(sum((len(b) - len(a)) * c for (a, c), (b, _) in zip(words, before, strict=True)))
    return found


def rehearsed(stems: list[bytes], tails: list[bytes]) -> dict[bytes, int]:
    """Counts that make each stem a token first and then leave a tie between the stems in front of a tail."""
    return dict.fromkeys(stems, 50) | {stem + tail: 1 for stem in stems for tail in tails}


word = st.one_of(
    st.binary(min_size=1, max_size=12),
    st.text("ab", min_size=1, max_size=24).map(str.encode),
    st.text("a\0", min_size=1, max_size=16).map(str.encode),
    st.lists(st.sampled_from([b"abcdefgh", b"abcdefgi", b"abcdefg", b"\0", b"z"]), min_size=1, max_size=4).map(
        b"".join
    ),
)
weights = st.one_of(st.integers(1, 4), st.integers(LARGE - 2, LARGE))
word_counts = st.dictionaries(word, weights, max_size=25)


def test_the_textbook_example():
    """By hand: es and st occur 9 times each, and st is the greater; then est, ow, low, ..."""
    merges = learnt({b"low": 5, b"lower": 2, b"widest": 3, b"newest": 6}, 6)
    assert spelt(merges) == [b"st", b"est", b"ow", b"low", b"west", b"ne"]


@settings(max_examples=400)
@given(word_counts, st.integers(0, 60))
@example({}, 5)
@example({b"a": 7}, 5)
@example({b"ab": LARGE}, 1)
def test_equals_the_reference(counts, number):
    assert learnt(counts, number) == learn_merges_reference(counts, number)


@pytest.mark.parametrize(
    "piece", [b"a" * n for n in range(1, 20)] + [b"abababab", b"aabaabaa", b"aaabaaabaaaa", b"abcabcabca", b"\0" * 9]
)
def test_overlaps_equal_the_reference(piece):
    for counts in ({piece: 1}, {piece: 3, b"aa": 1, b"ba": 2}, {b"b" + piece + b"b": 2, b"c" + piece: 2}):
        assert learnt(counts, 40) == learn_merges_reference(counts, 40)


class TestTies:
    def test_tokens_that_differ_behind_their_seventh_byte(self):
        merges = learnt(rehearsed([b"abcdefghA", b"abcdefghB"], [b"z"]), 50)
        assert spelt(merges)[-2:] == [b"abcdefghBz", b"abcdefghAz"]

    def test_a_longer_token_is_greater_than_its_own_start(self):
        merges = learnt({b"abcdefgh": 90, b"abcdefghi": 50, b"abcdefghz": 1, b"abcdefghiz": 1}, 50)
        assert spelt(merges)[-2:] == [b"abcdefghiz", b"abcdefghz"]

    def test_nul_bytes_count_although_the_number_of_a_token_does_not_show_them(self):
        merges = learnt({b"a\0": 50, b"a\0\0": 20, b"az": 1, b"a\0z": 1, b"a\0\0z": 1}, 50)
        assert spelt(merges) == [b"a\0", b"a\0\0", b"a\0\0z", b"a\0z", b"az"]

    @pytest.mark.parametrize("left", [True, False])
    def test_many_alike(self, left):
        random_ = random.Random(3)
        stems = [b"abcdefg" + bytes(random_.choices(b"\0\1a\xff", k=random_.randint(1, 4))) for _ in range(12)]
        counts = rehearsed(stems, [b"y", b"z"])
        if not left:
            counts = {piece[::-1]: count for piece, count in counts.items()}
        assert learnt(counts, 300) == learn_merges_reference(counts, 300)

    @pytest.mark.parametrize("seed", range(6))
    def test_equal_counts_everywhere(self, seed):
        random_ = random.Random(seed)
        counts = {bytes(random_.choices(b"\0ab\xff", k=random_.randint(1, 14))): 1 for _ in range(60)}
        assert learnt(counts, 400) == learn_merges_reference(counts, 400)


@pytest.mark.parametrize("seed", range(8))
def test_long_words_and_large_counts(seed):
    random_ = random.Random(seed)
    letters = bytes(random_.sample(range(256), 2 + 3 * seed))
    counts = {
        bytes(random_.choices(letters, k=random_.randint(1, 300))): random_.choice([1, 2, random_.randint(1, LARGE)])
        for _ in range(15)
    }
    assert learnt(counts, 80) == learn_merges_reference(counts, 80)


def test_all_words_become_tokens_where_more_merges_are_asked_for_than_there_are():
    counts = {b"hello": 3, b"help": 2, b"a" * 100: 1}
    merges = learnt(counts, 10_000)
    assert merges == learn_merges_reference(counts, 10_000)
    assert set(counts) <= set(spelt(merges))


def test_tables_grow():
    """Thousands of distinct pairs, more than any table or heap is made for at first. The oracle is the other trainer,
    which recounts nothing and has the definition as its own oracle."""
    random_ = random.Random(1)
    stems = [bytes(random_.choices(range(256), k=random_.randint(1, 4))) for _ in range(400)]
    counts = {b"".join(random_.choices(stems, k=random_.randint(1, 8))): random_.randint(1, 9) for _ in range(3000)}
    merges = learnt(counts, 4000)
    assert len(merges) == 4000
    assert merges == learn_merges(counts, 4000)


class TestFloor:
    @settings(max_examples=200)
    @given(st.dictionaries(word, st.integers(1, 9), max_size=20), st.integers(1, 40), st.integers(1, 40))
    def test_every_floor_gives_the_true_merges_as_far_as_they_are_that_frequent(self, counts, number, floor):
        true = learn_merges_reference(counts, number)
        found = learnt(counts, number, floor)
        assert found == true[: len(found)]
        frequent = list(takewhile(lambda count: count >= floor, frequencies(counts, true)))
        assert len(found) >= len(frequent)

    def test_a_rare_pair_of_bytes_does_not_overtake_a_rare_pair_that_was_left_out(self):
        """ab makes the pair (ab, c), 5 times, below the floor of 7; (x, y) occurs 3 times from the start."""
        counts = {b"ab": 10, b"abc": 5, b"xy": 3}
        assert spelt(learn_merges_reference(counts, 9)) == [b"ab", b"abc", b"xy"]
        assert spelt(learnt(counts, 9, floor=7)) in ([b"ab"], [b"ab", b"abc"], [b"ab", b"abc", b"xy"])

    def test_a_guess_that_was_too_high_is_taken_back(self, monkeypatch):
        """A million lone letters raise the guess to thousands; the pairs occur three times or less."""
        floors = []

        def recorded(*arguments):
            floors.append(arguments[-2])
            return learn(*arguments)

        monkeypatch.setattr(learning, "learn", recorded)
        counts = {b"a": 1_000_000, b"bcd": 3, b"bce": 2, b"xyz": 1}
        assert learn_compiled(arrays_of(counts), 5) == learn_merges_reference(counts, 5)
        assert floors[0] > 1000
        assert len(floors) > 1
        assert floors == sorted(floors, reverse=True)

    @settings(max_examples=100)
    @given(word_counts, st.integers(0, 30), st.integers(1, 1 << 20))
    def test_whatever_the_guess_all_merges_come_out(self, counts, number, letters):
        counts = counts | {b"q": letters}
        assert learn_compiled(arrays_of(counts), number) == learn_merges_reference(counts, number)


class TestStopping:
    def test_the_kernel_stops_when_it_is_told(self):
        shared = np.zeros(2, np.int64)
        shared[STOP] = 1
        assert learn(*arrays_of({b"abab": 5}), 9, 1, shared).shape == (0, 2)

    def test_an_interrupt_stops_the_thread_that_learns(self, monkeypatch):
        stopped = threading.Event()

        def learn_until_told(text, lengths, weights, number, floor, shared):
            limit = time.monotonic() + 30
            while not shared[STOP] and time.monotonic() < limit:
                time.sleep(0.001)
            if shared[STOP]:
                stopped.set()
            return np.zeros((0, 2), np.int32)

        @contextmanager
        def interrupted(description, total):
            def advance(count):
                raise KeyboardInterrupt

            yield advance

        monkeypatch.setattr(learning, "learn", learn_until_told)
        monkeypatch.setattr(pretoken_counts, "progress", interrupted)
        threads = threading.active_count()
        with pytest.raises(KeyboardInterrupt):
            learn_compiled(arrays_of({b"ab": 1}), 5)
        assert stopped.is_set()
        assert threading.active_count() == threads

    def test_what_is_shown_is_what_was_learnt(self, monkeypatch):
        shown = []

        @contextmanager
        def recorded(description, total):
            yield shown.append

        monkeypatch.setattr(pretoken_counts, "progress", recorded)
        counts = {b"abcdefgh": 9, b"hgfedcba": 8}
        assert len(learn_compiled(arrays_of(counts), 10)) == sum(shown) == 10
