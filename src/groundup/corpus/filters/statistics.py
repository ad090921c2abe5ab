"""What the heuristic rules need to know of a text, counted in one pass over its bytes: one record per document.

`measure` packs a batch of texts into one buffer, and compiled code goes through it document by document: `scanning`
finds words and lines, `repetition` what is said twice, `c4` what stays line by line. `DTYPE` names the counts, all
whole numbers; `reference.py` computes each of them in plain Python and is the oracle of the tests.

Other languages than English (`languages` gives one code for each text): the stop words are the eight most common
function words of that language; a line of C4 may end as sentences end in any script; where words have no spaces between
them (`UNSPACED`) `unspaced` is 1, and the rules take two letters for a word.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from groundup.core.errors import InputError
from groundup.corpus.filters.c4 import LineRules, Phrases, judge_lines, make_phrases
from groundup.corpus.filters.characters import ALPHA, CONTENT, classes, compiled, decode, pack
from groundup.corpus.filters.config import CountingConfig
from groundup.corpus.filters.repetition import (
    DUPLICATE,
    TOP,
    Table,
    make_table,
    repeat_lines,
    repeat_ngrams,
    repeat_paragraphs,
)
from groundup.corpus.filters.scanning import (
    Hashes,
    Integers,
    Lines,
    Powers,
    Row,
    Words,
    hash_bytes,
    make_lines,
    make_powers,
    make_words,
    rooms,
    scan,
)
from groundup.corpus.language import FUNCTION_WORDS

ENGLISH_STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
STOP_WORDS = 8
UNSPACED = frozenset({"zh", "ja", "th", "lo", "km", "my", "bo", "yue", "wuu"})
DOT, ELLIPSIS_BYTES = ord("."), (0xE2, 0x80, 0xA6)

TEXT_FIELDS = ("bytes", "characters", "letters", "unspaced", "newlines", "hashes", "ellipses")
WORD_FIELDS = ("words", "content_words", "content_characters", "alphabetic_words", "stop_words")
LINE_FIELDS = ("lines", "bullet_lines", "ellipsis_lines")  # as str.splitlines has them, blank ones included
REPETITION_FIELDS = (  # line parts are between runs of line feeds
    *("line_parts", "duplicate_lines", "duplicate_line_characters"),
    *("paragraphs", "duplicate_paragraphs", "duplicate_paragraph_characters"),
    *(f"top_{n}gram_characters" for n in TOP),
    *(f"duplicate_{n}gram_characters" for n in DUPLICATE),
)
# between line feeds and not blank
FULL_LINE_FIELDS = ("full_lines", "punctuated_lines", "short_lines", "duplicate_full_line_characters")
C4_REASONS = ("long_word", "unpunctuated", "short", "javascript", "policy", "lorem", "brace", "kept")
C4_FIELDS = (*(f"c4_{reason}_lines" for reason in C4_REASONS), "c4_sentences")
FIELDS = (*TEXT_FIELDS, *WORD_FIELDS, *LINE_FIELDS, *REPETITION_FIELDS, *FULL_LINE_FIELDS, *C4_FIELDS)
DTYPE = np.dtype([(name, np.int64) for name in FIELDS])
Statistics = NDArray[np.void]
"""records of `DTYPE`"""


def measure(
    texts: Sequence[str], languages: Sequence[str | None] | None = None, config: CountingConfig | None = None
) -> Statistics:
    """One record of counts for each text."""
    return measure_and_edit(texts, languages, config)[0]


def measure_and_edit(
    texts: Sequence[str], languages: Sequence[str | None] | None = None, config: CountingConfig | None = None
) -> tuple[Statistics, list[str]]:
    """The counts, and each text with only the lines that C4's rules leave."""
    config = config or CountingConfig()
    if languages is not None and len(languages) != len(texts):
        raise InputError(f"There are {len(languages)} languages for {len(texts)} texts; give one for each text.")
    named = [language or "en" for language in languages or ["en"] * len(texts)]
    distinct = list(dict.fromkeys(named)) or ["en"]
    data, offsets = pack([text.encode("utf-8", "surrogatepass") for text in texts])
    statistics = np.zeros(len(texts), DTYPE)
    edited = np.zeros(len(data) + len(texts), np.uint8)
    ends = np.zeros(len(texts) + 1, np.int64)
    word_room, line_room = rooms(data, offsets)
    longest = int(np.diff(offsets).max(initial=0))
    _measure(
        data,
        offsets,
        np.array([distinct.index(language) for language in named], np.int64),
        np.array([_stop_hashes(language) for language in distinct]),
        np.array([(language != "en", language in UNSPACED) for language in distinct]),
        np.array([ord(bullet) for bullet in config.bullets], np.int64),
        config.short_line_characters,
        _line_rules(config),
        make_phrases(config.c4_policy_phrases),
        classes(),
        make_powers(longest),
        make_words(word_room, longest),
        make_lines(line_room),
        np.empty(word_room + 1, np.int64),
        make_table(max(word_room, line_room)),
        edited,
        ends,
        statistics,
    )
    kept = edited.tobytes()
    pieces = (kept[start:end] for start, end in pairwise(ends))
    return statistics, [piece.decode("utf-8", "surrogatepass").strip() for piece in pieces]


