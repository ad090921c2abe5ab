"""The most frequent pair first: a binary heap of (count, pair) whose ties are broken by the bytes of the tokens."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from groundup.tokenization.compiled.layout import compiled
from groundup.tokenization.compiled.pair_table import COUNT, PAIR, find_pair

Int64s = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
HALF = 0xFFFFFFFF


class Tokens(NamedTuple):
    """The bytes of token t are text[sample[t] : sample[t] + length[t]]; `prefix` orders most of them at once."""

    text: Bytes
    sample: Int64s
    length: Int64s
    prefix: Int64s


@compiled
def heap_of(pairs: Int64s, used: int, tokens: Tokens) -> tuple[Int64s, int]:
    heap = np.empty((2 * used + 1024, 2), np.int64)
    queued = 0
    for slot in range(len(pairs)):
        if pairs[slot, PAIR] != 0:
            queued = push(heap, queued, pairs, pairs[slot, PAIR] - 1, tokens)
    return heap, queued


@compiled
def heap_room(heap: Int64s, needed: int) -> Int64s:
    if needed <= len(heap):
        return heap
    larger = np.empty((needed + needed // 2, 2), np.int64)
    larger[: len(heap)] = heap
    return larger


@compiled
def push(heap: Int64s, queued: int, pairs: Int64s, pair: int, tokens: Tokens) -> int:
    count = pairs[find_pair(pairs, pair), COUNT]
    if count <= 0:
        return queued
    hole = queued
    while hole > 0:
        above = (hole - 1) >> 1
        if not _is_better(count, pair, heap[above, 0], heap[above, 1], tokens):
            break
        heap[hole, 0], heap[hole, 1] = heap[above, 0], heap[above, 1]
        hole = above
    heap[hole, 0], heap[hole, 1] = count, pair
    return queued + 1


@compiled
def sink(heap: Int64s, queued: int, hole: int, count: int, pair: int, tokens: Tokens) -> None:
    """Put an entry where `hole` is and let it down to its place among the first `queued`."""
    while 2 * hole + 1 < queued:
        child = 2 * hole + 1
        if child + 1 < queued and _is_better(
            heap[child + 1, 0], heap[child + 1, 1], heap[child, 0], heap[child, 1], tokens
        ):
            child += 1
        if not _is_better(heap[child, 0], heap[child, 1], count, pair, tokens):
            break
        heap[hole, 0], heap[hole, 1] = heap[child, 0], heap[child, 1]
        hole = child
    heap[hole, 0], heap[hole, 1] = count, pair


@compiled
def _is_better(count: int, pair: int, other_count: int, other: int, tokens: Tokens) -> bool:
    """More often, or as often and greater in the order of byte strings, left token first."""
    if count != other_count:
        return count > other_count
    order = _compare(pair >> 32, other >> 32, tokens)
    return order > 0 or (order == 0 and _compare(pair & HALF, other & HALF, tokens) > 0)


@compiled
def _compare(one: int, two: int, tokens: Tokens) -> np.int64 | int:
    """The order of two tokens as byte strings: negative, 0 or positive."""
    if one == two:
        return 0
    difference = tokens.prefix[one] - tokens.prefix[two]
    if difference != 0:
        return difference
    shorter = min(tokens.length[one], tokens.length[two])
    for index in range(shorter):
        left = np.int64(tokens.text[tokens.sample[one] + index])
        right = np.int64(tokens.text[tokens.sample[two] + index])
        if left != right:
            return left - right
    return tokens.length[one] - tokens.length[two]
