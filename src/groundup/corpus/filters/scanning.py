"""One pass over the UTF-8 bytes of a document: its words, its lines, and a hash of any stretch of it.

    words    what stands between white space (`str.split`)
    lines    between line feeds, empty ones included (`str.split("\\n")`)
    breaks   where `str.splitlines` ends a line, as the number of words before it

Each byte b updates the running hash H <- H M + b + 1 (mod 2^64, M odd). A stretch of n bytes from where the hash was H0
to where it is H1 has the hash H1 - H0 M^n, which depends on its bytes alone: words, lines and paragraphs get theirs
for two look-ups and a product each. The same sum over the words alone (`joined`) hashes the concatenation of any words
that follow each other, without the white space. Two different stretches agree with a probability of about 2^-64.
"""

# Numba takes integers of any width, which pyright tells apart.
# pyright: reportArgumentType=false, reportReturnType=false

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundup.corpus.filters.characters import ALPHA, BREAK, SPACE, SYMBOL, TERMINAL, compiled, decode

MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
LOW_BITS = 12  # powers of M: M^n = low[n % 4096] high[n // 4096]
LOW_MASK = (1 << LOW_BITS) - 1
NEWLINE, RETURN, HASH, DOT, ELLIPSIS = (ord(c) for c in "\n\r#.…")
ONE = np.uint64(1)

Hashes = NDArray[np.uint64]
Integers = NDArray[np.int64]
Row = Any
"""one record of `statistics.DTYPE`"""


class Words(NamedTuple):
    """The words of one document; entry `count` of the three sums holds the totals."""

    start: Integers
    end: Integers
    flags: NDArray[np.uint8]
    """the bits of its characters, or-ed"""
    hash: Hashes
    bytes_before: Integers
    characters_before: Integers
    joined: Hashes
    """the hash of all words before it, joined"""
    text: Hashes
    """the bytes of all words, joined, eight in each number, the first lowest"""
    edge_hash: Hashes
    """the running hash where the first word starts and where the last one ends"""
    edge_character: Integers
    """and the characters before these places"""


class Lines(NamedTuple):
    """The lines of one document; hash, byte and character count at both ends, the line feed not included."""

    start_hash: Hashes
    end_hash: Hashes
    start: Integers
    end: Integers
    start_character: Integers
    end_character: Integers
    words: Integers
    """how many"""
    terminal: NDArray[np.uint8]
    """whether its very last character ends a sentence"""


class Powers(NamedTuple):
    """M^n for every n up to the length of the longest document."""

    low: Hashes
    high: Hashes


def make_powers(longest: int) -> Powers:
    """The two tables."""
    low = np.cumprod(np.concatenate(([ONE], np.full(LOW_MASK, MULTIPLIER))))
    step = low[-1:] * MULTIPLIER
    return Powers(low, np.cumprod(np.concatenate(([ONE], np.repeat(step, longest >> LOW_BITS)))))


def make_words(count: int, size: int) -> Words:
    """Room for this many words of so many bytes in all."""
    integers = [np.empty(count + 1, np.int64) for _ in range(4)]
    hashes = [np.empty(count + 1, np.uint64) for _ in range(2)]
    flags = np.empty(count + 1, np.uint8)
    text = np.zeros((size >> 3) + 3, np.uint64)
    edges = np.zeros(2, np.uint64), np.zeros(2, np.int64)
    return Words(integers[0], integers[1], flags, hashes[0], integers[2], integers[3], hashes[1], text, *edges)


def make_lines(count: int) -> Lines:
    """Room for this many lines."""
    hashes = [np.empty(count, np.uint64) for _ in range(2)]
    start, end, start_character, end_character, words = (np.empty(count, np.int64) for _ in range(5))
    terminal = np.empty(count, np.uint8)
    return Lines(hashes[0], hashes[1], start, end, start_character, end_character, words, terminal)


def hash_bytes(text: bytes) -> int:
    """The hash of a stretch, in plain Python."""
    value = 0
    for byte in text:
        value = (value * int(MULTIPLIER) + byte + 1) % 2**64
    return value


@compiled
def stretch(start_hash: np.uint64, end_hash: np.uint64, size: int, powers: Powers) -> np.uint64:
    """The hash of the `size` bytes between two values of the running hash."""
    return end_hash - start_hash * powers.low[size & LOW_MASK] * powers.high[size >> LOW_BITS]


@compiled
def rooms(data: NDArray[np.uint8], offsets: Integers) -> tuple[int, int]:
    """Upper bounds of the words and of the lines of any document: what the tables must hold."""
    most_words = most_lines = 0
    for document in range(len(offsets) - 1):
        spaces = newlines = 0
        for place in range(offsets[document], offsets[document + 1]):
            byte = data[place]
            newlines += byte == NEWLINE
            # ASCII white space, and the first bytes of the rest of it: U+0085 to U+3000
            spaces += byte <= 0x20 or byte == 0xC2 or (0xE1 <= byte <= 0xE3)
        most_words, most_lines = max(most_words, spaces + 1), max(most_lines, newlines + 1)
    return most_words, most_lines


