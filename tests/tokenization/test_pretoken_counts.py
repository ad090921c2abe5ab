"""Counting pre-tokens: the kernels, the Python engine and their sums give what cutting the text and counting gives."""

import random
import subprocess
import sys
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.core.errors import ConfigError
from groundup.tokenization import pretoken_counts
from groundup.tokenization.compiled import counter as counter_module
from groundup.tokenization.compiled import layout
from groundup.tokenization.compiled.counter import PieceCounter
from groundup.tokenization.merge_learning import learn_merges_reference
from groundup.tokenization.patterns import PATTERNS, compile_pattern, split
from groundup.tokenization.pretoken_counts import PretokenCounts

HOSTILE = [
    *"aZéЖ你ªⅫ٣1'’!/.-_\u0301\u200b🙂\0\x1c\x85\ufffd\u1e9e",
    *(" ", "\t", "\n", "\r", "\r\n", "\v", "\u00a0", "\u2028", "\u3000", "\n\n", "  ", " " * 70, "\n" * 66),
    *("'s", "'LL", "'ſ", "don't", " word", "Camel", "CASE", "123", "1234567", "!\n", "!\r\n", "/\n", "\n/", "ab" * 40),
    *("fifteen letters", "exactlysixteen16", "é" * 8, "你" * 5, "你好" * 60, "🙂" * 17),
]
SPECIALS = ("<|end|>", "<|end|>x", "<|a b|>")
ENGINES = ("python", "compiled")
blocks = st.lists(st.lists(st.sampled_from(HOSTILE), max_size=30).map("".join), max_size=6)


def counted(texts, pattern):
    """The oracle: cut each text by the pattern's expression, count what comes out."""
    expression = compile_pattern(PATTERNS.get(pattern, pattern))
    return Counter(piece.encode() for text in texts for piece in split(expression, text))


def mapping_of(counter):
    """What a `PieceCounter` holds; every pre-token once."""
    text, lengths, counts = counter.pieces()
    ends = [0, *np.cumsum(lengths).tolist()]
    assert ends[-1] == len(text)
    data = text.tobytes()
    pieces = [data[start:end] for start, end in pairwise(ends)]
    assert len(set(pieces)) == len(pieces) == len(counter)
    return dict(zip(pieces, counts.tolist(), strict=True))


def hostile_text(random_, pieces):
    return "".join(random_.choices(HOSTILE, k=pieces))


@pytest.fixture
def choose(monkeypatch):
    """Say which engine counts from now on."""

    def choose(engine):
        monkeypatch.setattr(pretoken_counts, "pays", lambda size, kernel: engine == "compiled")

    return choose


def counts_of(texts, pattern, specials=()):
    counts = PretokenCounts(pattern, specials)
    for text in texts:
        counts.add(text.encode())
    return counts


