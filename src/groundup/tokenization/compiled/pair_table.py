"""All pairs of neighbouring tokens that may still be merged: a hash table with linear probing, one row per pair."""

import numpy as np
import numpy.typing as npt

from groundup.tokenization.compiled.layout import GOLDEN, compiled
from groundup.tokenization.compiled.machine import shift_right

Int64s = npt.NDArray[np.int64]

# Columns of the pair table: left << 32 | right, plus 1; how often it occurs; its first place << 32 | how many.
PAIR, COUNT, PLACES = 0, 1, 2


@compiled
def find_pair(pairs: Int64s, pair: int) -> int:
    """The slot of a pair, or the empty one where it would be."""
    last = len(pairs) - 1
    hashed = pair * GOLDEN
    slot = (hashed ^ shift_right(hashed, 29)) & last
    while pairs[slot, PAIR] != 0 and pairs[slot, PAIR] != pair + 1:
        slot = slot + 1 & last
    return slot


@compiled
def rehash(pairs: Int64s, more: int) -> tuple[Int64s, int]:
    """A table with room for `more` pairs, without those that no longer occur; returns how many are in it."""
    used = 0
    for index in range(len(pairs)):
        used += pairs[index, COUNT] > 0
    slots = len(pairs)
    while 5 * (used + more) > 3 * slots:
        slots *= 2
    fresh = np.zeros((slots, 3), np.int64)
    for index in range(len(pairs)):
        if pairs[index, COUNT] > 0:
            slot = find_pair(fresh, pairs[index, PAIR] - 1)
            for column in range(3):
                fresh[slot, column] = pairs[index, column]
    return fresh, used
