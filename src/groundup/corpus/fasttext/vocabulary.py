"""The distinct tokens of a collection of texts, counted and numbered in one pass over the bytes.

The reference is `reference.tokens_of` and a `Counter` (tests/corpus/test_fasttext_training.py).
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from groundup.corpus.fasttext.features import ABSENT, hash_bytes, is_end, is_label, next_token, slot_of

FIRST_SLOTS = 1 << 16


class Tokens(NamedTuple):
    """Texts as numbers: text t is ids[starts[t]:starts[t + 1]]; distinct token i is data[begin[i]:end[i]].

    Token 0 is `</s>`, which ends every text; `hashes` are the tokens' FNV-1a as signed numbers.
    """

    ids: np.ndarray
    starts: np.ndarray
    begin: np.ndarray
    end: np.ndarray
    hashes: np.ndarray
    counts: np.ndarray


def read_tokens(data: np.ndarray, starts: np.ndarray) -> Tokens:
    """The tokens of the texts data[starts[t]:starts[t + 1]]; the last of them must be `</s>` itself and is no text.

    Tokens that look like a label are left out, and so is what follows a `</s>` within a text.
    """
    return Tokens(*_read_tokens(data, starts))


@njit(cache=True, nogil=True)
def _count_tokens(data: np.ndarray, starts: np.ndarray) -> int:
    count = 0
    for text in range(len(starts) - 1):
        start, place = next_token(data, starts[text], starts[text + 1])
        while start < place:
            count += 1
            start, place = next_token(data, place, starts[text + 1])
        count += 1
    return count


@njit(cache=True, nogil=True)
def _read_tokens(data: np.ndarray, starts: np.ndarray) -> tuple:
    texts = len(starts) - 2
    ids = np.empty(_count_tokens(data, starts), np.int32)
    text_starts = np.zeros(texts + 1, np.int64)
    begin, end = np.empty(FIRST_SLOTS, np.int64), np.empty(FIRST_SLOTS, np.int64)
    hashes, counts = np.empty(FIRST_SLOTS, np.int32), np.zeros(FIRST_SLOTS, np.int64)
    slots = np.full(2 * FIRST_SLOTS, ABSENT, np.int32)
    begin[0], end[0] = starts[texts], starts[texts + 1]
    hashes[0] = np.int32(hash_bytes(data, begin[0], end[0]))
    slots[slot_of(np.uint32(hashes[0]), data, begin[0], end[0], data, begin, end, slots)] = 0
    distinct, count = 1, 0
    for text in range(texts):
        start, place = next_token(data, starts[text], starts[text + 1])
        while start < place and not is_end(data, start, place):
            if not is_label(data, start, place):
                value = hash_bytes(data, start, place)
                slot = slot_of(value, data, start, place, data, begin, end, slots)
                token = slots[slot]
                if token == ABSENT:
                    token = distinct
                    slots[slot] = token
                    begin[token], end[token], hashes[token] = start, place, np.int32(value)
                    distinct += 1
                    if distinct == len(begin):
                        begin, end = np.append(begin, begin), np.append(end, end)
                        hashes, counts = np.append(hashes, hashes), np.append(counts, np.zeros_like(counts))
                        slots = _larger(slots, hashes, distinct)
                ids[count] = token
                counts[token] += 1
                count += 1
            start, place = next_token(data, place, starts[text + 1])
        ids[count] = 0
        counts[0] += 1
        count += 1
        text_starts[text + 1] = count
    return ids[:count], text_starts, begin[:distinct], end[:distinct], hashes[:distinct], counts[:distinct]


@njit(cache=True, nogil=True)
def _larger(slots: np.ndarray, hashes: np.ndarray, distinct: int) -> np.ndarray:
    """The hash table with twice the places; the entries are known to differ."""
    larger = np.full(2 * len(slots), ABSENT, np.int32)
    for token in range(distinct):
        slot = np.int64(np.uint32(hashes[token])) & (len(larger) - 1)
        while larger[slot] != ABSENT:
            slot = (slot + 1) & (len(larger) - 1)
        larger[slot] = token
    return larger
