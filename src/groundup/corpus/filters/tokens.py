"""Words and punctuation of lower-cased texts as hashes: what word lists and bags of n-grams look up.

A token is a run of letters, decimal digits and underscores, or a run of other characters without white space, as NLTK's
WordPunct tokenizer has them. Its hash is that of its bytes (`scanning`: H <- H M + b + 1), with every bit spread.
"""

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from groundup.corpus.filters.characters import ALPHA, DIGIT, SPACE, classes, compiled, decode, pack
from groundup.corpus.filters.scanning import MULTIPLIER, ONE, Hashes, Integers, hash_bytes

MIX_1, MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
UNDERSCORE = ord("_")

_PIECE = re.compile(r"\S+")


def token_hashes(texts: Sequence[str]) -> tuple[Hashes, Integers]:
    """The hashes of all tokens, text by text, and where each text's begin (and the last one's end)."""
    data, offsets = pack([text.lower().encode("utf-8", "surrogatepass") for text in texts])
    hashes, counts = np.empty(len(data), np.uint64), np.zeros(len(texts) + 1, np.int64)
    _hash(data, offsets, classes(), hashes, counts)
    return hashes[: counts[-1]].copy(), counts


def tokens(text: str) -> list[str]:
    """The tokens themselves; `token_hash` of each is what `token_hashes` gives."""
    return [token for piece in _PIECE.findall(text.lower()) for token in _split(piece)]


def token_hash(token: str) -> int:
    """The hash of one token in plain Python."""
    value = hash_bytes(token.encode("utf-8", "surrogatepass"))
    value = (value ^ value >> 30) * int(MIX_1) % 2**64
    value = (value ^ value >> 27) * int(MIX_2) % 2**64
    return value ^ value >> 31


def is_word(character: str) -> bool:
    """Whether a character makes up words."""
    return character.isalpha() or character.isdecimal() or character == "_"


def _split(piece: str) -> list[str]:
    words = [is_word(character) for character in piece]
    cuts = [0, *(i for i in range(1, len(piece)) if words[i] != words[i - 1]), len(piece)]
    return [piece[start:end] for start, end in pairwise(cuts)]


@compiled
def spread(value: np.uint64) -> np.uint64:
    """The finaliser of splitmix64 (Steele, Lea and Flood 2014)."""
    value = (value ^ (value >> np.uint64(30))) * MIX_1
    value = (value ^ (value >> np.uint64(27))) * MIX_2
    return value ^ (value >> np.uint64(31))


@compiled
def _hash(
    data: NDArray[np.uint8], offsets: Integers, classes: NDArray[np.uint8], hashes: Hashes, counts: Integers
) -> None:
    count = 0
    for document in range(len(offsets) - 1):
        place, end = offsets[document], offsets[document + 1]
        running = np.uint64(0)
        before = 0  # 0: white space, 1: word, 2: other
        while place < end:
            code, after = decode(data, place)
            bits = classes[code]
            kind = 0 if bits & SPACE else 1 if bits & (ALPHA | DIGIT) or code == UNDERSCORE else 2
            if kind != before and before:
                hashes[count] = spread(running)
                count += 1
            if kind != before:
                running = np.uint64(0)
                before = kind
            if kind:
                for byte in data[place:after]:
                    running = running * MULTIPLIER + np.uint64(byte) + ONE
            place = after
        if before:
            hashes[count] = spread(running)
            count += 1
        counts[document + 1] = count
