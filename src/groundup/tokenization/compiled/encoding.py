"""Text to token ids: chunks of 2 KB, each in three passes whose buffers stay in the first-level cache.

    find     starts of the pre-tokens: `blocks.py`, and `scanner.py` where that gives up
    look up  each pre-token's key and the slot where it would be; the slot's cache line is asked for, not waited for
    emit     key equal: copy 16 bytes of ids and move on by their count; otherwise probe on, or merge and remember

Splitting the passes is what makes it fast: by the time that a slot is read its line has arrived. `bpe.py` says the
same in a few lines of Python.
"""

from groundup.tokenization.compiled.blocks import BLOCK, block_starts
from groundup.tokenization.compiled.layout import (
    ARENA,
    ARENA_LIMIT,
    ARENA_RESERVE,
    ARENA_USED,
    CHUNK,
    CLASSES,
    CONSUMED,
    COUNT_BYTE,
    ELSEWHERE,
    GOLDEN,
    IDS_MASK,
    INLINE_IDS,
    KEYS,
    LONG,
    LONGEST,
    MASKS,
    MOST_TOKENS,
    PATTERN,
    PIECES,
    PIECES_LIMIT,
    PIECES_SHIFT,
    PIECES_USED,
    ROOT,
    SHORT,
    SLOT,
    STARTS,
    TAIL,
    TAIL_BYTES,
    compiled,
    field,
    set_field,
)
from groundup.tokenization.compiled.machine import (
    copy16,
    count_bits,
    equal16,
    highest_bit,
    load8,
    load32,
    load64,
    lowest_bit,
    prefetch,
    shift_right,
    store8,
    store32,
    store64,
)
from groundup.tokenization.compiled.merging import merge_piece
from groundup.tokenization.compiled.scanner import token_end


@compiled
def encode_text(state: int, text: int, size: int, out: int) -> int:
    """Write the ids of `size` bytes of valid UTF-8 to `out` (uint32, room for size + 8); returns how many.

    Where the tables are full it stops early and returns ~count; CONSUMED says how far it came, to the end of a
    pre-token.
    """
    at, written = 0, out
    while at < size:
        if field(state, PIECES_USED) + MOST_TOKENS > field(state, PIECES_LIMIT):
            break
        if field(state, ARENA_USED) + ARENA_RESERVE > field(state, ARENA_LIMIT):
            break
        base, tokens = find_chunk(state, text, at, size)
        look_up(state, base, tokens)
        written = _emit(state, base, tokens, written)
        at = load64(field(state, STARTS) + 8 * tokens)
    set_field(state, CONSUMED, at)
    count = (written - out) >> 2
    return count if at == size else ~count


@compiled
def find_chunk(state: int, text: int, at: int, size: int) -> tuple[int, int]:
    """Find the pre-tokens of the next chunk; returns the address at which its text seems to begin, and how many."""
    if size - at >= TAIL_BYTES:
        return text, find_starts(state, text, at, size, min(at + CHUNK, size - TAIL_BYTES + BLOCK))
    base = copy_tail(state, text, at, size)
    return base, find_in_tail(state, base, at, size)


@compiled
def find_starts(state: int, text: int, at: int, size: int, stop: int) -> int:
    """Write the offsets of the pre-tokens from `at` to about `stop` to STARTS, and behind them where the next begins.

    Reads blocks that begin before `stop`, which must lie at least a block before the end of the text.
    """
    pattern, classes = field(state, PATTERN), field(state, CLASSES)
    starts = field(state, STARTS)
    to = starts
    while at < stop:
        mask = block_starts(pattern, text + at, classes)
        last = highest_bit(mask | 1)
        if last == 0:  # a rarity, or a token longer than the block
            give_up = min(at + BLOCK, stop)
            while at < give_up:
                store64(to, at)
                to += 8
                at = token_end(pattern, text, at, size, classes)
            continue
        mask ^= 1 << last
        to = _write_positions(to, at, mask)
        at += last
    store64(to, at)
    return (to - starts) >> 3


