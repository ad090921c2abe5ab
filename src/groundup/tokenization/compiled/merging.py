"""Byte-pair merges of one pre-token: `bpe.merge` on raw memory.

A pre-token of up to `SCANNED` bytes has a symbol and a key for each byte, and one mask of the symbols that are still
there. The key is | rank of the pair that begins here | here |, so the least key names the pair to join, the leftmost of
equals; 16 keys are compared at once. Joining writes the new symbol over the left one and clears the bit of the right
one; the neighbours are the next set bits. The least of the keys that stay is sought before the two new ones are looked
up, so that the processor does both at once. Longer pre-tokens, where all keys would be quadratic, use a heap.
"""

import numpy as np
import numpy.typing as npt

from groundup.tokenization.compiled.layout import (
    BITMAP,
    BITMAP_BITS,
    BYTE_PAIRS,
    GOLDEN,
    IDS,
    NO_RANK,
    PAIRS,
    PAIRS_SHIFT,
    RANK_BITS,
    ROOT,
    SYMBOLS,
    TOKEN_BITS,
    compiled,
    field,
)
from groundup.tokenization.compiled.machine import (
    highest_bit,
    least32,
    load8,
    load32,
    load64,
    lowest_bit,
    shift_right,
    store8,
    store32,
    store64,
)

SCANNED = 64
LANES = 16  # keys that are compared at once
PLACE_BITS = 6
NEVER = 0xFFFFFFFF