@compiled
def scan(
    data: NDArray[np.uint8],
    start: int,
    end: int,
    classes: NDArray[np.uint8],
    powers: Powers,
    words: Words,
    lines: Lines,
    breaks: Integers,
    row: Row,
) -> tuple[int, int]:
    """Fill the tables and the counts of characters; returns how many lines and breaks there are."""
    running = line_hash = np.uint64(0)
    characters = letters = hashes = ellipses = 0
    word_count = line_count = break_count = size = 0
    kind, code = np.uint8(0), np.int64(NEWLINE)
    line_start, line_character, line_word = start, 0, 0
    words.bytes_before[0] = words.characters_before[0] = words.joined[0] = 0
    text = words.text.view(np.uint8)
    place = start
    while place <= end:  # at the end as at a line feed, which closes the last line
        before, characters_before, word_start = running, characters, place
        found = _read_word(data, place, end, classes, text, size, running, kind)
        place, after, code, kind, flags, size, running = found[:7]
        characters, letters = characters + found[7], letters + found[8]
        hashes, ellipses = hashes + found[9], ellipses + found[10]
        if place > word_start:
            if word_count == 0:
                words.edge_hash[0], words.edge_character[0] = before, characters_before
            words.edge_hash[1], words.edge_character[1] = running, characters
            own = stretch(before, running, place - word_start, powers)
            _close_word(words, word_count, word_start, place, flags, own, characters - characters_before, powers)
            word_count += 1
        previous = kind
        if place == end:
            code, after = np.int64(NEWLINE), end + 1
        kind = classes[code]
        if kind & BREAK:
            if code == NEWLINE:
                terminal = place > line_start and previous & TERMINAL != 0
                marks = line_hash, running, line_start, place, line_character, characters
                _close_line(lines, line_count, marks, word_count - line_word, terminal)
                line_count += 1
                line_start, line_character, line_word = after, characters + 1, word_count
            ends = place < end and (code != RETURN or after == end or data[after] != NEWLINE)
            if ends or (place == end and end > start and not previous & BREAK):
                breaks[break_count] = word_count
                break_count += 1
        for byte in range(place, min(after, end)):
            running = running * MULTIPLIER + np.uint64(data[byte]) + ONE
        line_hash = running if code == NEWLINE else line_hash
        characters += 1
        place = after
    row.bytes, row.characters, row.newlines = end - start, characters - 1, line_count - 1
    row.letters, row.hashes, row.ellipses = letters, hashes, ellipses
    row.words, row.lines = word_count, break_count
    return line_count, break_count


@compiled
def _read_word(
    data: NDArray[np.uint8],
    place: int,
    end: int,
    classes: NDArray[np.uint8],
    text: NDArray[np.uint8],
    size: int,
    running: np.uint64,
    kind: np.uint8,
) -> tuple[int, int, int, np.uint8, np.uint8, int, np.uint64, int, int, int, int]:
    """Read to the end of a word and copy it behind `text[:size]`. Returns where the space behind it begins and ends and
    its code, the class of the last character, all classes, the new size and hash; and how many characters, letters,
    # and ellipses there were."""
    characters = letters = hashes = ellipses = dots = 0
    code, after, flags = np.int64(NEWLINE), place, np.uint8(0)
    while place < end:
        code, after = np.int64(data[place]), place + 1
        if code >= 0x80:
            code, after = decode(data, place)
        if classes[code] & SPACE:
            break
        kind = classes[code]
        flags |= kind
        letters += (kind & ALPHA) // ALPHA
        characters += 1
        for byte in range(place, after):
            running = running * MULTIPLIER + np.uint64(data[byte]) + ONE
            text[size] = data[byte]
            size += 1
        place = after
        dots = dots + 1 if code == DOT else 0
        if kind & SYMBOL:
            hashes += code == HASH
            ellipses += code == ELLIPSIS or dots == 3
            dots = 0 if dots == 3 else dots
    return place, after, code, kind, flags, size, running, characters, letters, hashes, ellipses


@compiled
def _close_word(
    words: Words, number: int, start: int, end: int, flags: int, own: np.uint64, characters: int, powers: Powers
) -> None:
    size = end - start
    words.start[number], words.end[number], words.flags[number], words.hash[number] = start, end, flags, own
    shifted = words.joined[number] * powers.low[size & LOW_MASK] * powers.high[size >> LOW_BITS]
    words.joined[number + 1] = shifted + own
    words.bytes_before[number + 1] = words.bytes_before[number] + size
    words.characters_before[number + 1] = words.characters_before[number] + characters


@compiled
def _close_line(
    lines: Lines, number: int, marks: tuple[np.uint64, np.uint64, int, int, int, int], words: int, terminal: bool
) -> None:
    lines.start_hash[number], lines.end_hash[number] = marks[0], marks[1]
    lines.start[number], lines.end[number] = marks[2], marks[3]
    lines.start_character[number], lines.end_character[number] = marks[4], marks[5]
    lines.words[number], lines.terminal[number] = words, terminal
