"""C4's rules on lines, in compiled form: which lines stay, what they say that condemns the page, how many sentences.

Source: Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer",
arXiv:1910.10683, section 2.2, and the code that its authors released. For each line (`str.splitlines`), stripped:

    a word of more than 1,000 characters       the line goes
    citations [12], [edit], [citation needed]  are cut out
    no . ? ! " ' at the end, or an ellipsis    the line goes
    fewer than 5 words                         the line goes
    "lorem ipsum"                              the page goes
    "javascript"                               the line goes
    a curly brace {                            the page goes
    "cookie policy", "terms of use" ...        the line goes

in this order, so a brace in a line that is no sentence condemns nothing. Phrases are compared in the lower case of
ASCII. In other languages than English a line may also end in any sentence terminal of Unicode or a closing quotation
mark behind one (`wide`), and where words have no spaces between them a word is taken to be two letters (`unspaced`).
"""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundup.core.errors import ConfigError
from groundup.corpus.filters.characters import (
    ALPHA,
    C4_ENDS,
    CLOSER,
    CLOSERS,
    DIGIT,
    SPACE,
    TERMINAL,
    TERMINAL_PUNCTUATION,
    UNSPACED_ENDS,
    Number,
    compiled,
    decode,
    last_character,
)
from groundup.corpus.filters.scanning import Integers, Row, Words

LETTERS_PER_WORD = 2  # of Chinese, Japanese, Thai: a coarse mean, for rules that count words

LOREM, JAVASCRIPT, POLICY_PHRASE, BRACE = 1, 2, 4, 8
DOT, ELLIPSIS, OPEN_BRACKET, CLOSE_BRACKET, OPEN_BRACE, LINE_FEED = (ord(c) for c in ".…[]{\n")
ENGLISH_ENDS = np.array([ord(c) for c in C4_ENDS])
SENTENCE_ENDS_ANYWAY = np.array(sorted(ord(c) for c in UNSPACED_ENDS))
WORDS_IN_BRACKETS = tuple(np.frombuffer(text, np.uint8) for text in (b"edit]", b"citation needed]"))
FREQUENT = "etaoinsrhldcumfpgwybvkxjqz"  # of English, most frequent first

_ENDS, _CLOSERS, _ANYWAY = (
    "[" + re.escape("".join(sorted(characters))) + "]"
    for characters in (TERMINAL_PUNCTUATION | {"…"}, CLOSERS, UNSPACED_ENDS)
)
_SENTENCE_END = re.compile(rf"{_ENDS}*{_ANYWAY}{_ENDS}*{_CLOSERS}*|{_ENDS}+{_CLOSERS}*(?=\s|\Z)")


def split_sentences(text: str) -> list[str]:
    """The reference of the sentence count: a sentence ends behind terminals, and closing marks, before white space.

    Ideographic full stops end one whatever follows. "Mr. Smith" is two: there is no list of abbreviations.
    """
    ends = [0, *(found.end() for found in _SENTENCE_END.finditer(text)), len(text)]
    pieces = (text[start:end].strip() for start, end in pairwise(ends))
    return [piece for piece in pieces if piece]


class Phrases(NamedTuple):
    """What lines are searched for: at each byte the phrases whose rarest letter (the anchor) it is."""

    text: NDArray[np.uint8]
    offsets: Integers
    kinds: Integers
    anchors: Integers
    """place of the anchor in the phrase"""
    first: Integers
    """of each byte, the first phrase with this anchor, or -1"""
    following: Integers
    """of each phrase, the next one with the same anchor, or -1"""
    marks: NDArray[np.bool_]
    """the bytes that are not passed over: anchors, braces, ends of sentences, and the first of longer characters"""


class LineRules(NamedTuple):
    """`C4Config`'s line rules, for compiled code; -1 switches a number off."""

    terminal: bool
    min_words: int
    max_word_length: int
    citations: bool
    javascript: bool
    policy: bool


