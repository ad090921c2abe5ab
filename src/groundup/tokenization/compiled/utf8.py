"""Is it UTF-8? The kernels take that for granted, so bytes from outside are checked first (Unicode 16.0, table 3-7)."""

from groundup.tokenization.compiled.layout import compiled
from groundup.tokenization.compiled.machine import bytes_between, load8, lowest_bit


@compiled
def is_utf8(text: int, size: int) -> bool:
    """Whether `size` bytes are well-formed UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF."""
    at = 0
    while at + 64 <= size:
        high = bytes_between(text + at, 0x80, 0xFF)
        if high == 0:
            at += 64
            continue
        block_end = at + 64
        at += lowest_bit(high)
        while at < block_end:
            behind = _character_end(text, at, size)
            if behind == 0:
                return False
            at = behind
    while at < size:
        behind = _character_end(text, at, size)
        if behind == 0:
            return False
        at = behind
    return True


@compiled
def _character_end(text: int, at: int, size: int) -> int:
    """The offset behind the character at `at`; 0 where there is none."""
    first = load8(text + at)
    if first < 0x80:
        return at + 1
    length = 2 if first < 0xE0 else 3 if first < 0xF0 else 4
    if first < 0xC2 or first > 0xF4 or at + length > size:
        return 0
    second = load8(text + at + 1)
    low = 0xA0 if first == 0xE0 else 0x90 if first == 0xF0 else 0x80
    high = 0x9F if first == 0xED else 0x8F if first == 0xF4 else 0xBF
    if second < low or second > high:
        return 0
    for index in range(2, length):
        if load8(text + at + index) & 0xC0 != 0x80:
            return 0
    return at + length
