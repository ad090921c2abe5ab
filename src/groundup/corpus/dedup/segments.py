"""Lines, paragraphs and spans of sentences that occur again: menus, notices and quotations inside different documents.

    line        between line breaks, without the white space at its ends
    paragraph   lines without a blank one between them, likewise
    sentences   every span of three sentences in a row, by their words alone (C4, arXiv:1910.10683, section 2.2)

A text is cut into pieces (lines, paragraphs, sentences); an item, what is compared, is a piece or a span of pieces. Of
items that are equal either one stays (`keep="one"`) or none (`keep="none"`, the form of Stanford's CS336: every copy of
a line that occurs more than once in the collection goes). The one that stays is in the document with the smallest
priority, a seeded hash of its id, and there the first; so the order of documents and files does not matter. What is cut
are pieces: a piece goes when an item that it belongs to goes. Blank lines are layout and stay, unless `blank=True`
makes them lines like any other, which is how CS336 counts.

Items are compared by 64 bits: of n different ones about n^2 / 2^65 pairs are taken for equal, 270 among 10^11 items.
Over many files the hashes go through the shuffle of `corpus/crawl`, as those of documents do; here they are in memory,
16 bytes for an item.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundup.corpus.dedup.config import SegmentConfig
from groundup.corpus.dedup.hashing import Bytes, Hashes, Places, compiled, hash_bytes, pack
from groundup.corpus.dedup.normalisation import CharacterTable, character_table, scan_words
from groundup.corpus.dedup.signatures import document_key

NEWLINE, SPACE = 10, 32


class Pieces(NamedTuple):
    """The pieces of many texts, one after another: the bytes [starts, ends), and the first piece of each text.

    `hashes` are those of the pieces, or for sentences of the spans that begin with them; `valid` says which are there:
    a blank line has none, nor have the last two sentences of a text.
    """

    starts: Places
    ends: Places
    first: Places
    hashes: Hashes
    valid: NDArray[np.bool_]


class Cut(NamedTuple):
    """The texts without what was repeated, and of each how many pieces and bytes went."""

    texts: list[str]
    pieces: Places
    bytes: Places

    def changes(self, before: Sequence[str]) -> Iterator[tuple[int, str, Counter[str]]]:
        """Of each text that lost something: its place, what is left of it without white space at its ends, and how many
        pieces and bytes that took; a text of which nothing is left counts none, as it goes whole."""
        for place in np.flatnonzero(self.pieces).tolist():
            left = self.texts[place].strip()
            size = len(before[place].encode()) - len(left.encode())
            yield place, left, Counter(pieces=int(self.pieces[place]), bytes=size) if left else Counter()


def remove_repeated(texts: Sequence[str], config: SegmentConfig, priorities: Sequence[int] | None = None) -> Cut:
    """Cut what is repeated out of all texts; `priorities` decide which copy stays (default: the order)."""
    pieces = pieces_of(texts, config)
    document = np.repeat(np.arange(len(texts)), np.diff(pieces.first))
    order = np.asarray(range(len(texts)) if priorities is None else priorities, np.uint64)[document]
    repeated = np.zeros(len(pieces.hashes), np.bool_)
    places = np.flatnonzero(pieces.valid)
    repeated[places] = repeats(pieces.hashes[places], order[places], config.keep)
    return cut(texts, pieces, repeated, config)


def pieces_of(texts: Sequence[str], config: SegmentConfig) -> Pieces:
    """The pieces of the texts and the hashes of what is compared."""
    data, starts = pack(texts)
    if config.unit == "sentences":
        return _spans(data, starts, config.span)
    places, first = _lines(data, starts)
    ends = _ends(places, data)
    hashes, valid = _line_hashes(data, places, ends)
    if config.unit == "paragraph":
        begins = valid & ~np.append(True, valid[:-1])  # behind a blank line
        begins[first[:-1][np.diff(first) > 0]] = True
        places, first = places[begins], np.concatenate([[0], np.cumsum(begins)])[first]
        ends = _ends(places, data)
        hashes, valid = _line_hashes(data, places, ends)
    return Pieces(places, ends, first, hashes, valid | config.blank)


def _spans(data: Bytes, starts: Places, span: int) -> Pieces:
    """Sentences, and the hashes of the spans that begin with them. One without words belongs to that before it."""
    places, first = _sentences(data, starts)
    hashes, words = _sentence_hashes(data, places, _ends(places, data), character_table())
    begins = words > 0
    begins[first[:-1][np.diff(first) > 0]] = True
    first = np.concatenate([[0], np.cumsum(begins)])[first]
    places, hashes, words = places[begins], hashes[begins], words[begins]
    room = np.repeat(first[1:], np.diff(first)) - np.arange(len(places))
    valid = (room >= span) & (words > 0)
    return Pieces(places, _ends(places, data), first, _combined(hashes, span), valid)


def _ends(places: Places, data: Bytes) -> Places:
    """Where the pieces end that begin at `places`: they cover the data."""
    return np.append(places, len(data))[1:] if len(places) else places


def repeats(hashes: Hashes, priorities: Hashes, keep: Literal["one", "none"]) -> NDArray[np.bool_]:
    """Which go: of equal hashes all but the one with the smallest priority (then the first), or all of them."""
    order = np.lexsort((priorities, hashes))  # stable, so that equal priorities stay in order
    new = np.ones(len(hashes) + 1, np.bool_)
    new[1:-1] = hashes[order][1:] != hashes[order][:-1]
    alone = new[:-1] & new[1:]
    found = np.zeros(len(hashes), np.bool_)
    found[order] = ~alone if keep == "none" else ~new[:-1]
    return found


def cut(texts: Sequence[str], pieces: Pieces, repeated: NDArray[np.bool_], config: SegmentConfig) -> Cut:
    """The texts without the pieces of the repeated items."""
    gone = repeated.copy()
    if config.unit == "sentences":
        for offset in range(1, config.span):  # an item that is there never reaches into the next text
            gone[offset:] |= repeated[:-offset]
    data, starts = pack(texts)
    kept, text_starts = _without(data, starts, pieces, gone)
    raw = kept.tobytes()
    bounds = text_starts.tolist()
    results = [raw[a:b].decode(errors="surrogatepass") for a, b in pairwise(bounds)]
    counts = np.concatenate([[0], np.cumsum(gone)])
    return Cut(results, counts[pieces.first[1:]] - counts[pieces.first[:-1]], np.diff(starts) - np.diff(text_starts))


@compiled
def _lines(data: Bytes, starts: Places) -> tuple[Places, Places]:
    """Where each line begins, and the first line of each text; a line break belongs to the line before it."""
    places, first, number = np.empty(len(data), np.int64), np.zeros(len(starts), np.int64), 0
    for text in range(len(starts) - 1):
        begin = True
        for i in range(starts[text], starts[text + 1]):
            if begin:
                places[number] = i
                number += 1
            begin = data[i] == NEWLINE
        first[text + 1] = number
    return places[:number].copy(), first


@compiled
def _sentences(data: Bytes, starts: Places) -> tuple[Places, Places]:
    """The same of sentences: they end behind `.`, `!`, `?` or `…`, closing marks and white space; behind a run of the
    wide marks of Chinese and Japanese; and at the end of a line. The white space belongs to the sentence before it."""
    places, first, number = np.empty(len(data), np.int64), np.zeros(len(starts), np.int64), 0
    for text in range(len(starts) - 1):
        i, begin, end = starts[text], starts[text], starts[text + 1]
        while i < end:
            ends = False
            if _is_space(data[i]):
                ends = _stops_before(data, begin, i)
            elif _is_wide_stop(data, i, end):
                ends = True
                while _is_wide_stop(data, i, end):
                    i += 3
            else:
                i += 1
                continue
            while i < end and _is_space(data[i]):
                ends |= data[i] == NEWLINE
                i += 1
            if ends:
                places[number] = begin
                begin, number = i, number + 1
        if begin < end:
            places[number] = begin
            number += 1
        first[text + 1] = number
    return places[:number].copy(), first


@compiled
def _stops_before(data: Bytes, begin: int, i: int) -> bool:
    """Whether data[begin:i] ends in a mark that ends a sentence, closing marks behind it left aside."""
    while i > begin:
        last = data[i - 1]
        if last == 0x22 or last == 0x27 or last == 0x29 or last == 0x5D:
            i -= 1
        elif i - 3 >= begin and data[i - 3] == 0xE2 and data[i - 2] == 0x80 and (last == 0x9D or last == 0x99):
            i -= 3
        else:
            ellipsis = i - 3 >= begin and data[i - 3] == 0xE2 and data[i - 2] == 0x80 and last == 0xA6
            return bool(last == 0x2E or last == 0x21 or last == 0x3F or ellipsis)
    return False


@compiled
def _is_wide_stop(data: Bytes, i: int, end: int) -> bool:
    """Whether a wide full stop, exclamation mark or question mark stands at data[i]."""
    if i + 3 > end or data[i] < 0xE3:
        return False
    if data[i] == 0xE3:
        return data[i + 1] == 0x80 and data[i + 2] == 0x82
    return data[i] == 0xEF and data[i + 1] == 0xBC and (data[i + 2] == 0x81 or data[i + 2] == 0x9F)


@compiled
def _is_space(byte: np.uint8) -> bool:
    return bool(byte == SPACE or 9 <= byte <= 13)


@compiled
def _line_hashes(data: Bytes, starts: Places, ends: Places) -> tuple[Hashes, NDArray[np.bool_]]:
    """The hash of each piece without the white space at its ends, and whether anything is left of it."""
    hashes, valid = np.empty(len(starts), np.uint64), np.empty(len(starts), np.bool_)
    for i in range(len(starts)):
        start, end = starts[i], ends[i]
        while end > start and _is_space(data[end - 1]):
            end -= 1
        while start < end and _is_space(data[start]):
            start += 1
        hashes[i], valid[i] = hash_bytes(data, start, end), end > start
    return hashes, valid


@compiled
def _sentence_hashes(data: Bytes, starts: Places, ends: Places, table: CharacterTable) -> tuple[Hashes, Places]:
    """The hash of the words of each piece, and their number."""
    hashes, counts, longest = np.empty(len(starts), np.uint64), np.empty(len(starts), np.int64), 0
    for i in range(len(starts)):
        longest = max(longest, ends[i] - starts[i])
    words = np.empty(longest + 1, np.uint64)
    for i in range(len(starts)):
        counts[i] = scan_words(data, starts[i], ends[i], table, words)
        hashes[i] = document_key(words, counts[i])[0]
    return hashes, counts


@compiled
def _combined(hashes: Hashes, span: int) -> Hashes:
    """The hash of each span of hashes; those that reach beyond the end are 0."""
    found = np.zeros(len(hashes), np.uint64)
    for i in range(len(hashes) - span + 1):
        found[i] = document_key(hashes[i : i + span], span)[0]
    return found


@compiled
def _without(data: Bytes, starts: Places, pieces: Pieces, gone: NDArray[np.bool_]) -> tuple[Bytes, Places]:
    """The bytes that stay, and where each text begins among them."""
    kept, kept_starts, size = np.empty(len(data), np.uint8), np.zeros(len(starts), np.int64), 0
    for text in range(len(starts) - 1):
        for piece in range(pieces.first[text], pieces.first[text + 1]):
            if not gone[piece]:
                length = pieces.ends[piece] - pieces.starts[piece]
                kept[size : size + length] = data[pieces.starts[piece] : pieces.ends[piece]]
                size += length
        kept_starts[text + 1] = size
    return kept[:size].copy(), kept_starts