def make_phrases(policy: Sequence[str]) -> Phrases:
    """The tables for lorem ipsum, javascript and the policy phrases."""
    found = [
        ("lorem ipsum", LOREM),
        ("javascript", JAVASCRIPT),
        *((phrase.lower(), POLICY_PHRASE) for phrase in policy),
    ]
    first, following = np.full(256, -1, np.int64), np.full(len(found), -1, np.int64)
    anchors = np.zeros(len(found), np.int64)
    for number, (phrase, _) in enumerate(found):
        rarity, place = max((_rarity(character), place) for place, character in enumerate(phrase or " "))
        if rarity < 0:
            raise ConfigError(f"c4.policy_phrases: {phrase!r} has no letter; a phrase must have one.")
        anchors[number] = len(phrase[:place].encode())
        letter = phrase[place].encode()[0]
        following[number] = first[letter]
        first[letter] = first[ord(phrase[place].upper()) if letter < 128 else letter] = number
    texts = [phrase.encode() for phrase, _ in found]
    offsets = np.cumsum([0, *map(len, texts)])
    kinds = np.array([kind for _, kind in found])
    marks = first >= 0
    marks[[ord(end) for end in (*C4_ENDS[:3], "{")]] = marks[0xC0:] = True
    return Phrases(np.frombuffer(b"".join(texts), np.uint8), offsets, kinds, anchors, first, following, marks)


def _rarity(character: str) -> int:
    """Higher is rarer; punctuation, which the search for sentences may step over, is below 0."""
    return FREQUENT.find(character) if character.isascii() else 50 * character.isalpha() - 1


@compiled
def judge_lines(
    data: NDArray[np.uint8],
    classes: NDArray[np.uint8],
    words: Words,
    breaks: Integers,
    count: int,
    rules: LineRules,
    phrases: Phrases,
    wide: bool,
    unspaced: bool,
    edited: NDArray[np.uint8],
    size: Number,
    row: Row,
) -> Number:
    """Apply the rules to each line; lines that stay are written to `edited` from `size` on. Returns its new size."""
    begin = size
    first_word = 0
    for line in range(count):
        last_word = breaks[line]
        number = last_word - first_word
        start = words.start[first_word] if number else 0
        end = words.end[last_word - 1] if number else 0
        limit = -1 if unspaced else rules.max_word_length
        too_long = limit >= 0 and _longest(words, first_word, last_word) > limit
        first_word = last_word
        if too_long:
            row.c4_long_word_lines += 1
            continue
        # A line with a bracket is copied without its citations to the end of what is kept; others stay where they are.
        target = size + (size > begin)
        source, stop = data, end
        if rules.citations and _has(data, start, end, OPEN_BRACKET):
            source, stop = edited, _copy(data, classes, start, end, edited, target)
            start = target
        if rules.terminal and not _ends_well(source, classes, start, stop, wide):
            row.c4_unpunctuated_lines += 1
            continue
        number = _letters(source, classes, start, stop) // LETTERS_PER_WORD if unspaced else number
        if number < rules.min_words:
            row.c4_short_lines += 1
            continue
        found, sentences = _read(source, classes, start, stop, phrases)
        row.c4_lorem_lines += found & LOREM != 0
        if rules.javascript and found & JAVASCRIPT:
            row.c4_javascript_lines += 1
            continue
        row.c4_brace_lines += found & BRACE != 0
        if rules.policy and found & POLICY_PHRASE:
            row.c4_policy_lines += 1
            continue
        row.c4_kept_lines += 1
        row.c4_sentences += sentences
        if size > begin:
            edited[size] = LINE_FEED
        size = target + stop - start
        edited[target:size] = source[start:stop]
    return size


@compiled
def _longest(words: Words, first: int, last: int) -> Number:
    """The characters of the longest of some words."""
    longest = 0
    for word in range(first, last):
        longest = max(longest, words.characters_before[word + 1] - words.characters_before[word])
    return longest


@compiled
def _has(line: NDArray[np.uint8], start: int, end: int, wanted: int) -> bool:
    for place in range(start, end):
        if line[place] == wanted:
            return True
    return False


@compiled
def _copy(
    data: NDArray[np.uint8],
    classes: NDArray[np.uint8],
    start: int,
    end: int,
    edited: NDArray[np.uint8],
    target: int,
) -> int:
    """Copy a line without its citations; returns the end of the copy."""
    place = start
    while place < end:
        byte = data[place]
        if byte == OPEN_BRACKET:
            after = _citation(data, classes, place, end)
            if after > place:
                place = after
                continue
        edited[target] = byte
        target += 1
        place += 1
    return target


