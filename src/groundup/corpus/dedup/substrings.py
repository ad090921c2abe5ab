"""Repeated substrings: every stretch of at least N bytes, or tokens, that stands twice in a collection.

As in "Deduplicating Training Data Makes Language Models Better" (Lee et al. 2022, arXiv:2107.06499, section 4.1:
N = 50 tokens). In the suffix array of all texts, one after another with an end between them that nothing shares, the
suffixes that begin with the same N values are neighbours, and every longest common prefix between them is at least N.
So a place begins a repeat when the prefix it shares with a neighbour has N values, and what is repeated is the union of
the stretches of N values from such places.

    keep="one"    the occurrence that comes first stays, all others are cut
    keep="none"   all are cut

The array takes 4 bytes per byte of text, and making it about 20 times the text in memory: shards of some hundred
megabytes at a time, as in the paper; whole copies are cheaper to drop first. Cuts never split a character: a character
of which some bytes are outside of a repeat stays.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from groundup.core.errors import ConfigError
from groundup.corpus.dedup.hashing import Places, compiled, pack
from groundup.corpus.dedup.segments import Cut
from groundup.corpus.dedup.suffix_array import Integers, common_prefixes, suffix_array

MOST_VALUES = 2**31 - 2


def remove_substrings(texts: Sequence[str], length: int, keep: Literal["one", "none"] = "one") -> Cut:
    """The texts without what repeats in at least `length` bytes; the number of stretches and bytes cut of each."""
    data, starts = pack(texts)
    values, places = joined([data[a:b] for a, b in pairwise(starts)])
    repeated = repeated_values(values, length, keep)
    masks = [repeated[place : place + size] for place, size in zip(places, np.diff(starts), strict=True)]
    inside = np.concatenate([np.zeros(0, np.bool_), *masks])
    _spare_characters(data, inside)
    kept, stretches = [], np.zeros(len(texts), np.int64)
    for i, (a, b) in enumerate(pairwise(starts)):
        kept.append(data[a:b][~inside[a:b]].tobytes().decode(errors="surrogatepass"))
        stretches[i] = int((np.diff(np.append(False, inside[a:b]).astype(np.int8)) == 1).sum())
    removed = np.array([int(inside[a:b].sum()) for a, b in pairwise(starts)], np.int64)
    return Cut(kept, stretches, removed)


def joined(sequences: Sequence[NDArray[np.integer]]) -> tuple[Integers, Places]:
    """Sequences of bytes or tokens in one array, an end (-1) behind each, and where each begins."""
    sizes = np.array([len(sequence) + 1 for sequence in sequences], np.int64)
    if (total := int(sizes.sum())) > MOST_VALUES:
        raise ConfigError(
            f"{total} values are too many for one suffix array ({MOST_VALUES} at most); give fewer texts."
        )
    end = np.array([-1], np.int32)
    parts = [np.zeros(0, np.int32)]
    for sequence in sequences:
        parts += [sequence.astype(np.int32), end]
    return np.concatenate(parts), np.concatenate([[0], np.cumsum(sizes)])[:-1]


def repeated_values(values: Integers, length: int, keep: Literal["one", "none"] = "one") -> NDArray[np.bool_]:
    """Which values of an array of `joined` stand in a repeat that is cut."""
    if length < 1:
        raise ConfigError(f"The length of a repeated substring is {length}; it must be at least 1.")
    order = suffix_array(values + np.int32(1))
    return _covered(order, common_prefixes(values, order), length, keep == "one")


@compiled
def _covered(order: Integers, shared: Integers, length: int, keep_first: bool) -> NDArray[np.bool_]:
    starts, covered = np.zeros(len(order), np.bool_), np.zeros(len(order), np.bool_)
    k = 0
    while k < len(order):
        end, first = k + 1, order[k]
        while end < len(order) and shared[end] >= length:
            first = min(first, order[end])
            end += 1
        if end - k > 1:
            for i in range(k, end):
                starts[order[i]] = not keep_first or order[i] != first
        k = end
    left = 0
    for i in range(len(order)):
        left = length if starts[i] else max(left - 1, 0)
        covered[i] = left > 0
    return covered


@compiled
def _spare_characters(data: NDArray[np.uint8], inside: NDArray[np.bool_]) -> None:
    """Take the characters out of the mask of which not all bytes are in it."""
    i = 0
    while i < len(data):
        end, whole = i + 1, inside[i]
        while end < len(data) and data[end] & 0xC0 == 0x80:
            whole &= inside[end]
            end += 1
        inside[i:end] = whole
        i = end
