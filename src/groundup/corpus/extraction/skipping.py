"""What a reader of HTML passes over: comments and declarations, the content of scripts and styles."""

# Numba takes integers of any width, which pyright tells apart.
# pyright: reportArgumentType=false, reportReturnType=false

import numpy as np
from numba import njit
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
LESS, GREATER, SLASH, BANG, SPACE, HYPHEN = 60, 62, 47, 33, 32, 45


@njit(cache=True, nogil=True)
def after_declaration(data: Bytes, position: int) -> int:
    """The place after a comment (-->, --!>, or the short <!--> and <!--->), a doctype or <?...>."""
    end = len(data)
    if position + 3 < end and data[position + 1] == BANG and data[position + 2] == HYPHEN == data[position + 3]:
        stop = position + 4
        while stop < end:
            if data[stop] == GREATER:
                bang = stop - 3 >= position + 4 and data[stop - 1] == BANG
                last = stop - 2 if bang else stop - 1
                if data[last] == HYPHEN and data[last - 1] == HYPHEN:
                    return stop + 1
            stop += 1
        return end
    stop = position + 2
    while stop < end and data[stop] != GREATER:
        stop += 1
    return min(stop + 1, end)


@njit(cache=True, nogil=True)
def matches(data: Bytes, position: int, first: int, name_end: int) -> bool:
    """Whether the name at first .. name_end also stands at a position, and ends there; case does not count."""
    width = name_end - first
    if position + width >= len(data):
        return False
    for offset in range(width):
        if data[position + offset] | 32 != data[first + offset] | 32:
            return False
    after = data[position + width]
    return after <= SPACE or after == GREATER or after == SLASH


@njit(cache=True, nogil=True)
def after_raw(data: Bytes, position: int, first: int, name_end: int, script: bool) -> int:
    """The place of the end tag of a raw element. In a script <!-- <script> hides </script> until -->."""
    escaped, hidden = False, False
    while position < len(data):
        byte = data[position]
        if byte == LESS:
            if script and position + 3 < len(data) and data[position + 1] == BANG and data[position + 2] == HYPHEN:
                escaped |= data[position + 3] == HYPHEN
            elif escaped and matches(data, position + 1, first, name_end):
                hidden = True
            elif position + 1 < len(data) and data[position + 1] == SLASH:
                if matches(data, position + 2, first, name_end):
                    if not hidden:
                        return position
                    hidden = False
        elif byte == GREATER and escaped and data[position - 1] == HYPHEN and data[position - 2] == HYPHEN:
            escaped, hidden = False, False
        position += 1
    return len(data)


@njit(cache=True, nogil=True)
def is_formula(data: Bytes, start: int, stop: int) -> bool:
    """Whether a tag holds math/tex (the t of "tex" is enough: no other script type starts so)."""
    for position in range(start, stop - 6):
        if data[position] == 109 and data[position + 1] == 97 and data[position + 2] == 116:
            if data[position + 3] == 104 and data[position + 4] == SLASH and data[position + 5] == 116:
                return True
    return False