@compiled
def _citation(data: NDArray[np.uint8], classes: NDArray[np.uint8], start: int, end: int) -> int:
    """The place behind a citation that starts here, or `start`."""
    place = start + 1
    while place < end:
        code, after = decode(data, place)
        if code == CLOSE_BRACKET:
            return after
        if not classes[code] & DIGIT:
            break
        place = after
    for number in range(2):
        text = WORDS_IN_BRACKETS[0] if number == 0 else WORDS_IN_BRACKETS[1]
        if start + 1 + len(text) <= end and np.all(data[start + 1 : start + 1 + len(text)] == text):
            return start + 1 + len(text)
    return start


@compiled
def _ends_well(line: NDArray[np.uint8], classes: NDArray[np.uint8], start: int, end: int, wide: bool) -> bool:
    """Whether a line ends as a sentence does; three dots do not."""
    if end == start:
        return False
    if end - start >= 3 and line[end - 1] == DOT and line[end - 2] == DOT and line[end - 3] == DOT:
        return False
    last = last_character(line, start, end)
    for known in ENGLISH_ENDS:
        if last == known:
            return True
    while wide and classes[last] & CLOSER and end > start:
        end -= 1
        while line[end] & 0xC0 == 0x80:
            end -= 1
        last = last_character(line, start, end) if end > start else 0
    return wide and classes[last] & TERMINAL != 0


@compiled
def _letters(line: NDArray[np.uint8], classes: NDArray[np.uint8], start: int, end: int) -> int:
    letters, place = 0, start
    while place < end:
        code, place = decode(line, place)
        letters += classes[code] & ALPHA != 0
    return letters


@compiled
def _read(
    line: NDArray[np.uint8], classes: NDArray[np.uint8], start: int, end: int, phrases: Phrases
) -> tuple[int, int]:
    """(what is found in a line, how many sentences it has)."""
    found = sentences = 0
    place = behind = start  # `behind` the last sentence
    while place < end:
        byte = line[place]
        place += 1
        if not phrases.marks[byte]:
            continue
        if phrases.first[byte] >= 0:
            found |= _phrases_at(line, start, end, place - 1, phrases)
        found |= BRACE if byte == OPEN_BRACE else 0
        code, place = decode(line, place - 1)
        if classes[code] & TERMINAL or code == ELLIPSIS:
            anyway, place = _behind_terminals(line, classes, code, place, end)
            if anyway or place == end or classes[decode(line, place)[0]] & SPACE:
                sentences += 1
                behind = place
    while behind < end:
        code, behind = decode(line, behind)
        if not classes[code] & SPACE:
            return found, sentences + 1
    return found, sentences


@compiled
def _behind_terminals(
    line: NDArray[np.uint8], classes: NDArray[np.uint8], code: int, place: int, end: int
) -> tuple[bool, int]:
    """Whether a terminal of a run ends a sentence whatever follows; the place behind the run and its closers."""
    anyway = False
    while True:
        for known in SENTENCE_ENDS_ANYWAY:
            anyway |= code == known
        if place == end:
            return anyway, place
        code, after = decode(line, place)
        if not (classes[code] & TERMINAL or code == ELLIPSIS):
            break
        place = after
    while place < end:
        code, after = decode(line, place)
        if not classes[code] & CLOSER:
            break
        place = after
    return anyway, place


@compiled
def _phrases_at(line: NDArray[np.uint8], start: int, end: int, place: int, phrases: Phrases) -> Number:
    """The kinds of the phrases whose anchor is at a place, letters compared in lower case."""
    kinds = 0
    number = phrases.first[line[place]]
    while number >= 0:
        begin = place - phrases.anchors[number]
        offset = phrases.offsets[number]
        size = phrases.offsets[number + 1] - offset
        if begin >= start and begin + size <= end:
            equal = True
            for i in range(size):
                byte = line[begin + i]
                equal &= (byte + 32 if 0x41 <= byte <= 0x5A else byte) == phrases.text[offset + i]
            kinds |= phrases.kinds[number] if equal else 0
        number = phrases.following[number]
    return kinds
