"""From a text's bytes to the rows of the input matrix that its hidden vector is the mean of.

A text is cut at white space (space, \\t, \\n, \\v, \\f, \\r, NUL) and ends with the token `</s>`. Each token gives

    its own row, if it is in the dictionary;
    with `longest_subword` > 0 the rows of its subwords: the n-grams of `<token>`, n characters of UTF-8, those of one
    bracket alone left out; n-gram g is in row words + hash(g) mod buckets;
    with word n-grams the rows of the n-grams that begin with it: h ← h · 116049371 + hash(next token) modulo 2^64,
    row words + h mod buckets.

hash is FNV-1a of 32 bits (Fowler, Noll and Vo), except that bytes are taken as signed, so that one above 127 flips the
upper 24 bits too; the hashes of tokens enter the n-grams' sum as signed numbers of 32 bits as well. A pruned model has
rows for some buckets only. Tokens that are labels, or look like one, are no words. As in fastText, a token `</s>`
within the text ends it. The rows come in fastText's order: first the tokens', then the n-grams', so that float32 sums
are equal to the bit. Bags of features: Joulin et al. 2016, arXiv:1607.01759; source: dictionary.cc.

`reference.py` has the same in plain Python.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numba import njit

from groundup.core.kernel_cache import discard_stale_kernels

END, LABEL_PREFIX = b"</s>", b"__label__"
OPEN, CLOSE = ord("<"), ord(">")
FNV_OFFSET, FNV_PRIME, NGRAM_FACTOR = np.uint32(2166136261), np.uint32(16777619), np.uint64(116049371)
ABSENT = -1
_END, _LABEL_PREFIX = np.frombuffer(END, np.uint8), np.frombuffer(LABEL_PREFIX, np.uint8)


class Lookup(NamedTuple):
    """A dictionary as arrays; entry e has the bytes[starts[e]:ends[e]], words come first, then labels.

    `slots` is a hash table of a power of two of places, open addressing: an entry, or ABSENT. `bucket_rows` is empty
    unless the model is pruned; then it gives the row of each bucket behind those of the words, or ABSENT.
    """

    bytes: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    slots: np.ndarray
    num_words: int
    buckets: int
    bucket_rows: np.ndarray
    shortest: int
    longest: int
    word_ngrams: int


def make_lookup(
    words: list[bytes],
    labels: list[bytes],
    *,
    buckets: int,
    pruned: dict[int, int] | None,
    subwords: tuple[int, int],
    word_ngrams: int,
) -> Lookup:
    """The arrays of a dictionary."""
    data, starts = concatenate([*words, *labels])
    slots = np.full(1 << max(2 * (len(starts) - 1), 1).bit_length(), ABSENT, np.int32)
    starts, ends = starts[:-1], starts[1:]
    _fill_slots(data, starts, ends, slots)
    bucket_rows = np.full(0 if pruned is None else max(buckets, 1), ABSENT, np.int32)
    if pruned:
        bucket_rows[list(pruned)] = list(pruned.values())
    return Lookup(data, starts, ends, slots, len(words), buckets, bucket_rows, *subwords, word_ngrams)


def concatenate(parts: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """(all bytes after each other, the start of each and the end of the last)."""
    starts = np.zeros(len(parts) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, parts), np.int64, len(parts)), out=starts[1:])
    return np.frombuffer(b"".join(parts), np.uint8), starts


@njit(cache=True, nogil=True)
def _fill_slots(data: np.ndarray, starts: np.ndarray, ends: np.ndarray, slots: np.ndarray) -> None:
    for entry in range(len(starts)):
        value = hash_bytes(data, starts[entry], ends[entry])
        slot = slot_of(value, data, starts[entry], ends[entry], data, starts, ends, slots)
        if slots[slot] == ABSENT:  # of equal entries, which a damaged file may have, the first counts
            slots[slot] = entry


@njit(cache=True, nogil=True)
def hash_step(value: np.uint32, byte: np.uint8) -> np.uint32:
    """One step of FNV-1a with a signed byte; Numba computes in 64 bits, so the product is cut back here."""
    return np.uint32((value ^ np.uint32(np.int8(byte))) * FNV_PRIME)


@njit(cache=True, nogil=True)
def hash_bytes(data: np.ndarray, start: int, end: int) -> np.uint32:
    """FNV-1a with signed bytes."""
    value = FNV_OFFSET
    for place in range(start, end):
        value = hash_step(value, data[place])
    return value


@njit(cache=True, nogil=True)
def slot_of(
    value: np.uint32,
    data: np.ndarray,
    start: int,
    end: int,
    entry_bytes: np.ndarray,
    entry_starts: np.ndarray,
    entry_ends: np.ndarray,
    slots: np.ndarray,
) -> int:
    """Where the token data[start:end], whose hash is known, stands in the hash table, or the free place for it."""
    mask = len(slots) - 1
    slot = np.int64(value) & mask
    while True:
        entry = slots[slot]
        if entry == ABSENT:
            return int(slot)
        first = entry_starts[entry]
        if entry_ends[entry] - first == end - start:
            place = 0
            while place < end - start and entry_bytes[first + place] == data[start + place]:
                place += 1
            if place == end - start:
                return int(slot)
        slot = (slot + 1) & mask


@njit(cache=True, nogil=True)
def next_token(data: np.ndarray, place: int, end: int) -> tuple[int, int]:
    """(start, end) of the next token at or after a place; start = end where there is none."""
    while place < end and is_space(data[place]):
        place += 1
    start = place
    while place < end and not is_space(data[place]):
        place += 1
    return start, place


@njit(cache=True, nogil=True)
def is_space(byte: int) -> bool:
    """The bytes that part tokens."""
    return byte == 32 or (9 <= byte <= 13) or byte == 0


@njit(cache=True, nogil=True)
def begins_with(data: np.ndarray, start: int, end: int, prefix: np.ndarray) -> bool:
    """Whether the token data[start:end] begins with some bytes."""
    i = 0
    while i < len(prefix) and start + i < end and data[start + i] == prefix[i]:
        i += 1
    return i == len(prefix)


@njit(cache=True, nogil=True)
def is_end(data: np.ndarray, start: int, end: int) -> bool:
    """Whether the token is `</s>`."""
    return end - start == len(_END) and begins_with(data, start, end, _END)


@njit(cache=True, nogil=True)
def is_label(data: np.ndarray, start: int, end: int) -> bool:
    """Whether the token looks like a label."""
    return begins_with(data, start, end, _LABEL_PREFIX)


@njit(cache=True, nogil=True)
def row_of(bucket: np.int64, lookup: Lookup) -> int:
    """The row of a bucket, ABSENT where it was pruned."""
    if len(lookup.bucket_rows) == 0:
        return int(lookup.num_words + bucket)
    row = lookup.bucket_rows[bucket]
    return lookup.num_words + row if row != ABSENT else ABSENT


@njit(cache=True, nogil=True)
def bracketed(data: np.ndarray, start: int, end: int, out: np.ndarray) -> int:
    """Write `<token>` to `out`; returns its length."""
    length = end - start + 2
    out[0], out[length - 1] = OPEN, CLOSE
    for place in range(start, end):
        out[place - start + 1] = data[place]
    return length


@njit(cache=True, nogil=True)
def subword_rows(word: np.ndarray, length: int, place: int, lookup: Lookup, out: np.ndarray) -> tuple[int, int]:
    """Rows of the subwords of word[:length] that begin at `place` or later, as many as fit; (how many, next place)."""
    count = 0
    buckets = np.uint32(lookup.buckets)
    while place < length and count + lookup.longest <= len(out):
        if word[place] & 0xC0 != 0x80:  # a character begins here
            value, end, characters = FNV_OFFSET, place, 0
            while end < length and characters < lookup.longest:
                value = hash_step(value, word[end])
                end += 1
                while end < length and word[end] & 0xC0 == 0x80:
                    value = hash_step(value, word[end])
                    end += 1
                characters += 1
                bracket_alone = characters == 1 and (place == 0 or end == length)
                if characters >= lookup.shortest and not bracket_alone:
                    row = row_of(np.int64(value % buckets), lookup)
                    if row != ABSENT:
                        out[count] = row
                        count += 1
        place += 1
    return count, place


@njit(cache=True, nogil=True)
def ngram_rows(hashes: np.ndarray, length: int, place: int, lookup: Lookup, out: np.ndarray) -> tuple[int, int]:
    """Rows of the word n-grams of hashes[:length] from `place` on, as many as fit; (how many, next place)."""
    count = 0
    buckets = np.uint64(lookup.buckets)
    while place < length and count + lookup.word_ngrams <= len(out):
        value = np.uint64(np.int64(hashes[place]))
        for following in range(place + 1, min(length, place + lookup.word_ngrams)):
            value = value * NGRAM_FACTOR + np.uint64(np.int64(hashes[following]))
            row = row_of(np.int64(value % buckets), lookup)
            if row != ABSENT:
                out[count] = row
                count += 1
        place += 1
    return count, place


discard_stale_kernels(Path(__file__).parent, hash_step)
