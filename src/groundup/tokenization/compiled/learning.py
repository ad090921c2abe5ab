"""Byte-pair merges learnt from counted pre-tokens: `merge_learning.learn_merges` on arrays.

All distinct pre-tokens lie end to end in `cells`, one cell per byte, with a cell between two of them that is negative
and names the pre-token before it. A token of several bytes has its number in its first and its last cell; so the token
behind one that starts at `at` begins at `at + length[symbol]`, the one before it ends at `at - 1`, and there are no
links to keep.

    t h e _      th is token 256        the is token 257
    t h e _  ->  256 256 e _        ->  257 GONE 257 _        (the first and last cells count)

`places` holds for each pair where it starts. A pair's list is complete when the newer of its two tokens is made, for
later merges only destroy such pairs; what they destroyed is recognised by its cells when the list is used. One round:

    for each place of the best pair (left, right): write the new token; note its neighbours before and behind
    for each distinct neighbour x before:  count(x, left) -= weight;  count(x, new) = weight, with its places
    for each distinct neighbour y behind:  count(right, y) -= weight; count(new, y) = weight, with its places

so the hash table of pairs is touched once per distinct neighbour, not once per place. The best pair comes from a heap
of counts that may be too high and never too low: an entry that is out of date goes back with its true count. Ties go
to the lexicographically greatest pair of byte strings.

Counts only fall, so a pair that is rarer than the last merge will be need not be kept at all, and most pairs are. The
caller guesses a `floor`; when the best pair falls below it the kernel stops short and the caller tries a lower one.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from groundup.tokenization.compiled.layout import compiled
from groundup.tokenization.compiled.machine import prefetch
from groundup.tokenization.compiled.pair_heap import Tokens, heap_of, heap_room, push, sink
from groundup.tokenization.compiled.pair_table import COUNT, PAIR, PLACES, find_pair, rehash

Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

GONE, FIRST_EDGE = -2, -3  # behind pre-token w the cell FIRST_EDGE - w
AHEAD = 16  # places whose cells are asked for in advance
DONE, STOP = 0, 1  # of `shared`: merges learnt so far; not 0 when the caller wants no more
HALF = 0xFFFFFFFF


class Neighbours(NamedTuple):
    """On one side of the places of a round: each place's neighbour; per neighbour its weight and number of places."""

    symbol: Int32s
    weight: Int64s
    number: Int64s
    distinct: Int32s


@compiled
def learn(text: Bytes, lengths: Int64s, weights: Int64s, number: int, floor: int, shared: Int64s) -> Int32s:
    """At most `number` merges, int32 [M, 2], of pairs that occur `floor` times or more.

    The pre-tokens lie end to end in `text`, each of some length and occurring `weights` times.
    """
    cells, tokens = _lay_out(text, lengths, number)
    pairs, used, places, placed = _count_pairs(cells, lengths, weights)
    heap, queued = heap_of(pairs, used, tokens)
    merges = np.empty((number, 2), np.int32)
    most = 0
    for slot in range(len(pairs)):
        most = max(most, pairs[slot, PLACES] & HALF)
    at = np.empty(most, np.int32)
    before = _no_neighbours(256 + number, most)
    behind = _no_neighbours(256 + number, most)
    done = 0
    while done < number and queued > 0 and shared[STOP] == 0:
        count, pair = heap[0, 0], heap[0, 1]
        if count < floor:
            break
        slot = find_pair(pairs, pair)
        if 0 < pairs[slot, COUNT] < count:
            sink(heap, queued, 0, pairs[slot, COUNT], pair, tokens)
            continue
        queued -= 1
        sink(heap, queued, 0, heap[queued, 0], heap[queued, 1], tokens)
        if pairs[slot, COUNT] == 0:
            continue
        left, right, new = pair >> 32, pair & HALF, 256 + done
        merges[done, 0], merges[done, 1] = left, right
        first, size = pairs[slot, PLACES] >> 32, pairs[slot, PLACES] & HALF
        old = places[first : first + size]
        _name(tokens, new, left, right, old, cells)
        pairs[slot, COUNT] = 0
        found, one, two = _join(left, right, new, old, cells, weights, tokens, at, before, behind)
        if 4 * (used + one + two) > 3 * len(pairs):
            pairs, used = rehash(pairs, one + two)
        heap = heap_room(heap, queued + one + two)
        behind_first, before_first = placed, _file(placed, found, two, floor, at, places, behind, tokens, False)
        placed = _file(before_first, found, one, floor, at, places, before, tokens, True)
        used = _enter(pairs, used, right, new, two, floor, behind, behind_first, False)
        used = _enter(pairs, used, left, new, one, floor, before, before_first, True)
        queued = _queue(heap, queued, pairs, new, two, behind, tokens, False)
        queued = _queue(heap, queued, pairs, new, one, before, tokens, True)
        done += 1
        shared[DONE] = done
    return merges[:done]