class TestKernels:
    @pytest.mark.parametrize("pattern", PATTERNS)
    @settings(max_examples=150)
    @given(blocks)
    def test_hostile_texts(self, pattern, texts):
        counter = PieceCounter(pattern)
        for text in texts:
            counter.add(text.encode())
        assert mapping_of(counter) == counted(texts, pattern)

    @pytest.mark.parametrize("pattern", PATTERNS)
    def test_long_texts_in_random_blocks(self, pattern):
        """Long enough for several chunks, and for a text's end to be copied or read in place."""
        random_ = random.Random(5)
        texts = [hostile_text(random_, random_.choice([5, 60, 900, 2500])) for _ in range(25)]
        counter = PieceCounter(pattern)
        for text in texts:
            counter.add(text.encode())
        assert mapping_of(counter) == counted(texts, pattern)

    def test_parts_of_a_buffer(self):
        text = "naïve cats, 12 of them; " * 40
        data, random_ = text.encode(), random.Random(2)
        counter, expected = PieceCounter("cl100k"), Counter()
        for _ in range(30):
            start, end = sorted(random_.sample(range(len(data) + 1), 2))
            part = data[start:end]
            if part.decode(errors="ignore").encode() == part:
                counter.add_part(data, start, end)
                expected += counted([part.decode()], "cl100k")
        assert mapping_of(counter) == expected

    def test_the_table_grows(self):
        slots = counter_module.FIRST_SLOTS
        words = ["".join(chr(97 + int(digit)) for digit in str(number)) for number in range(3 * slots)]
        text = " ".join(words * 2)
        counter = PieceCounter("gpt2")
        counter.add(text.encode())
        assert counter._state[layout.PIECES_LIMIT] > 2 * slots
        assert mapping_of(counter) == counted([text], "gpt2")

    def test_the_arena_grows(self):
        random_ = random.Random(7)
        words = [
            "".join(random_.choices("abc", k=random_.choice([16, 17, 200, 255, 256, 257, 5000]))) for _ in range(900)
        ]
        texts = [" ".join(words[start : start + 90]) for start in range(0, 900, 30)]
        counter = PieceCounter("gpt2")
        for text in texts:
            counter.add(text.encode())
        assert counter._state[layout.ARENA_USED] > 2 * counter_module.FIRST_ARENA
        assert mapping_of(counter) == counted(texts, "gpt2")

    @pytest.mark.parametrize("size", [100_000, counter_module.FIRST_ARENA, counter_module.FIRST_ARENA + 1, 1_000_000])
    @pytest.mark.parametrize("before", ["", "a few words ", "one that is in the arena: exactlyseventeen1 "])
    def test_one_long_pretoken(self, size, before, monkeypatch):
        """Longer than the arena, whether that is empty or not; a kernel that stays where it is would go on for ever."""
        calls = iter(range(50))
        count_text = counter_module.count_text

        def watched(*arguments):
            assert next(calls, None) is not None, "the kernel is called again and again for the same text"
            count_text(*arguments)

        monkeypatch.setattr(counter_module, "count_text", watched)
        texts = [before, "x" * size, f"{before} {'x' * size} {'é' * (size // 2)} end"]
        counter = PieceCounter("gpt2")
        for text in texts:
            counter.add(text.encode())
        assert mapping_of(counter) == counted(texts, "gpt2")

    def test_long_pretokens_that_differ_in_one_byte(self):
        words = ["x" * at + "y" + "x" * (40 - at) for at in range(41)] + ["x" * size for size in range(1, 60)]
        counter = PieceCounter("gpt2")
        counter.add("\n".join(words * 3).encode())
        expected = counted(["\n".join(words * 3)], "gpt2")
        assert mapping_of(counter) == expected
        assert expected[b"y" + b"x" * 40] == 3

    def test_nothing(self):
        counter = PieceCounter("gpt2")
        counter.add(b"")
        assert len(counter) == 0
        assert mapping_of(counter) == {}

    @given(blocks, blocks)
    @settings(max_examples=60)
    def test_counts_can_be_taken_out_and_put_in(self, first, second):
        counters = [PieceCounter("o200k"), PieceCounter("o200k")]
        for counter, texts in zip(counters, (first, second), strict=True):
            for text in texts:
                counter.add(text.encode())
        expected = [counted(first, "o200k"), counted(second, "o200k")]
        copy = PieceCounter("o200k")
        copy.add_counts(*counters[0].pieces())
        assert mapping_of(copy) == expected[0]
        copy.add_counts(*counters[1].pieces())
        assert mapping_of(copy) == expected[0] + expected[1]
        copy.add(b" one more word")  # the table goes on where the counts left it
        assert mapping_of(copy) == expected[0] + expected[1] + counted([" one more word"], "o200k")

    def test_more_counts_are_put_in_than_the_table_has_room_for(self):
        pieces = [f"{number} {'long' * (number % 9)}".encode() for number in range(2 * counter_module.FIRST_SLOTS)]
        counts = {piece: (1 << 40) + number for number, piece in enumerate(pieces)}
        counter = PieceCounter("gpt2")
        counter.add(b"some words before")
        for _ in range(2):
            counter.add_counts(
                np.frombuffer(b"".join(counts), np.uint8),
                np.array([len(piece) for piece in counts], np.int64),
                np.array(list(counts.values()), np.int64),
            )
        doubled = {piece: 2 * count for piece, count in counts.items()}
        assert mapping_of(counter) == counted(["some words before"], "gpt2") + Counter(doubled)


