"""Word n-grams as 64-bit hashes: what near-duplicate detection and decontamination both compare.

With w_1, w_2, ... the hashes of a text's words (`normalisation.py`) the hash of an n-gram is

    mix(w_1 M^(n-1) + w_2 M^(n-2) + ... + w_n)        (mod 2^64, M odd)

Two different n-grams collide with probability about 2^-64, so sets of hashes stand for sets of n-grams. A text of fewer
than n words has no n-gram.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from groundup.corpus.dedup.hashing import MULTIPLIER, Bytes, Hashes, Places, compiled, mix, pack
from groundup.corpus.dedup.normalisation import CharacterTable, character_table, scan_words


def word_ngrams(text: str, n: int) -> Hashes:
    """The hashes of all n-grams of words, in order, repeats included; empty for a text of fewer than n words."""
    return ngrams_of_texts([text], n)[0]


def ngrams_of_texts(texts: Sequence[str], n: int) -> tuple[Hashes, Places]:
    """The n-grams of all texts in one array, and where those of each text begin (one more entry: the end)."""
    data, starts = pack(texts)
    return _ngrams_of_texts(data, starts, character_table(), n)


def ngram_sets(texts: Sequence[str], n: int) -> list[Hashes]:
    """The different n-grams of each text, sorted."""
    hashes, starts = ngrams_of_texts(texts, n)
    return [np.unique(hashes[start:end]) for start, end in pairwise(starts)]


@compiled
def combine_ngrams(words: Hashes, count: int, n: int, ngrams: Hashes) -> int:
    """Write the n-grams of words[:count] into `ngrams`; returns their number. Both loops run on whole registers."""
    number = max(count - n + 1, 0)
    for i in range(number):
        ngrams[i] = words[i]
    for offset in range(1, n):
        for i in range(number):
            ngrams[i] = ngrams[i] * MULTIPLIER + words[i + offset]
    for i in range(number):
        ngrams[i] = mix(ngrams[i])
    return number


@compiled
def longest(starts: Places) -> int:
    """The size of the largest text of a pack, plus one: enough for a hash per word."""
    most = 0
    for i in range(len(starts) - 1):
        most = max(most, starts[i + 1] - starts[i])
    return most + 1


@compiled
def _ngrams_of_texts(data: Bytes, starts: Places, table: CharacterTable, n: int) -> tuple[Hashes, Places]:
    words = np.empty(longest(starts), np.uint64)
    found, ends = np.empty(len(data) // 2 + len(starts), np.uint64), np.zeros(len(starts), np.int64)
    for i in range(len(starts) - 1):
        count = scan_words(data, starts[i], starts[i + 1], table, words)
        ends[i + 1] = ends[i] + combine_ngrams(words, count, n, found[ends[i] :])
    return found[: ends[-1]].copy(), ends
