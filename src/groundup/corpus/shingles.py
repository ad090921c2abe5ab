"""Word n-grams as 64-bit hashes: what near-duplicate detection and decontamination both compare.

Text is first brought to a form in which copies agree: Unicode NFD, accents stripped, lower case, punctuation to spaces,
white space collapsed. A word is hashed with XXH3; the hash of the n-gram w_1..w_n is the polynomial

    h = (...((w_1) M + w_2) M + ... ) M + w_n   (mod 2^64, M odd),

finished with the splitmix64 mixer so that every bit of the result depends on every word. Two different n-grams
collide with probability about 2^-64, so sets of hashes stand for sets of n-grams.
"""

import re
import unicodedata

import numpy as np
import xxhash
from numpy.typing import NDArray

MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)

_PUNCTUATION = re.compile(r"[^\w\s]|_")


def normalise(text: str) -> str:
    """The form in which two copies of a text are equal: `"Café,  BAR"` and `"cafe bar"` are."""
    if not text.isascii():
        text = "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))
    return " ".join(_PUNCTUATION.sub(" ", text.lower()).split())


def word_ngrams(text: str, n: int) -> NDArray[np.uint64]:
    """The hashes of all n-grams of words, in order, repeats included; empty for a text of fewer than n words."""
    words = normalise(text).split()
    if len(words) < n:
        return np.zeros(0, np.uint64)
    hashes = np.fromiter((xxhash.xxh3_64_intdigest(word.encode()) for word in words), np.uint64, len(words))
    count = len(words) - n + 1
    combined = np.zeros(count, np.uint64)
    for offset in range(n):
        combined = combined * MULTIPLIER + hashes[offset : offset + count]
    return mix(combined)


def mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64 (Steele, Lea and Flood 2014): a bijection that spreads every bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