@compiled
def _write_positions(to: int, at: int, mask: int) -> int:
    """Write at + i for each set bit i, eight at a time whether there are so many or not; returns the end."""
    end = to + 8 * count_bits(mask)
    while True:
        for place in range(8):
            store64(to + 8 * place, at + lowest_bit(mask))
            mask &= mask - 1
        to += 64
        if to >= end:
            return end


@compiled
def copy_tail(state: int, text: int, at: int, size: int) -> int:
    """Copy text[at:size] to where bytes that are 0 follow; returns the address at which the text seems to begin."""
    tail = field(state, TAIL)
    rest = size - at
    for index in range(rest):
        store8(tail + index, load8(text + at + index))
    for index in range(BLOCK >> 3):
        store64(tail + rest + 8 * index, 0)
    return tail - at


@compiled
def find_in_tail(state: int, text: int, at: int, size: int) -> int:
    """As `find_starts`, for the end of the text.

    Zero bytes look like punctuation, so whether the text ends there matters to whitespace only.
    """
    pattern, classes = field(state, PATTERN), field(state, CLASSES)
    starts = field(state, STARTS)
    to = starts
    final = load8(text + size - 1)
    solid = final > 0x20 and final < 0x7F
    while at < size:
        mask = block_starts(pattern, text + at, classes) if solid else 0
        rest = size - at
        if rest < BLOCK:
            mask &= (1 << rest) - 1
        last = highest_bit(mask | 1)
        if last == 0:
            store64(to, at)
            to += 8
            at = token_end(pattern, text, at, size, classes)
            continue
        to = _write_positions(to, at, mask ^ 1 << last)
        at += last
    store64(to, at)
    return (to - starts) >> 3


@compiled
def look_up(state: int, text: int, tokens: int) -> None:
    """Write each token's key and the address of its first slot to KEYS (24 bytes a token)."""
    starts, keys, masks = field(state, STARTS), field(state, KEYS), field(state, MASKS)
    pieces, shift = field(state, PIECES), field(state, PIECES_SHIFT)
    begin = load64(starts)
    for token in range(tokens):
        end = load64(starts + 8 * token + 8)
        length = end - begin
        address = text + begin
        low, high = key_of(address, length, masks)
        slot = pieces + SLOT * shift_right(low * GOLDEN ^ high * ROOT, shift)
        prefetch(slot)
        store64(keys, low)
        store64(keys + 8, high)
        store64(keys + 16, slot)
        keys += 24
        begin = end


@compiled
def key_of(address: int, length: int, masks: int) -> tuple[int, int]:
    """A short pre-token is its own key."""
    if length > SHORT:
        return _long_key(address, length)
    low = load64(address) & load64(masks + 16 * length)
    return low, load64(address + 8) & load64(masks + 16 * length + 8) | length << 56


@compiled
def _long_key(address: int, length: int) -> tuple[int, int]:
    """A hash of the bytes, and the length with the mark LONG above it."""
    hashed = length * ROOT
    at = 0
    while at + 8 <= length:
        hashed = (hashed ^ load64(address + at)) * GOLDEN
        hashed ^= shift_right(hashed, 29)
        at += 8
    if at < length:  # the last 8 bytes, some of them again
        hashed = (hashed ^ load64(address + length - 8)) * GOLDEN
        hashed ^= shift_right(hashed, 32)
    return hashed, LONG | length


@compiled
def _emit(state: int, text: int, tokens: int, out: int) -> int:
    starts, keys = field(state, STARTS), field(state, KEYS)
    for token in range(tokens):
        slot = load64(keys + 16)
        if equal16(slot, keys):
            copy16(slot + 16, out, IDS_MASK)
            out += load8(slot + COUNT_BYTE) << 2
        else:
            begin = load64(starts + 8 * token)
            length = load64(starts + 8 * token + 8) - begin
            out = _find_or_merge(state, text + begin, length, load64(keys), load64(keys + 8), slot, out)
        keys += 24
    return out