@pytest.mark.parametrize("engine", ENGINES)
class TestEngines:
    @pytest.mark.parametrize("pattern", PATTERNS)
    def test_both_count_what_the_pattern_cuts(self, engine, pattern, choose):
        choose(engine)
        random_ = random.Random(11)
        texts = [hostile_text(random_, random_.choice([0, 3, 50, 700])) for _ in range(20)]
        counts = counts_of(texts, pattern)
        assert (counts._kernels is not None) == (engine == "compiled")
        assert counts.mapping() == counted(texts, pattern)

    @pytest.mark.parametrize("pattern", ["digits", "cl100k"])
    def test_special_tokens_divide_the_text_and_are_not_counted(self, engine, pattern, choose):
        choose(engine)
        random_ = random.Random(4)
        plain = [hostile_text(random_, random_.choice([0, 1, 9])) for _ in range(200)]
        names = random_.choices(SPECIALS, k=199)
        for at, name in enumerate(names, 1):
            if name == "<|end|>" and plain[at].startswith("x"):
                names[at - 1] = "<|end|>x"
        texts = [plain[0] + "".join(name + part for name, part in zip(names, plain[1:], strict=True))]
        assert counts_of(texts, pattern, SPECIALS).mapping() == counted(plain, pattern)

    def test_the_longest_special_token_wins_and_half_of_one_is_text(self, engine, choose):
        choose(engine)
        counts = counts_of(["a<|end|>xb<|end|>c<|end|", "|><|a b|>d"], "gpt2", SPECIALS)
        assert counts.mapping() == counted(["a", "b", "c<|end|", "|>", "d"], "gpt2")

    def test_a_pattern_of_the_users_own(self, engine, choose):
        """The kernels do not know it, whatever pays."""
        choose(engine)
        counts = counts_of(["abcde fgh", "<|end|>abc"], r"\w{1,3}", ("<|end|>",))
        assert counts.mapping() == {b"abc": 2, b"de": 1, b" ": 1, b"fgh": 1}
        assert counts.learn(1) == [(ord("b"), ord("c"))]

    def test_the_merges_are_those_of_the_definition(self, engine, choose):
        choose(engine)
        texts = ["the cat sat on the mat, the naïve cat; it's 1863. " * 3, "what the dog saw ", "aaaa aaaaa"]
        assert counts_of(texts, "gpt2").learn(60) == learn_merges_reference(counted(texts, "gpt2"), 60)

    def test_more_text_may_come_after_a_look(self, engine, choose):
        choose(engine)
        counts = counts_of(["one two"], "gpt2")
        assert counts.mapping() == {b"one": 1, b" two": 1}
        counts.add(b"one")
        assert counts.mapping() == {b"one": 2, b" two": 1}

    @pytest.mark.parametrize("others", [("python",), ("compiled",), ("python", "compiled", "python")])
    def test_counts_of_any_engines_add_up(self, engine, others, choose):
        random_ = random.Random(9)
        texts = [[hostile_text(random_, 40) for _ in range(5)] for _ in range(1 + len(others))]
        tables = []
        for one, part in zip((engine, *others), texts, strict=True):
            choose(one)
            tables.append(counts_of(part, "digits"))
        tables[0].add_up(tables[1:])
        for table, part in zip(tables[1:], texts[1:], strict=True):
            assert table.mapping() == counted(part, "digits"), "what is added stays as it was"
        everything = [text for part in texts for text in part]
        assert tables[0].mapping() == counted(everything, "digits")
        tables[0].add(b" and more")
        assert tables[0].mapping() == counted([*everything, " and more"], "digits")

    @pytest.mark.parametrize("target", ENGINES)
    def test_arrays_make_the_same_counts(self, engine, target, choose):
        texts = ["so it's 'naïve'; 你好你好你好你好 " * 3, "", "a" * 300]
        choose(engine)
        arrays = counts_of(texts, "gpt2").arrays()
        assert arrays.counts.sum() == counted(texts, "gpt2").total()
        choose(target)
        counts = counts_of(["so"], "gpt2")
        counts.add_arrays(arrays)
        assert counts.mapping() == counted([*texts, "so"], "gpt2")

    def test_no_text_at_all(self, engine, choose):
        choose(engine)
        assert counts_of([], "gpt2").learn(5) == []
        counts = counts_of([""], "gpt2")
        assert counts.mapping() == {}
        assert counts.learn(5) == []


@pytest.mark.parametrize("change", range(6))
def test_changing_over_to_the_kernels_loses_nothing(change, monkeypatch):
    """Counts from before, text that waits, and text that comes afterwards."""
    asked = []
    monkeypatch.setattr(pretoken_counts, "pays", lambda size, kernel: asked.append(size) or len(asked) > change)
    texts = [f"text {number} of several, <|end|> {'x' * number} \n" for number in range(6)]
    counts = PretokenCounts("cl100k", SPECIALS)
    for number, text in enumerate(texts):
        counts.add(text.encode())
        if number == 1:
            counts.mapping()
    assert counts._kernels is not None
    assert asked[0] == len(texts[0])
    expected = [part for text in texts for part in text.split("<|end|>")]
    assert counts.mapping() == counted(expected, "cl100k")


def test_an_unknown_pattern_is_refused():
    with pytest.raises(ConfigError, match="no pre-token pattern 'gtp2'; did you mean 'gpt2'"):
        PretokenCounts("gtp2")


def test_little_text_is_trained_on_without_the_kernels():
    """A vocabulary of 500 from 133 KB must not wait for Numba."""
    code = """
import random, sys
from groundup.tokenization.bpe_training import train_bpe
words = ["".join(random.choices("etaoins", k=random.randint(1, 9))) for _ in range(3000)]
text = " ".join(random.choices(words, k=30_000))[:133_000]
assert train_bpe([text], 500).vocab_size == 500
sys.exit("numba" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
