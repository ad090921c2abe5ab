"""Gopher's table A1: how much of a text is lines, paragraphs and n-grams of words that it has already said.

    duplicate lines, paragraphs     elements that occurred before, and their characters (arXiv:2112.11446, table A1)
    top n-gram, n = 2, 3, 4         count x length of the most frequent one; of equals, the one that comes first
    duplicate n-grams, n = 5 ... 10 characters of those that occurred before, no character counted twice

The shares are of all characters of the text. As in datatrove, whose decisions these reproduce: an n-gram of the second
kind has single spaces between its words, one of the third kind none; where a duplicate is found, the search goes on
behind it, and the n-grams inside it are not remembered; the most frequent n-gram counts even if it occurs once.

Sets and counts are one open-addressing table of hashes, no larger than the document needs, so that it stays in the
cache. An n-gram is looked up only where the (n - 1)-grams that it begins and ends with occur again, a duplicate only
where its first 16 bytes do, which in running text is seldom.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundup.corpus.filters.characters import Number, compiled
from groundup.corpus.filters.scanning import (
    LOW_BITS,
    LOW_MASK,
    MULTIPLIER,
    ONE,
    Hashes,
    Lines,
    Powers,
    Row,
    Words,
    stretch,
)

PREFIX = 16  # bytes
NGRAM_MULTIPLIER = np.uint64(0xD6E8FEB86659FD93)  # not the one inside words: "ab c" and "a bc" must differ
TOP = (2, 3, 4)
DUPLICATE = (5, 6, 7, 8, 9, 10)


class Table(NamedTuple):
    """Hashes seen, with a count each; 0 is an empty slot."""

    keys: Hashes
    counts: NDArray[np.int32]
    slots: NDArray[np.int32]
    """of each n-gram of the document"""
    ngrams: Hashes
    """of each place in the document, the hash of the n-gram that starts there"""
    often: NDArray[np.bool_]
    """of each place, whether what starts there occurs again"""


def make_table(entries: int) -> Table:
    """Room for this many different hashes at a load of at most one half."""
    size = 1 << max(2 * entries, 16).bit_length()
    return Table(
        np.empty(size, np.uint64),
        np.empty(size, np.int32),
        np.empty(entries + 1, np.int32),
        np.empty(entries + 1, np.uint64),
        np.empty(entries + 1, np.bool_),
    )


@compiled
def repeat_lines(lines: Lines, count: int, short: int, powers: Powers, table: Table, row: Row) -> None:
    """Gopher's lines are split at runs of line feeds; FineWeb's are those that are not blank."""
    mask = _open(table, count)
    full = duplicates = characters = full_characters = parts = 0
    punctuated = short_lines = 0
    for line in range(count):
        size = lines.end[line] - lines.start[line]
        if size == 0:
            continue
        parts += 1
        blank = lines.words[line] == 0
        full += not blank
        punctuated += lines.terminal[line] and not blank
        length = lines.end_character[line] - lines.start_character[line]
        short_lines += length <= short and not blank
        if _count(table, mask, stretch(lines.start_hash[line], lines.end_hash[line], size, powers)) > 1:
            duplicates += 1
            characters += length
            full_characters += 0 if blank else length
    # An empty part before the first line feed and one behind the last; the second repeats the first.
    before = count > 1 and lines.end[0] == lines.start[0]
    behind = count > 1 and lines.end[count - 1] == lines.start[count - 1]
    row.line_parts = parts + before + behind
    row.duplicate_lines = duplicates + (before and behind)
    row.duplicate_line_characters = characters
    row.full_lines, row.punctuated_lines, row.short_lines = full, punctuated, short_lines
    row.duplicate_full_line_characters = full_characters


@compiled
def repeat_paragraphs(lines: Lines, count: int, words: Words, powers: Powers, table: Table, row: Row) -> None:
    """Duplicate paragraphs: parts of the stripped text between two or more line feeds."""
    row.paragraphs, row.duplicate_paragraphs, row.duplicate_paragraph_characters = 1, 0, 0
    first, last = 0, count - 1
    while first < count and lines.words[first] == 0:
        first += 1
    while last > first and lines.words[last] == 0:
        last -= 1
    if first >= last:
        return
    mask = _open(table, count)
    paragraphs = duplicates = characters = 0
    line = first
    while line <= last:
        begin = line
        while line < last and lines.end[line + 1] > lines.start[line + 1]:
            line += 1
        from_hash, start, from_character = lines.start_hash[begin], lines.start[begin], lines.start_character[begin]
        to_hash, end, to_character = lines.end_hash[line], lines.end[line], lines.end_character[line]
        if begin == first:
            from_hash, start, from_character = words.edge_hash[0], words.start[0], words.edge_character[0]
        if line == last:
            to_hash, end, to_character = words.edge_hash[1], words.end[row.words - 1], words.edge_character[1]
        paragraphs += 1
        if _count(table, mask, stretch(from_hash, to_hash, end - start, powers)) > 1:
            duplicates += 1
            characters += to_character - from_character
        line += 1
        while line < last and lines.end[line] == lines.start[line]:
            line += 1
    row.paragraphs, row.duplicate_paragraphs, row.duplicate_paragraph_characters = paragraphs, duplicates, characters


@compiled
def repeat_ngrams(words: Words, powers: Powers, table: Table, row: Row) -> None:
    """The most frequent 2-, 3- and 4-gram, and all duplicate 5- to 10-grams."""
    count = row.words
    table.ngrams[:count] = words.hash[:count]
    table.often[:count] = True
    row.top_2gram_characters = _top(words, count, 2, table)
    row.top_3gram_characters = _top(words, count, 3, table)
    row.top_4gram_characters = _top(words, count, 4, table)
    _mark_beginnings(words, count, table)
    row.duplicate_5gram_characters = _duplicate(words, count, 5, powers, table)
    row.duplicate_6gram_characters = _duplicate(words, count, 6, powers, table)
    row.duplicate_7gram_characters = _duplicate(words, count, 7, powers, table)
    row.duplicate_8gram_characters = _duplicate(words, count, 8, powers, table)
    row.duplicate_9gram_characters = _duplicate(words, count, 9, powers, table)
    row.duplicate_10gram_characters = _duplicate(words, count, 10, powers, table)


@compiled
def _top(words: Words, count: int, n: int, table: Table) -> int:
    """`table.ngrams` and `often` are those of the (n - 1)-grams, and then of the n-grams."""
    if count < n:
        return 0
    mask = _open(table, count)
    ngrams, slots, often, counts = table.ngrams, table.slots, table.often, table.counts
    most, last = 1, count - n + 1
    for place in range(last):
        ngrams[place] = ngrams[place] * NGRAM_MULTIPLIER + words.hash[place + n - 1]
        often[place] &= often[place + 1]
        if often[place]:
            slot = _find(table, mask, ngrams[place])
            slots[place] = slot
            counts[slot] += 1
            most = max(most, counts[slot])
    winner = 0
    for place in range(last - 1, -1, -1):
        if often[place]:
            occurs = counts[slots[place]]
            winner = place if occurs == most and most > 1 else winner
            often[place] = occurs > 1
    return most * (words.characters_before[winner + n] - words.characters_before[winner] + n - 1)


@compiled
def _mark_beginnings(words: Words, count: int, table: Table) -> None:
    """`often[i]`: the first `PREFIX` bytes of the words from i on, joined, begin at another word too.

    Other n-grams of so many bytes cannot be duplicates, and need no look-up for any n.
    """
    mask = _open(table, count)
    text, total = words.text, words.bytes_before[count]
    for place in range(count):
        start = words.bytes_before[place]
        table.often[place] = start + PREFIX > total
        if start + PREFIX <= total:
            word, shift = start >> 3, np.uint64(8 * (start & 7))
            back = np.uint64(63) - shift
            first = text[word] >> shift | text[word + 1] << back << ONE
            second = text[word + 1] >> shift | text[word + 2] << back << ONE
            slot = _find(table, mask, first * MULTIPLIER ^ (second ^ first >> np.uint64(32)) * NGRAM_MULTIPLIER)
            table.slots[place] = slot
            table.counts[slot] += 1
    for place in range(count):
        table.often[place] = table.often[place] or table.counts[table.slots[place]] > 1


@compiled
def _duplicate(words: Words, count: int, n: int, powers: Powers, table: Table) -> int:
    mask = _open(table, count)
    bytes_before, often = words.bytes_before, table.often
    characters = place = 0
    while place <= count - n:
        size = bytes_before[place + n] - bytes_before[place]
        if size >= PREFIX and not often[place]:
            place += 1
            continue
        shifted = words.joined[place] * powers.low[size & LOW_MASK] * powers.high[size >> LOW_BITS]
        if _count(table, mask, words.joined[place + n] - shifted) > 1:
            characters += words.characters_before[place + n] - words.characters_before[place]
            place += n
        else:
            place += 1
    return characters


@compiled
def _open(table: Table, entries: int) -> np.uint64:
    """Make the table empty; returns the mask of its slots, as few as hold the entries at half load."""
    size = 16
    while size < 2 * entries:
        size *= 2
    table.keys[:size] = 0
    return np.uint64(size - 1)


@compiled
def _count(table: Table, mask: np.uint64, key: np.uint64) -> Number:
    """How often the key has come, with this time."""
    slot = _find(table, mask, key)
    table.counts[slot] += 1
    return table.counts[slot]


@compiled
def _find(table: Table, mask: np.uint64, key: np.uint64) -> np.uint64:
    """The slot of a key; a new one starts with a count of 0."""
    key = (key ^ (key >> np.uint64(29))) * NGRAM_MULTIPLIER | ONE  # spread, and never 0
    slot = key >> np.uint64(32) & mask
    while True:
        found = table.keys[slot]
        if found == key:
            return slot
        if found == 0:
            table.keys[slot], table.counts[slot] = key, 0
            return slot
        slot = slot + ONE & mask