@compiled
def _find_or_merge(state: int, address: int, length: int, low: int, high: int, slot: int, out: int) -> int:
    """Probe on from a slot; a pre-token that is not there is merged and remembered. Returns the end of the ids."""
    end = field(state, PIECES) + SLOT * (shift_right(-1, field(state, PIECES_SHIFT)) + 1)
    while load64(slot + 8) != 0:
        if load64(slot) == low and load64(slot + 8) & ~ELSEWHERE == high:
            if load64(slot + 8) == high:
                copy16(slot + 16, out, IDS_MASK)
                return out + (load8(slot + COUNT_BYTE) << 2)
            record = field(state, ARENA) + 4 * load64(slot + 16)
            count = load32(record)
            if length <= SHORT or same_bytes(address, record + 4 + 4 * count, length):
                for index in range(count):
                    store32(out + 4 * index, load32(record + 4 + 4 * index))
                return out + 4 * count
        slot += SLOT
        if slot == end:
            slot = field(state, PIECES)
    count = merge_piece(state, address, length, out)
    if length <= LONGEST:
        _remember(state, address, length, low, high, slot, out, count)
    return out + 4 * count


@compiled
def same_bytes(left: int, right: int, length: int) -> bool:
    for at in range(length):
        if load8(left + at) != load8(right + at):
            return False
    return True


@compiled
def _remember(state: int, address: int, length: int, low: int, high: int, slot: int, ids: int, count: int) -> None:
    """Fill an empty slot; `ids` are `count` ids just written."""
    store64(slot, low)
    set_field(state, PIECES_USED, field(state, PIECES_USED) + 1)
    if length <= SHORT and count <= INLINE_IDS:
        store64(slot + 8, high)
        pair = load32(ids) | (load32(ids + 4) << 32 if count > 1 else 0)
        store64(slot + 16, pair | count << 56)
        pair = (load32(ids + 8) if count > 2 else 0) | (load32(ids + 12) << 32 if count > 3 else 0)
        store64(slot + 24, pair)
        return
    store64(slot + 8, high | ELSEWHERE)
    used = field(state, ARENA_USED)
    record = field(state, ARENA) + 4 * used
    store64(slot + 16, used)
    store32(record, count)
    for index in range(count):
        store32(record + 4 + 4 * index, load32(ids + 4 * index))
    used += 1 + count
    if length > SHORT:
        for at in range(length):
            store8(record + 4 + 4 * count + at, load8(address + at))
        used += (length + 3) >> 2
    set_field(state, ARENA_USED, used)


@compiled
def enter_pieces(state: int, text: int, lengths: int, number: int, ids: int) -> None:
    """Remember different pre-tokens that lie end to end (and `PADDING` behind them), each with the one id at `ids`."""
    pieces, masks, shift = field(state, PIECES), field(state, MASKS), field(state, PIECES_SHIFT)
    end = pieces + SLOT * (shift_right(-1, shift) + 1)
    for index in range(number):
        length = load64(lengths + 8 * index)
        low, high = key_of(text, length, masks)
        slot = pieces + SLOT * shift_right(low * GOLDEN ^ high * ROOT, shift)
        while load64(slot + 8) != 0:
            slot = slot + SLOT if slot + SLOT < end else pieces
        _remember(state, text, length, low, high, slot, ids + 4 * index, 1)
        text += length


@compiled
def move_pieces(state: int, old: int, slots: int) -> None:
    """Enter the pieces of a smaller table into the one that PIECES names now."""
    pieces, shift = field(state, PIECES), field(state, PIECES_SHIFT)
    end = pieces + SLOT * (shift_right(-1, shift) + 1)
    for index in range(slots):
        source = old + SLOT * index
        low, high = load64(source), load64(source + 8)
        if high == 0:
            continue
        high &= ~ELSEWHERE
        slot = pieces + SLOT * shift_right(low * GOLDEN ^ high * ROOT, shift)
        while load64(slot + 8) != 0:
            slot += SLOT
            if slot == end:
                slot = pieces
        for word in range(4):
            store64(slot + 8 * word, load64(source + 8 * word))