def pair_tables(merges: int) -> dict[int, npt.NDArray[np.generic]]:
    """Empty tables with room for so many merges."""
    bits = max(10, (merges * 5 // 4).bit_length())  # the denser, the more of it stays in the caches
    return {
        BYTE_PAIRS: np.full(1 << 16, NO_RANK, np.uint32),
        BITMAP: np.zeros((1 << BITMAP_BITS) // 8, np.uint8),
        PAIRS: np.zeros(1 << bits, np.int64),
    }


@compiled
def merge_piece(state: int, text: int, size: int, out: int) -> int:
    """Write the ids of a pre-token of `size` bytes to `out` (uint32); returns how many."""
    if size > SCANNED:
        return _merge_long(state, text, size, out)
    symbols = field(state, SYMBOLS)
    keys = symbols + 4 * SCANNED
    _start(state, text, size, symbols, keys)
    alive = (1 << (size - 1) << 1) - 1
    best = _least_key(keys, size)
    while best < NO_RANK << PLACE_BITS:
        rank, at = best >> PLACE_BITS, best & (SCANNED - 1)
        behind = alive & -(2 << at)
        second = lowest_bit(behind)
        behind &= behind - 1
        alive &= ~(1 << second)
        before = alive & ((1 << at) - 1)
        previous = highest_bit(before | 1)
        store32(symbols + 4 * at, rank)
        store32(keys + 4 * previous, NEVER)
        store32(keys + 4 * at, NEVER)
        store32(keys + 4 * second, NEVER)
        best = _least_key(keys, size)
        if before != 0:
            key = pair_rank(state, load32(symbols + 4 * previous), rank) << PLACE_BITS | previous
            store32(keys + 4 * previous, key)
            best = min(best, key)
        if behind != 0:
            key = pair_rank(state, rank, load32(symbols + 4 * lowest_bit(behind))) << PLACE_BITS | at
            store32(keys + 4 * at, key)
            best = min(best, key)
    ids, count = field(state, IDS), 0
    while alive != 0:
        store32(out + 4 * count, load32(ids + 4 * load32(symbols + 4 * lowest_bit(alive))))
        alive &= alive - 1
        count += 1
    return count


@compiled
def _least_key(keys: int, size: int) -> int:
    """The least of the first `size` keys."""
    best = least32(keys)
    for block in range(LANES, size, LANES):
        best = min(best, least32(keys + 4 * block))
    return best


@compiled
def _start(state: int, text: int, size: int, symbols: int, keys: int) -> None:
    """The symbols are the bytes; the keys are those of neighbouring bytes, and NEVER behind them."""
    byte_pairs = field(state, BYTE_PAIRS)
    left = load8(text)
    store32(symbols, left)
    for at in range(1, size):
        right = load8(text + at)
        store32(symbols + 4 * at, right)
        store32(keys + 4 * (at - 1), load32(byte_pairs + 4 * (left << 8 | right)) << PLACE_BITS | at - 1)
        left = right
    for at in range(size - 1, (size + LANES - 1) // LANES * LANES):
        store32(keys + 4 * at, NEVER)


@compiled
def pair_rank(state: int, left: int, right: int) -> int:
    """The rank of the token that two neighbours make; NO_RANK where they do not merge."""
    if left | right < 256:
        return load32(field(state, BYTE_PAIRS) + 4 * (left << 8 | right))
    pair = left << TOKEN_BITS | right
    hashed = pair * GOLDEN ^ right * ROOT
    bit = shift_right(hashed, 64 - BITMAP_BITS)
    if load8(field(state, BITMAP) + (bit >> 3)) >> (bit & 7) & 1 == 0:
        return NO_RANK
    pairs, shift = field(state, PAIRS), field(state, PAIRS_SHIFT)
    slot = shift_right(hashed, shift)
    last = shift_right(-1, shift)
    while True:
        word = load64(pairs + 8 * slot)
        if word == 0:
            return NO_RANK
        if shift_right(word, RANK_BITS) == pair:
            return word & NO_RANK
        slot = slot + 1 & last


@compiled
def add_pair(state: int, left: int, right: int, rank: int) -> None:
    """Enter a merge into the tables."""
    if left | right < 256:
        store32(field(state, BYTE_PAIRS) + 4 * (left << 8 | right), rank)
        return
    pair = left << TOKEN_BITS | right
    hashed = pair * GOLDEN ^ right * ROOT
    bit = shift_right(hashed, 64 - BITMAP_BITS)
    byte = field(state, BITMAP) + (bit >> 3)
    store8(byte, load8(byte) | 1 << (bit & 7))
    pairs, shift = field(state, PAIRS), field(state, PAIRS_SHIFT)
    slot = shift_right(hashed, shift)
    last = shift_right(-1, shift)
    while load64(pairs + 8 * slot) != 0:
        slot = slot + 1 & last
    store64(pairs + 8 * slot, pair << RANK_BITS | rank)


@compiled
def add_merges(state: int, merges: "np.ndarray") -> None:
    """Enter all merges, int32 [M, 2], in the order of learning."""
    for i in range(len(merges)):
        add_pair(state, merges[i, 0], merges[i, 1], 256 + i)


@compiled
def _merge_long(state: int, text: int, size: int, out: int) -> int:
    """As `bpe.merge`: links between the symbols, a heap of rank and place, entries that are out of date passed over."""
    symbols = np.empty(size, np.int32)
    before, after = np.empty(size, np.int32), np.empty(size, np.int32)
    heap = np.empty(3 * size, np.int64)
    for at in range(size):
        symbols[at], before[at], after[at] = load8(text + at), at - 1, at + 1
    queued = 0
    for at in range(size - 1):
        queued = _push(heap, queued, pair_rank(state, symbols[at], symbols[at + 1]), at)
    while queued > 0:
        best = heap[0]
        queued -= 1
        _sink(heap, queued, heap[queued])
        rank, at = best >> 32, best & 0xFFFFFFFF
        second = after[at]
        if symbols[at] < 0 or second == size or pair_rank(state, symbols[at], symbols[second]) != rank:
            continue
        symbols[at], symbols[second] = rank, -1
        following = after[second]
        after[at] = following
        if before[at] >= 0:
            queued = _push(heap, queued, pair_rank(state, symbols[before[at]], rank), before[at])
        if following < size:
            before[following] = at
            queued = _push(heap, queued, pair_rank(state, rank, symbols[following]), at)
    ids = field(state, IDS)
    count, at = 0, 0
    while at < size:
        store32(out + 4 * count, load32(ids + 4 * symbols[at]))
        count += 1
        at = after[at]
    return count


@compiled
def _push(heap: "np.ndarray", queued: int, rank: int, at: int) -> int:
    if rank == NO_RANK:
        return queued
    entry, hole = rank << 32 | at, queued
    while hole > 0 and heap[hole - 1 >> 1] > entry:
        heap[hole] = heap[hole - 1 >> 1]
        hole = hole - 1 >> 1
    heap[hole] = entry
    return queued + 1


@compiled
def _sink(heap: "np.ndarray", queued: int, entry: int) -> None:
    """Put an entry at the top of the first `queued` and let it down to its place."""
    hole = 0
    while 2 * hole + 1 < queued:
        child = 2 * hole + 1
        if child + 1 < queued and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= entry:
            break
        heap[hole] = heap[child]
        hole = child
    heap[hole] = entry
