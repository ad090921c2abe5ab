"""Bloom filters: "have I seen this hash?" in a fixed number of bits, never wrong with no, sometimes with yes.

m bits; every item sets k of them, and is taken for seen when all k are set. After n items (Bloom 1970)

    P(false positive) = (1 - e^(-k n / m))^k,   least at k* = ln 2 · m / n, where it is 2^(-k*)

so n items at a rate p need m = -n ln p / (ln 2)^2 bits: 9.6 for 1 %, 14.4 for 0.1 %. The k places of an item come from
two halves of its hash, h1 + i h2 (Kirsch and Mitzenmacher 2006). With h2 odd and m a power of two they are all
different; m is rounded up to one.

For streams in which what comes again is dropped, whatever its unit: documents, lines, paragraphs, URLs. A stream's
result depends on its order, and a false positive drops something that is no copy: where the corpus must not depend on
the number of workers, the exact stages are there (`segments.py`, `exact.py`); the filter is for what has no room there.
Filters of the same size can be joined: the union has seen what either has.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from groundup.core.errors import ConfigError, InputError
from groundup.core.files import new_file
from groundup.corpus.dedup.hashing import Hashes, compiled, mix

_6, _63 = np.uint64(6), np.uint64(63)
_ONE = np.uint64(1)


@dataclass
class BloomFilter:
    """State: the bits, in words of 64; `hashes` is k."""

    words: Hashes
    hashes: int

    @classmethod
    def for_items(cls, items: int, false_positives: float) -> Self:
        """Large enough for so many different items at this rate of false positives."""
        if items < 1:
            raise ConfigError(f"A Bloom filter for {items} items makes no sense; say how many there will be.")
        if not 0 < false_positives < 1:
            raise ConfigError(f"The rate of false positives is {false_positives}; it must be between 0 and 1.")
        least = -items * math.log(false_positives) / math.log(2) ** 2
        bits = 1 << max(6, math.ceil(math.log2(least)))
        return cls(np.zeros(bits // 64, np.uint64), max(1, round(math.log(2) * bits / items)))

    @property
    def bits(self) -> int:
        return 64 * len(self.words)

    @property
    def fill(self) -> float:
        """The share of bits that are set; about a half, or less, at the number of items that it was made for."""
        return int(np.bitwise_count(self.words).sum()) / self.bits

    def expected_false_positives(self, items: int) -> float:
        """The rate after so many different items."""
        return (1 - math.exp(-self.hashes * items / self.bits)) ** self.hashes

    def add(self, hashes: Hashes) -> NDArray[np.bool_]:
        """Put hashes in, one after another; says of each whether it seemed to be there already."""
        return _add(self.words, hashes, self.hashes)

    def contains(self, hashes: Hashes) -> NDArray[np.bool_]:
        """Says of each whether it seems to be there."""
        return _contains(self.words, hashes, self.hashes)

    def join(self, other: Self) -> None:
        """Take over what another filter of the same size has seen."""
        if (self.bits, self.hashes) != (other.bits, other.hashes):
            raise InputError(
                f"A Bloom filter of {self.bits} bits and {self.hashes} hashes cannot be joined with one of "
                f"{other.bits} and {other.hashes}; make both for the same number of items."
            )
        self.words |= other.words

    def save(self, path: Path) -> None:
        """Write the filter to a file."""
        with new_file(path) as file:
            np.save(file, np.append(self.words, np.uint64(self.hashes)))

    @classmethod
    def load(cls, path: Path) -> Self:
        """The filter of a file."""
        try:
            values = np.load(path)
        except (OSError, ValueError) as error:
            raise InputError(f"{path} holds no Bloom filter ({error}).") from error
        words = len(values) - 1 if values.ndim == 1 and values.dtype == np.uint64 else 0
        if words < 1 or words & (words - 1):
            raise InputError(f"{path} holds no Bloom filter, but {values.dtype} of the shape {values.shape}.")
        return cls(values[:-1].copy(), int(values[-1]))


@compiled
def _add(words: Hashes, hashes: Hashes, k: int) -> NDArray[np.bool_]:
    seen = np.empty(len(hashes), np.bool_)
    mask = np.uint64(64 * len(words) - 1)
    for i in range(len(hashes)):
        place, step, there = hashes[i], mix(hashes[i]) | _ONE, True
        for _ in range(k):
            at, bit = (place & mask) >> _6, _ONE << (place & _63)
            there &= words[at] & bit != 0
            words[at] |= bit
            place += step
        seen[i] = there
    return seen


@compiled
def _contains(words: Hashes, hashes: Hashes, k: int) -> NDArray[np.bool_]:
    seen = np.empty(len(hashes), np.bool_)
    mask = np.uint64(64 * len(words) - 1)
    for i in range(len(hashes)):
        place, step, there = hashes[i], mix(hashes[i]) | _ONE, True
        for _ in range(k):
            there &= words[(place & mask) >> _6] & (_ONE << (place & _63)) != 0
            place += step
        seen[i] = there
    return seen
