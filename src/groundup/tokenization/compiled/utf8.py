"""Is it UTF-8? The kernels take that for granted, so bytes from outside are checked first (Unicode 16.0, table 3-7).

64 bytes at a time by masks, as in `blocks.py`: the bytes 80 to BF must stand where the lead bytes before them say, and
nowhere else. Four lead bytes restrict the byte behind them: E0 and F0 (overlong forms), ED (surrogates), F4 (the end
of Unicode).
"""

from groundup.tokenization.compiled.layout import compiled
from groundup.tokenization.compiled.machine import bytes_between, load8, shift_right

BLOCK = 64


@compiled
def is_utf8(text: int, size: int) -> bool:
    """Whether `size` bytes are well-formed UTF-8; one byte behind them may be read."""
    at, owed = 0, 0  # owed: the bytes of this block that characters of the one before must have
    while at + BLOCK <= size:
        address = text + at
        at += BLOCK
        high = bytes_between(address, 0x80, 0xFF)
        if high == 0:
            if owed != 0:
                return False
            continue
        behind, two = bytes_between(address, 0x80, 0xBF), bytes_between(address, 0xC2, 0xDF)
        three, four = bytes_between(address, 0xE0, 0xEF), bytes_between(address, 0xF0, 0xF4)
        wanted = (two | three | four) << 1 | (three | four) << 2 | four << 3 | owed
        if wanted != behind or behind | two | three | four != high or not _seconds_are_right(address, three | four):
            return False
        owed = shift_right(two | three | four, 63) | shift_right(three | four, 62) | shift_right(four, 61)
    return _is_utf8_to_the_end(text, _start_of_character(text, at), size)


@compiled
def _seconds_are_right(address: int, leads: int) -> bool:
    """Whether the bytes behind E0, ED, F0 and F4 in a block are in the narrower ranges that those allow."""
    if leads == 0:
        return True
    low, middle = bytes_between(address, 0x80, 0x8F), bytes_between(address, 0x90, 0x9F)
    high = bytes_between(address, 0xA0, 0xBF)
    wrong = bytes_between(address, 0xE0, 0xE0) << 1 & (low | middle) | bytes_between(address, 0xED, 0xED) << 1 & high
    wrong |= bytes_between(address, 0xF0, 0xF0) << 1 & low | bytes_between(address, 0xF4, 0xF4) << 1 & (middle | high)
    return wrong == 0 and (leads > 0 or _is_second(load8(address + BLOCK - 1), load8(address + BLOCK)))


@compiled
def _is_second(first: int, second: int) -> bool:
    """Whether a lead byte allows a byte behind it."""
    low = 0xA0 if first == 0xE0 else 0x90 if first == 0xF0 else 0x80
    high = 0x9F if first == 0xED else 0x8F if first == 0xF4 else 0xBF
    return low <= second and second <= high


@compiled
def _start_of_character(text: int, at: int) -> int:
    """The first byte of the character that spans an offset, or the offset itself."""
    back = at
    while back > 0 and back > at - 4:
        back -= 1
        byte = load8(text + back)
        if byte >= 0xC0:
            return back
        if byte < 0x80:
            break
    return at


@compiled
def _is_utf8_to_the_end(text: int, at: int, size: int) -> bool:
    """The same, character by character."""
    while at < size:
        first = load8(text + at)
        if first < 0x80:
            at += 1
            continue
        length = 2 if first < 0xE0 else 3 if first < 0xF0 else 4
        if first < 0xC2 or first > 0xF4 or at + length > size:
            return False
        if not _is_second(first, load8(text + at + 1)):
            return False
        for index in range(2, length):
            if load8(text + at + index) & 0xC0 != 0x80:
                return False
        at += length
    return True
