"""How often each pre-token occurs: the passes of `encoding.py`, with counts in the place of ids.

A slot is | lo | hi | count | offset in the arena |; the arena holds the bytes of pre-tokens of more than 15 bytes, at
any length. The table is never emptied, so a full one stops the kernel and the caller makes it larger.
"""

from groundup.tokenization.compiled.encoding import find_chunk, key_of, look_up, same_bytes
from groundup.tokenization.compiled.layout import (
    ARENA,
    ARENA_LIMIT,
    ARENA_USED,
    CONSUMED,
    ELSEWHERE,
    GOLDEN,
    KEYS,
    LONG,
    MASKS,
    MOST_TOKENS,
    PIECES,
    PIECES_LIMIT,
    PIECES_SHIFT,
    PIECES_USED,
    ROOT,
    SHORT,
    SLOT,
    STARTS,
    compiled,
    field,
    set_field,
)
from groundup.tokenization.compiled.machine import equal16, load8, load64, shift_right, store8, store64


@compiled
def count_text(state: int, text: int, size: int) -> None:
    """Count the pre-tokens of `size` bytes of valid UTF-8; stops early where the tables are full (CONSUMED)."""
    at = 0
    while at < size:
        if field(state, PIECES_USED) + MOST_TOKENS > field(state, PIECES_LIMIT):
            break
        base, tokens = find_chunk(state, text, at, size)
        behind = load64(field(state, STARTS) + 8 * tokens)
        if field(state, ARENA_USED) + (behind - at) > field(state, ARENA_LIMIT):
            break
        look_up(state, base, tokens)
        _count(state, base, tokens)
        at = behind
    set_field(state, CONSUMED, at)


@compiled
def _count(state: int, text: int, tokens: int) -> None:
    starts, keys = field(state, STARTS), field(state, KEYS)
    for token in range(tokens):
        slot = load64(keys + 16)
        if not equal16(slot, keys):
            begin = load64(starts + 8 * token)
            length = load64(starts + 8 * token + 8) - begin
            slot = find_piece(state, text + begin, length, load64(keys), load64(keys + 8), slot)
        store64(slot + 16, load64(slot + 16) + 1)
        keys += 24


@compiled
def find_piece(state: int, address: int, length: int, low: int, high: int, slot: int) -> int:
    """The slot of a pre-token, found by probing on from `slot` or made there with the count 0."""
    end = field(state, PIECES) + SLOT * (shift_right(-1, field(state, PIECES_SHIFT)) + 1)
    while load64(slot + 8) != 0:
        if load64(slot) == low and load64(slot + 8) & ~ELSEWHERE == high:
            if length <= SHORT or same_bytes(address, field(state, ARENA) + load64(slot + 24), length):
                return slot
        slot += SLOT
        if slot == end:
            slot = field(state, PIECES)
    set_field(state, PIECES_USED, field(state, PIECES_USED) + 1)
    store64(slot, low)
    store64(slot + 8, high)
    store64(slot + 16, 0)
    if length > SHORT:
        store64(slot + 8, high | ELSEWHERE)
        used = field(state, ARENA_USED)
        store64(slot + 24, used)
        record = field(state, ARENA) + used
        for at in range(length):
            store8(record + at, load8(address + at))
        set_field(state, ARENA_USED, used + length)
    return slot


@compiled
def enter_counts(state: int, text: int, lengths: int, counts: int, number: int) -> None:
    """Add the counts of pre-tokens that lie end to end (and `PADDING` behind them); there must be room for all."""
    pieces, masks, shift = field(state, PIECES), field(state, MASKS), field(state, PIECES_SHIFT)
    for index in range(number):
        length = load64(lengths + 8 * index)
        low, high = key_of(text, length, masks)
        slot = pieces + SLOT * shift_right(low * GOLDEN ^ high * ROOT, shift)
        slot = find_piece(state, text, length, low, high, slot)
        store64(slot + 16, load64(slot + 16) + load64(counts + 8 * index))
        text += length


@compiled
def list_pieces(state: int, counts: int, lengths: int, text: int) -> None:
    """Write the counts (int64), the lengths (int64) and, end to end, the bytes of all pieces."""
    slot = field(state, PIECES)
    end = slot + SLOT * (shift_right(-1, field(state, PIECES_SHIFT)) + 1)
    arena = field(state, ARENA)
    while slot < end:
        high = load64(slot + 8) & ~ELSEWHERE
        if high != 0:
            length = high & ~LONG if high >= LONG else high >> 56
            source = arena + load64(slot + 24) if length > SHORT else slot
            for at in range(length):
                store8(text + at, load8(source + at))
            store64(counts, load64(slot + 16))
            store64(lengths, length)
            text += length
            counts += 8
            lengths += 8
        slot += SLOT
