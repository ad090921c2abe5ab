r"""Pre-tokens 64 bytes at a time: bit algebra that finds every token start of a block at once.

A block begins at a token start. Each class of characters becomes a mask of 64 bits, bit i for byte i, and the starts
follow from shifts: `mask << 1` holds, at each byte, the class of the byte before it, `mask >> 1` of the one behind it.

    text      t h e _ c a t ' s _ _ 1 2 ! \n      (_ is a space)
    letters   1 1 1 . 1 1 1 . 1 . . . . . .
    spaces    . . . 1 . . . . . 1 1 . . . 1
    starts    1 . . 1 . . . 1 . 1 1 . . 1 1       GPT-2's: the last space of a run goes with what follows

All bytes of a character have its class, so continuation bytes never look like a change. ASCII is classed by vector
compares, the commonest letters of Cyrillic and Chinese too, other characters one by one through the Unicode table.

What a block cannot tell is left out or left to `scanner.py`: starts that depend on bytes behind the block are not
reported, so the caller goes on from the last start that is; and a block with a rarity (whitespace outside ASCII, a
number outside ASCII, a mark in o200k) is given up as a whole: the mask 0.
"""

from groundup.tokenization.compiled.layout import compiled
from groundup.tokenization.compiled.machine import bytes_between, highest_bit, load8, lowest_bit, shift_right
from groundup.tokenization.compiled.scanner import (
    APOSTROPHE,
    DIGITS,
    GPT2,
    NOTHING,
    O200K,
    SLASH,
    SPACE,
    _contraction_end,
    character_at,
)
from groundup.tokenization.unicode_classes import LETTER, LOWER, MARK, NUMBER, UPPER, WHITESPACE

BLOCK = 64  # bytes


@compiled
def block_starts(pattern: int, address: int, classes: int) -> int:
    """A mask of the token starts among 64 bytes that begin with one; 0 where the scanner has to do it."""
    letters = bytes_between(address, 0x41, 0x5A) | bytes_between(address, 0x61, 0x7A)
    numbers = bytes_between(address, 0x30, 0x39)
    spaces = bytes_between(address, 0x09, 0x0D) | bytes_between(address, SPACE, SPACE)
    high = bytes_between(address, 0x80, 0xFF)
    upper = bytes_between(address, 0x41, 0x5A) if pattern == O200K else 0
    known = BLOCK
    if high != 0:
        more, upper, caseless, known = _high_letters(pattern, address, high, upper, classes)
        if known == 0:
            return 0
        letters |= more
        if pattern == O200K:
            cased = letters & ~caseless
            if (cased << 1 & caseless) | (caseless << 1 & cased) != 0:
                return 0
    if pattern == GPT2 or pattern == DIGITS:
        return _gpt2_starts(pattern, address, letters, numbers, spaces, known)
    return _cl100k_starts(pattern, address, letters, numbers, spaces, upper, high, known)


@compiled
def _high_letters(pattern: int, address: int, high: int, upper: int, classes: int) -> tuple[int, int, int, int]:
    """Letters, upper case, letters without case, and how many bytes belong to whole characters (0: give up).

    Lead bytes D0 and D1 are Cyrillic letters (U+0400 to U+047F), E5 to E8 Chinese ones (U+5000 to U+8FFF), as are E4
    with a second byte from B8 up (U+4E00) and E9 (to U+9FFF): most of such a text is classed without a table.
    """
    leads = high & ~bytes_between(address, 0x80, 0xBF)
    low_half = bytes_between(address, 0xB8, 0xBF)
    three = bytes_between(address, 0xE5, 0xE9) | bytes_between(address, 0xE4, 0xE4) & shift_right(low_half, 1)
    caseless = three | three << 1 | three << 2
    letters = caseless
    slow = leads & ~three
    if pattern != O200K:
        two = bytes_between(address, 0xD0, 0xD1)
        letters |= two | two << 1
        slow &= ~two
    last = highest_bit(leads)
    known = BLOCK
    size = 2 if load8(address + last) < 0xE0 else 3 if load8(address + last) < 0xF0 else 4
    if last + size > BLOCK:
        known = last
        slow &= ~(1 << last)
    while slow != 0:
        at = lowest_bit(slow)
        slow &= slow - 1
        character, size = character_at(address, at)
        unicode_class = load8(classes + character)
        bits = ((1 << size) - 1) << at
        if unicode_class == WHITESPACE or unicode_class == NUMBER or (unicode_class == MARK and pattern == O200K):
            return 0, 0, 0, 0
        if unicode_class >= LOWER:
            letters |= bits
            if unicode_class == UPPER:
                upper |= bits
            elif unicode_class == LETTER:
                caseless |= bits
    return letters, upper, caseless, known