@lru_cache(maxsize=256)
def _stop_hashes(language: str) -> tuple[np.uint64, ...]:
    """The hashes of a language's stop words; all 0, which is no word's, where there is no list."""
    words = stop_words(language)
    return tuple(np.uint64(hash_bytes(word.encode())) for word in words) + (np.uint64(0),) * (STOP_WORDS - len(words))


def stop_words(language: str) -> tuple[str, ...]:
    """Gopher's eight for English, the eight most common function words of another language, or none."""
    return ENGLISH_STOP_WORDS if language == "en" else tuple(FUNCTION_WORDS.get(language, [])[:STOP_WORDS])


def _line_rules(config: CountingConfig) -> LineRules:
    return LineRules(
        config.c4_end_punctuation,
        config.c4_min_words_per_line,
        config.c4_max_word_length,
        config.c4_cut_citations,
        config.c4_javascript,
        config.c4_policy,
    )


@compiled
def _measure(
    data: NDArray[np.uint8],
    offsets: Integers,
    language: Integers,
    stop_hashes: Hashes,
    script: NDArray[np.bool_],
    bullets: Integers,
    short: int,
    rules: LineRules,
    phrases: Phrases,
    classes: NDArray[np.uint8],
    powers: Powers,
    words: Words,
    lines: Lines,
    breaks: Integers,
    table: Table,
    edited: NDArray[np.uint8],
    ends: Integers,
    statistics: Statistics,
) -> None:
    for document in range(len(offsets) - 1):
        row = statistics[document]
        start, end = offsets[document], offsets[document + 1]
        line_count, break_count = scan(data, start, end, classes, powers, words, lines, breaks, row)
        own = language[document]
        row.unspaced = script[own, 1]
        _count_words(words, stop_hashes[own], row)
        _count_lines(data, words, breaks, break_count, bullets, row)
        repeat_lines(lines, line_count, short, powers, table, row)
        repeat_paragraphs(lines, line_count, words, powers, table, row)
        repeat_ngrams(words, powers, table, row)
        ends[document + 1] = judge_lines(
            data,
            classes,
            words,
            breaks,
            break_count,
            rules,
            phrases,
            script[own, 0],
            script[own, 1],
            edited,
            ends[document],
            row,
        )


@compiled
def _count_words(words: Words, stop_hashes: Hashes, row: Row) -> None:
    """Words with more than punctuation in them, with a letter; how many different stop words there are."""
    content = characters = alphabetic = seen = 0
    for word in range(row.words):
        flags = words.flags[word]
        if flags & CONTENT:
            content += 1
            characters += words.characters_before[word + 1] - words.characters_before[word]
        alphabetic += flags & ALPHA != 0
        for number in range(STOP_WORDS):
            if words.hash[word] == stop_hashes[number]:
                seen |= 1 << number
    row.content_words, row.content_characters, row.alphabetic_words = content, characters, alphabetic
    row.stop_words = 0 if stop_hashes[0] else -1
    for number in range(STOP_WORDS):
        row.stop_words += seen >> number & 1


@compiled
def _count_lines(
    data: NDArray[np.uint8], words: Words, breaks: Integers, count: int, bullets: Integers, row: Row
) -> None:
    """Lines that begin with a bullet, lines that end in an ellipsis."""
    first = bulleted = trailing = 0
    for line in range(count):
        behind = breaks[line]
        if behind > first:
            opening = decode(data, words.start[first])[0]
            for bullet in bullets:
                bulleted += opening == bullet
            trailing += _is_ellipsis(data, words.start[behind - 1], words.end[behind - 1])
        first = behind
    row.bullet_lines, row.ellipsis_lines = bulleted, trailing


@compiled
def _is_ellipsis(data: NDArray[np.uint8], start: int, end: int) -> bool:
    """Whether a word ends in three dots or in U+2026."""
    if end - start < 3:
        return False
    a, b, c = data[end - 3], data[end - 2], data[end - 1]
    return (a == DOT and b == DOT and c == DOT) or (
        a == ELLIPSIS_BYTES[0] and b == ELLIPSIS_BYTES[1] and c == ELLIPSIS_BYTES[2]
    )
