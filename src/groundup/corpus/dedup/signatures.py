"""MinHash signatures of texts: one pass over the bytes makes words, n-grams, the signature and the key of exact copies.

With A and B the sets of word n-grams of two texts, J = |A & B| / |A | B|. A signature has k values, each of which is
equal in both with probability J (Broder 1997, "On the resemblance and containment of documents"), so the share of equal
values estimates J. k separate hash functions cost k operations per n-gram; we sketch as in "Fast Similarity Sketching"
(Dahlgaard et al., arXiv:1704.04370):

    round 0      every n-gram falls into one of k bins by the high bits of its hash; a bin keeps the smallest low bits
    round r < k  the same with hash r, for the bins that are still empty; ends when none is
    the end      a bin that is empty yet takes the smallest of all n-grams by a hash of its own

An earlier round wins over a later one in both texts, so the value of a bin belongs to the same n-gram in A, in B and in
A | B exactly when that n-gram is in both: P(equal) = J, for texts of every length. A text of more than about k ln k
n-grams needs one round. Bins draw without replacement, hence the variance is below J (1 - J) / k. Measured at k = 112
against k hash functions (vectorised) and one permutation with densification (Shrivastava 2017), one core, 5 kB texts:
52,000, 39,000 and 51,000 texts per second; RMSE of J at 30, 120 and 1,000 words .023/.029/.036, .033/.038/.038 and
.038/.035/.036. Hence this one.

A value has 32 bits: bins of different n-grams agree by accident with probability 2^-32.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundup.corpus.dedup.config import DeduplicationConfig
from groundup.corpus.dedup.hashing import (
    MULTIPLIER,
    SEED,
    Bytes,
    Hashes,
    Places,
    absorb,
    compiled,
    hash_bytes,
    mix,
    pack,
)
from groundup.corpus.dedup.normalisation import CharacterTable, character_table, scan_words
from groundup.corpus.dedup.words import combine_ngrams, longest

EMPTY = np.uint32(0xFFFFFFFF)
_32 = np.uint64(32)


class Sketches(NamedTuple):
    """Of N texts: `signatures` (N, k), all ones for a text without n-grams; `words` (N); `keys` (N, 2) of exact copies.

    Texts whose words are the same have the same key of 128 bits; a text without words has that of its bytes.
    """

    signatures: NDArray[np.uint32]
    words: Places
    keys: Hashes


def signatures(texts: Sequence[str], config: DeduplicationConfig) -> NDArray[np.uint32]:
    """The signatures of the texts, as rows of `config.bands * config.rows` values."""
    return sketch(texts, config).signatures


def sketch(texts: Sequence[str], config: DeduplicationConfig) -> Sketches:
    """Signatures, numbers of words and keys of the texts."""
    data, starts = pack(texts)
    return Sketches(*_sketch(data, starts, character_table(), config.ngram, config.bands * config.rows))


@compiled
def _sketch(
    data: Bytes, starts: Places, table: CharacterTable, n: int, k: int
) -> tuple[NDArray[np.uint32], Places, Hashes]:
    number = len(starts) - 1
    words, ngrams = np.empty(longest(starts), np.uint64), np.empty(longest(starts), np.uint64)
    found, counts, keys = np.empty((number, k), np.uint32), np.empty(number, np.int64), np.empty((number, 2), np.uint64)
    for i in range(number):
        counts[i] = scan_words(data, starts[i], starts[i + 1], table, words)
        keys[i] = document_key(words, counts[i])
        if not counts[i]:
            keys[i, 0] = hash_bytes(data, starts[i], starts[i + 1])
        minhash(ngrams, combine_ngrams(words, counts[i], n, ngrams), found[i])
    return found, counts, keys


@compiled
def document_key(words: Hashes, count: int) -> tuple[np.uint64, np.uint64]:
    """Two hashes of a sequence of words, by different arithmetic; (_, 0) where there are none."""
    one, other = SEED, np.uint64(0)
    for i in range(count):
        one = absorb(one, words[i])
        other = (other + words[i]) * MULTIPLIER
    return mix(one), mix(other + np.uint64(count)) if count else np.uint64(0)


@compiled
def minhash(ngrams: Hashes, number: int, signature: NDArray[np.uint32]) -> None:
    """Fill one signature from ngrams[:number], repeats allowed; see above."""
    k = len(signature)
    signature[:] = EMPTY
    if number == 0:
        return
    for i in range(number):
        place = ((ngrams[i] >> _32) * np.uint64(k)) >> _32
        signature[place] = min(signature[place], np.uint32(ngrams[i]))
    open_bins = signature == EMPTY
    turn = np.uint64(0)
    while turn < k and open_bins.any():
        turn += np.uint64(1)
        for i in range(number):
            value = mix(ngrams[i] + turn * MULTIPLIER)
            place = ((value >> _32) * np.uint64(k)) >> _32
            if open_bins[place]:
                signature[place] = min(signature[place], np.uint32(value))
        open_bins = signature == EMPTY
    for place in np.flatnonzero(open_bins):
        for i in range(number):
            value = mix(ngrams[i] + np.uint64(k + 1 + place) * MULTIPLIER)
            signature[place] = min(signature[place], np.uint32(value))


def reference_minhash(ngrams: set[int], k: int) -> list[int]:
    """`minhash` in plain Python: of each bin the smallest (round, value), without its round."""
    best = [(2 * k + 2, int(EMPTY))] * k if ngrams else [(0, int(EMPTY))] * k
    for turn in range(2 * k + 1):
        for ngram in ngrams:
            value = ngram if turn == 0 else int(mix(np.uint64((ngram + turn * int(MULTIPLIER)) % 2**64)))
            place = turn - k - 1 if turn > k else (value >> 32) * k >> 32
            if value % 2**32 == EMPTY:  # the mark of an empty bin is no value
                continue
            best[place] = min(best[place], (turn, value % 2**32))
    return [value for _, value in best]