@compiled
def _gpt2_starts(pattern: int, address: int, letters: int, numbers: int, spaces: int, known: int) -> int:
    space = bytes_between(address, SPACE, SPACE)
    other = ~(letters | numbers | spaces)
    same = letters & letters << 1 | other & other << 1
    if pattern == GPT2:
        starts = ~(spaces | same | numbers & numbers << 1 | space << 1)
    else:
        starts = ~(spaces | same | space << 1) | numbers
    starts |= spaces & ~(spaces << 1 & shift_right(spaces, 1))
    starts |= 1
    reported = known - 1  # whether a space is the last of its run is seen one byte later
    apostrophes = bytes_between(address, APOSTROPHE, APOSTROPHE) & starts
    while apostrophes != 0:
        at = lowest_bit(apostrophes)
        apostrophes &= apostrophes - 1
        if at + 3 > known:
            reported = min(reported, at + 1)
            break
        behind = _contraction_end(address, at, BLOCK, False)
        if behind != NOTHING:
            starts = starts & ~(2 << at)
            if behind < BLOCK:
                starts |= 1 << behind
    return starts & ((1 << reported) - 1)


@compiled
def _cl100k_starts(
    pattern: int, address: int, letters: int, numbers: int, spaces: int, upper: int, high: int, known: int
) -> int:
    space = bytes_between(address, SPACE, SPACE)
    newlines = bytes_between(address, 0x0A, 0x0A) | bytes_between(address, 0x0D, 0x0D)
    other = ~(letters | numbers | spaces)
    # Newlines behind punctuation belong to it. Adding the first bit of a run to the run carries through all of it.
    behind_other = newlines & other << 1
    taken = newlines & ~(newlines + behind_other)
    if pattern == O200K:
        slashes = bytes_between(address, SLASH, SLASH)
        if slashes & newlines << 1 != 0:  # slashes behind such a newline belong to it too
            taken = _flood(behind_other, newlines | slashes)
            other &= ~taken
    free = spaces & ~taken
    blanks = free & ~newlines
    ends_line = free & newlines
    starts = free & ~(free << 1)
    starts |= blanks & ~shift_right(spaces, 1)  # the last one of a run goes with what follows
    starts |= _tails(blanks, ends_line)
    single = other & ~(other << 1 | space << 1)
    starts |= single
    if high != 0:  # all bytes of the character
        behind_first = bytes_between(address, 0x80, 0xBF)
        for _ in range(3):
            single |= single << 1 & behind_first
    word = letters & ~(letters << 1 | blanks << 1 | single << 1)
    if pattern == O200K:
        word |= upper & (letters & ~upper) << 1
    starts |= word | _numbers_in_threes(numbers)
    starts |= 1
    reported = known
    if shift_right(free, known - 1) & 1 != 0:  # a run of whitespace at the end: only its first byte is certain
        gap = ~free & ((1 << (known - 1)) - 1)
        reported = highest_bit(gap) + 2 if gap != 0 else 1
    starts, reported = _contractions(pattern, address, starts, letters, known, reported)
    return starts if reported == BLOCK else starts & ((1 << reported) - 1)


@compiled
def _flood(seeds: int, field: int) -> int:
    """The bits of `field` that an unbroken run of `field` connects upwards with a seed in it."""
    filled = seeds & field
    for distance in (1, 2, 4, 8, 16, 32):
        filled |= field & filled << distance
        field &= field << distance
    return filled


@compiled
def _tails(blanks: int, ends_line: int) -> int:
    """Blanks behind a newline start a token, unless another newline follows them in the same run."""
    tails = blanks & ends_line << 1
    behind = (blanks + tails) & ~blanks
    if behind & ends_line == 0:
        return tails
    kept = tails
    while tails != 0:
        at = lowest_bit(tails)
        tails &= tails - 1
        gap = shift_right(~blanks, at)
        if gap != 0 and shift_right(ends_line, at + lowest_bit(gap)) & 1 != 0:
            kept &= ~(1 << at)
    return kept


@compiled
def _numbers_in_threes(numbers: int) -> int:
    """The first, fourth, seventh ... number of each run."""
    pairs = numbers & numbers << 1
    starts = numbers & ~pairs
    if pairs & pairs << 2 != 0:
        third = pairs & numbers << 2
        more = starts
        while more != 0:
            more = more << 3 & third & third << 1
            starts |= more
    return starts


@compiled
def _contractions(pattern: int, address: int, starts: int, letters: int, known: int, reported: int) -> tuple[int, int]:
    """cl100k: a contraction is a token of its own. o200k: it ends the word before it. Behind it a token starts."""
    apostrophes = bytes_between(address, APOSTROPHE, APOSTROPHE)
    apostrophes &= letters << 1 if pattern == O200K else starts
    last = NOTHING
    while apostrophes != 0:
        at = lowest_bit(apostrophes)
        apostrophes &= apostrophes - 1
        if at + 3 > known:
            return starts, min(reported, at if pattern == O200K else at + 1)
        if at == last and pattern == O200K:
            continue  # the letter before it was no word but the end of a contraction
        behind = _contraction_end(address, at, BLOCK, True)
        if behind == NOTHING:
            continue
        last = behind
        inside = (1 << behind) - 1 if behind < BLOCK else -1
        first = at if pattern == O200K else at + 1
        starts &= ~(inside & ~((1 << first) - 1))
        if behind < BLOCK:
            starts |= 1 << behind
    return starts, reported