@compiled
def _lay_out(text: Bytes, lengths: Int64s, number: int) -> tuple[Int32s, Tokens]:
    total = len(text) + len(lengths) + 1
    cells = np.empty(total, np.int32)
    raw = np.empty(total, np.uint8)
    cells[0], raw[0] = FIRST_EDGE, 0
    at, source = 1, 0
    most = 256 + number
    sample, length, prefix = np.zeros(most, np.int64), np.ones(most, np.int64), np.zeros(most, np.int64)
    for word in range(len(lengths)):
        for _ in range(lengths[word]):
            byte = text[source]
            raw[at], cells[at] = byte, byte
            sample[byte] = at
            at += 1
            source += 1
        cells[at], raw[at] = FIRST_EDGE - word, 0
        at += 1
    tokens = Tokens(raw, sample, length, prefix)
    for byte in range(256):
        prefix[byte] = byte << 48
    return cells, tokens


@compiled
def _name(tokens: Tokens, new: int, left: int, right: int, places: Int32s, cells: Int32s) -> None:
    """Where the bytes of a new token can be read, and the number made of its first seven."""
    size = tokens.length[left] + tokens.length[right]
    tokens.length[new] = size
    for place in places:
        if cells[place] == left and cells[place + tokens.length[left]] == right:
            tokens.sample[new] = place
            break
    prefix = 0
    for index in range(7):
        prefix = prefix << 8 | (tokens.text[tokens.sample[new] + index] if index < size else 0)
    tokens.prefix[new] = prefix


@compiled
def _no_neighbours(symbols: int, most: int) -> Neighbours:
    return Neighbours(
        np.empty(most, np.int32), np.zeros(symbols, np.int64), np.zeros(symbols, np.int64), np.empty(symbols, np.int32)
    )


@compiled
def _join(
    left: int,
    right: int,
    new: int,
    places: Int32s,
    cells: Int32s,
    weights: Int64s,
    tokens: Tokens,
    at: Int32s,
    before: Neighbours,
    behind: Neighbours,
) -> tuple[int, int, int]:
    """Write the new token at the places where its pair still stands; returns how many, and how many neighbours."""
    left_size, right_size = tokens.length[left], tokens.length[right]
    found, one, two = 0, 0, 0
    address = cells.ctypes.data
    for index in range(len(places)):
        if index + AHEAD < len(places):
            prefetch(address + 4 * places[index + AHEAD])
        place = np.int64(places[index])
        second = place + left_size
        if cells[place] != left or cells[second] != right:
            continue
        end = second + right_size
        cells[second] = GONE
        cells[place] = new
        cells[end - 1] = new
        x, y = cells[place - 1], cells[end]
        while cells[end] >= 0:
            end += tokens.length[cells[end]]
        weight = weights[FIRST_EDGE - cells[end]]
        at[found], before.symbol[found], behind.symbol[found] = place, x, y
        if x >= 0:
            if before.number[x] == 0:
                before.distinct[one] = x
                one += 1
            before.number[x] += 1
            before.weight[x] += weight
        if y >= 0:
            if behind.number[y] == 0:
                behind.distinct[two] = y
                two += 1
            behind.number[y] += 1
            behind.weight[y] += weight
        found += 1
    return found, one, two


