import random
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup.core.errors import ConfigError
from groundup.corpus.dedup.config import SegmentConfig
from groundup.corpus.dedup.normalisation import normalise
from groundup.corpus.dedup.segments import pieces_of, remove_repeated, repeats

lines = st.lists(st.sampled_from(["menu", "home", " menu ", "", "  ", "one two", "é"]), max_size=8).map("\n".join)
collections = st.lists(lines, max_size=6)
sentences = st.text(st.sampled_from("ab.!?…。！”\")' \n"), max_size=40)
BLANK = SegmentConfig(keep="none", blank=True)
SENTENCE = re.compile(r"(?s).*?(?:[.!?…][\"')\]”’]*\s+|\s*\n\s*|[。！？]+\s*|\Z)", re.ASCII)


def texts_of(texts, config):
    pieces = pieces_of(texts, config)
    data = "".join(texts).encode()
    bounds = list(zip(pieces.starts.tolist(), pieces.ends.tolist(), strict=True))
    return [[data[a:b].decode() for a, b in bounds[pieces.first[i] : pieces.first[i + 1]]] for i in range(len(texts))]


@given(collections)
def test_every_copy_of_a_repeated_line_goes(texts):
    # CS336's form in a few lines: count all lines, keep those that occur once
    counts = Counter(line.strip() for text in texts for line in text.splitlines())
    expected = ["".join(line for line in text.splitlines(keepends=True) if counts[line.strip()] == 1) for text in texts]
    assert remove_repeated(texts, BLANK).texts == expected


@given(collections)
def test_one_copy_of_each_line_stays(texts):
    seen, expected = set(), []
    for text in texts:
        kept = []
        for line in text.splitlines(keepends=True):
            if not line.strip() or line.strip() not in seen:
                kept.append(line)
            seen.add(line.strip())
        expected.append("".join(kept))
    found = remove_repeated(texts, SegmentConfig())
    assert found.texts == expected
    assert found.bytes.tolist() == [len(a.encode()) - len(b.encode()) for a, b in zip(texts, expected, strict=True)]


@given(collections)
def test_paragraphs_are_lines_without_a_blank_one_between(texts):
    config = SegmentConfig(unit="paragraph")
    found = texts_of(texts, config)
    assert ["".join(pieces) for pieces in found] == texts
    for text, pieces in zip(texts, found, strict=True):
        expected = [part.strip() for part in re.split(r"\n[ \t]*(?:\n[ \t]*)+", f"\n\n{text}\n\n") if part.strip()]
        ours = [part.strip() for part in pieces if part.strip()]
        assert [re.sub(r"\s", "", part) for part in ours] == [re.sub(r"\s", "", part) for part in expected]


@given(sentences)
def test_sentences_are_those_of_the_pattern(text):
    config = SegmentConfig(unit="sentences", span=1)
    expected: list[str] = []
    for piece in filter(None, SENTENCE.findall(text)):
        if normalise(piece) or not expected:
            expected.append(piece)
        else:
            expected[-1] += piece
    assert texts_of([text], config) == [expected]


@given(st.lists(st.lists(st.sampled_from("abcd"), max_size=8), max_size=5))
def test_of_a_span_of_three_sentences_one_stays(documents):
    seen: set[tuple[str, ...]] = set()
    expected = []
    for words in documents:
        gone = set()
        for start in range(len(words) - 2):
            span = tuple(words[start : start + 3])
            if span in seen:
                gone |= {start, start + 1, start + 2}
            seen.add(span)
        expected.append("".join(f"{word}. " for i, word in enumerate(words) if i not in gone))
    texts = ["".join(f"{word}. " for word in words) for words in documents]
    assert remove_repeated(texts, SegmentConfig(unit="sentences")).texts == expected


def test_case_and_punctuation_do_not_hide_a_repeated_span():
    texts = ["One two. Three four! Five six? Only here.", "Before it. ONE, two! three four? Five six... Behind it."]
    found = remove_repeated(texts, SegmentConfig(unit="sentences"))
    assert found.texts == [texts[0], "Before it. Behind it."]
    assert found.pieces.tolist() == [0, 3]


@given(st.lists(st.integers(0, 5), max_size=30), st.randoms())
def test_what_goes_depends_on_priorities_and_not_on_the_order(values, generator):
    hashes = np.array(values, np.uint64)
    priorities = np.array(generator.sample(range(100), len(values)), np.uint64)
    order = np.array(generator.sample(range(len(values)), len(values)), np.int64)
    for keep in ("one", "none"):
        before = repeats(hashes, priorities, keep)
        assert (repeats(hashes[order], priorities[order], keep) == before[order]).all()
        staying = Counter(hashes[~before].tolist())
        once = [value for value, count in Counter(values).items() if keep == "one" or count == 1]
        assert staying == Counter(once)


def test_blank_lines_are_layout_unless_asked_otherwise():
    texts = ["a\n\nb\n\nc", "d\n\na"]
    assert remove_repeated(texts, SegmentConfig(keep="none")).texts == ["\nb\n\nc", "d\n\n"]
    assert remove_repeated(texts, BLANK).texts == ["b\nc", "d\n"]


def test_planted_notices_are_cut_and_nothing_else():
    generator = random.Random(5)
    own = [[f"line {generator.random()} of {i}" for _ in range(20)] for i in range(300)]
    notices = [f"© notice number {i}, all rights reserved" for i in range(10)]
    texts = ["\n".join(generator.sample([*mine, generator.choice(notices)], 21)) + "\n" for mine in own]
    found = remove_repeated(texts, SegmentConfig(keep="none"))
    assert not any("©" in text for text in found.texts)
    assert [sorted(text.splitlines()) for text in found.texts] == [sorted(mine) for mine in own]
    assert found.pieces.tolist() == [1] * 300


def test_an_impossible_span_is_refused():
    with pytest.raises(ConfigError, match="span is 0"):
        SegmentConfig(span=0)