@compiled
def _file(
    placed: int,
    found: int,
    distinct: int,
    floor: int,
    at: Int32s,
    places: Int32s,
    side: Neighbours,
    tokens: Tokens,
    is_before: bool,
) -> int:
    """Sort the places of a round into one list per neighbour; `number` becomes the end of the list."""
    for index in range(distinct):
        symbol = side.distinct[index]
        if side.weight[symbol] >= floor:
            size = side.number[symbol]
            side.number[symbol] = placed
            placed += int(size)
    for index in range(found):
        symbol = side.symbol[index]
        if symbol >= 0 and side.weight[symbol] >= floor:
            places[side.number[symbol]] = at[index] - tokens.length[symbol] if is_before else at[index]
            side.number[symbol] += 1
    return placed


@compiled
def _pair(token: int, symbol: int, is_before: bool) -> int:
    """A token and its neighbour in the order of the text."""
    return symbol << 32 | token if is_before else token << 32 | symbol


@compiled
def _enter(
    pairs: Int64s,
    used: int,
    old: int,
    new: int,
    distinct: int,
    floor: int,
    side: Neighbours,
    first: int,
    is_before: bool,
) -> int:
    """Take from the pairs of the old token what the new one has now; returns how many pairs the table holds."""
    for index in range(distinct):
        symbol = np.int64(side.distinct[index])
        weight = side.weight[symbol]
        slot = find_pair(pairs, _pair(old, symbol, is_before))
        if pairs[slot, PAIR] != 0:
            pairs[slot, COUNT] -= weight
        if weight < floor:
            continue
        pair = _pair(new, symbol, is_before)
        slot = find_pair(pairs, pair)
        end = side.number[symbol]
        pairs[slot, PAIR], pairs[slot, COUNT] = pair + 1, weight
        pairs[slot, PLACES] = first << 32 | end - first
        first = end
        used += 1
    return used


@compiled
def _queue(
    heap: Int64s,
    queued: int,
    pairs: Int64s,
    new: int,
    distinct: int,
    side: Neighbours,
    tokens: Tokens,
    is_before: bool,
) -> int:
    """Put the new pairs of a side into the heap with their true counts, and clear the side for the next round."""
    for index in range(distinct):
        symbol = np.int64(side.distinct[index])
        side.weight[symbol], side.number[symbol] = 0, 0
        queued = push(heap, queued, pairs, _pair(new, symbol, is_before), tokens)
    return queued


@compiled
def _count_pairs(cells: Int32s, lengths: Int64s, weights: Int64s) -> tuple[Int64s, int, Int32s, int]:
    """The table of all pairs of bytes and their places, by counting and then placing."""
    number, count = np.zeros(1 << 16, np.int64), np.zeros(1 << 16, np.int64)
    total, used, at = 0, 0, 1
    for word in range(len(lengths)):
        for _ in range(lengths[word] - 1):
            pair = cells[at] << 8 | cells[at + 1]
            used += number[pair] == 0
            number[pair] += 1
            count[pair] += weights[word]
            total += 1
            at += 1
        at += 2
    slots = 1024
    while slots < 2 * used:
        slots *= 2
    pairs = np.zeros((slots, 3), np.int64)
    places = np.empty(3 * total, np.int32)  # every merge of a place removes one and makes two at most
    placed = 0
    for pair in range(1 << 16):
        if number[pair] > 0:
            key = (pair >> 8) << 32 | pair & 255
            slot = find_pair(pairs, key)
            pairs[slot, PAIR], pairs[slot, COUNT] = key + 1, count[pair]
            pairs[slot, PLACES] = placed << 32 | number[pair]
            size = number[pair]
            number[pair] = placed
            placed += size
    for at in range(len(cells) - 1):
        left, right = cells[at], cells[at + 1]
        if left >= 0 and right >= 0:
            pair = left << 8 | right
            places[number[pair]] = at
            number[pair] += 1
    return pairs, used, places, placed
