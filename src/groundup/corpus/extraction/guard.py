"""What must not reach a parser, found on the raw bytes; and what a parser need not see.

200,000 nested <div> keep lexbor busy for more than ten seconds, thousands of attributes in one tag are compared with
each other, and unclosed <font> come back in every later paragraph: costs that are quadratic in a page of a few hundred
kilobytes. One compiled pass follows the open elements by the rules of the HTML standard that decide depth (what a start
tag closes, where the search for an end tag stops, which formatting is reopened) and refuses the page before it is
parsed. The same pass copies the page without comments, without the content of scripts and styles, and without
attributes that nothing here reads, two thirds of the bytes of today's pages; scripts of type math/tex, which are
formulas, stay.
"""

# Numba takes integers of any width, which pyright tells apart.
# pyright: reportArgumentType=false, reportReturnType=false

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from groundup.corpus.extraction.markup import TABLES
from groundup.corpus.extraction.open_elements import (
    DEEPEST,
    DEPTH,
    MAX_DEPTH,
    REOPENED,
    WAITS,
    end_tag,
    no_elements,
    reopen,
    start_tag,
)
from groundup.corpus.extraction.skipping import after_declaration, after_raw, is_formula
from groundup.corpus.extraction.tag_roles import HASHES, KEPT_RAW, RAW, ROLES_OF, SCRIPT, look_up

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int32]
Hashes = NDArray[np.uint64]

MAX_BYTES = 64 << 20
MAX_ATTRIBUTES = 1000
MAX_REOPENED = 1_000_000  # formatting elements that the parser would insert again
CONTROL_SHARE = 0.02

LESS, GREATER, SLASH, BANG, QUESTION, EQUALS, SPACE, HYPHEN = 60, 62, 47, 33, 63, 61, 32, 45
FNV_START, FNV_PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
FINE, DEEP, ATTRIBUTES, REOPENED_OFTEN = 0, 1, 2, 3
BETWEEN, NAME, AFTER_NAME, BEFORE_VALUE, VALUE = 0, 1, 2, 3, 4  # where in a tag's attributes


class Checked(NamedTuple):
    """A page without scripts, styles and comments; or why it is refused. `depth` is that of the open elements."""

    html: bytes
    depth: int
    fault: str | None


def check(html: bytes) -> Checked:
    """Look through a page in UTF-8 before it is parsed."""
    if len(html) > MAX_BYTES:
        return Checked(b"", 0, f"larger than {MAX_BYTES >> 20} MB")
    if fault := binary(html):
        return Checked(b"", 0, fault)
    data, lean = np.frombuffer(html, dtype=np.uint8), np.empty(2 * len(html) + 1, dtype=np.uint8)
    fault, size, depth = _check(data, lean, HASHES, ROLES_OF, TABLES.attribute_hashes, TABLES.attribute_kinds)
    reason = {
        FINE: None,
        DEEP: f"elements nested deeper than {MAX_DEPTH}",
        ATTRIBUTES: f"more than {MAX_ATTRIBUTES} attributes in one tag",
        REOPENED_OFTEN: "unclosed formatting that multiplies",
    }[fault]
    return Checked(b"" if reason else lean[:size].tobytes(), depth, reason)


def binary(html: bytes) -> str | None:
    """Whether this is no text: a PDF, or too many control characters (as in images and archives)."""
    if html.startswith(b"%PDF-"):
        return "a PDF, not HTML"
    sample = html[:8192]
    control = len(sample) - len(sample.translate(None, _CONTROL))
    return "binary data" if control > CONTROL_SHARE * len(sample) else None


_CONTROL = bytes(set(range(32)) - set(b"\t\n\r\f\x1b")) + b"\x7f"


@njit(cache=True, nogil=True)
def _check(
    data: Bytes, lean: Bytes, hashes: Hashes, roles: Integers, wanted: Hashes, wanted_kinds: Integers
) -> tuple[int, int, int]:
    """(fault, bytes of the copy, greatest depth): one pass over the tags."""
    opened = no_elements()
    sizes = opened.sizes
    size, position, end = 0, 0, len(data)
    while position < end:
        if data[position] != LESS or position + 1 >= end:
            stop = position + 1
            while stop < end and data[stop] != LESS:
                stop += 1
            reopen(opened)
            size, position = _copy(data, position, stop, lean, size), stop
            continue
        closing = data[position + 1] == SLASH
        first = position + 2 if closing else position + 1
        if first >= end or not _letter(data[first]):
            position, size = _pass_over(data, position, closing, lean, size)
            continue
        name, name_end = _name(data, first)
        stop, size, attributes, identity, self_closed = _copy_tag(
            data, position, name_end, name, lean, size, wanted, wanted_kinds
        )
        if attributes > MAX_ATTRIBUTES:
            return ATTRIBUTES, size, sizes[DEEPEST]
        role = look_up(name, hashes, roles)
        start, position = position, stop
        if closing:
            end_tag(opened, name, role)
        elif role & (RAW | KEPT_RAW):
            if not self_closed:
                position = after_raw(data, stop, first, name_end, name == SCRIPT)
                if role & KEPT_RAW or (name == SCRIPT and is_formula(data, start, stop)):
                    size = _copy(data, stop, position, lean, size)
        else:
            start_tag(opened, name, identity, role, self_closed)
        if sizes[DEPTH] + sizes[WAITS] > MAX_DEPTH:
            return DEEP, size, sizes[DEEPEST]
        if sizes[REOPENED] > MAX_REOPENED:
            return REOPENED_OFTEN, size, sizes[DEEPEST]
    return FINE, size, sizes[DEEPEST]


@njit(cache=True, nogil=True)
def _pass_over(data: Bytes, position: int, closing: bool, lean: Bytes, size: int) -> tuple[int, int]:
    """Behind a comment, a declaration or a < that begins no tag, and the size of the copy."""
    following = data[position + 1]
    if following == BANG or following == QUESTION:
        stop = after_declaration(data, position)
        if following == BANG and position + 2 < len(data) and data[position + 2] != HYPHEN:  # a doctype, CDATA
            size = _copy(data, position, stop, lean, size)
        return stop, size
    stop = position + 1
    while closing and stop < len(data) and data[stop - 1] != GREATER:  # </1 ...> is a comment, < 1 a text
        stop += 1
    return stop, _copy(data, position, stop, lean, size)


@njit(cache=True, nogil=True)
def _letter(byte: int) -> bool:
    return 65 <= byte <= 90 or 97 <= byte <= 122


@njit(cache=True, nogil=True)
def _name(data: Bytes, position: int) -> tuple[int, int]:
    """The hash of a tag's name in lower case, and its end."""
    value = FNV_START
    while position < len(data) and data[position] > SPACE and data[position] != GREATER and data[position] != SLASH:
        byte = data[position] + 32 if 65 <= data[position] <= 90 else data[position]
        value = (value ^ np.uint64(byte)) * FNV_PRIME
        position += 1
    return value, position


@njit(cache=True, nogil=True)
def _copy_tag(
    data: Bytes, start: int, position: int, name: int, lean: Bytes, size: int, wanted: Hashes, kinds: Integers
) -> tuple[int, int, int, int, bool]:
    """Copy a tag with the attributes that are read; `position` is the end of its name.

    Returns the place after it, the size of the copy, its number of attributes, a hash of it, and whether it ends in a
    slash. A quote counts only at the start of a value: in <p title=it's> and <p "> it is a letter, and > ends the tag.
    """
    size = _copy(data, start, position, lean, size)
    identity, attributes, state = name, 0, BETWEEN
    begin, word = position, FNV_START
    while position < len(data) and data[position] != GREATER:
        byte = data[position]
        identity = (identity ^ np.uint64(byte)) * FNV_PRIME
        before = state
        if state == BEFORE_VALUE:
            if byte == 34 or byte == 39:
                position += 1
                while position < len(data) and data[position] != byte:
                    identity = (identity ^ np.uint64(data[position])) * FNV_PRIME
                    position += 1
                state = BETWEEN
            elif byte > SPACE:
                state = VALUE
        elif state == VALUE:
            state = BETWEEN if byte <= SPACE else VALUE
        elif byte == EQUALS and state != BETWEEN:
            state = BEFORE_VALUE
        elif byte <= SPACE:
            state = AFTER_NAME if state != BETWEEN else BETWEEN
        elif byte == SLASH:
            state = BETWEEN
        elif state != NAME:
            if state == AFTER_NAME:
                size = _copy_wanted(data, begin, position, word, lean, size, wanted, kinds)
            attributes, state, begin, word = attributes + 1, NAME, position, FNV_START
        if state == NAME:
            word = (word ^ np.uint64(byte + 32 if 65 <= byte <= 90 else byte)) * FNV_PRIME
        elif state == BETWEEN and before != BETWEEN:
            end = min(position + 1, len(data)) if before == BEFORE_VALUE else position
            size = _copy_wanted(data, begin, end, word, lean, size, wanted, kinds)
        position += 1
    if state != BETWEEN:
        size = _copy_wanted(data, begin, position, word, lean, size, wanted, kinds)
    self_closed = state != VALUE and data[position - 1] == SLASH
    if self_closed:
        lean[size], lean[size + 1] = SPACE, SLASH
        size += 2
    if position < len(data):
        lean[size], size = GREATER, size + 1
    return min(position + 1, len(data)), size, attributes, identity, self_closed


@njit(cache=True, nogil=True)
def _copy(data: Bytes, start: int, stop: int, lean: Bytes, size: int) -> int:
    """Append bytes to the copy; returns its size."""
    for position in range(start, stop):
        lean[size] = data[position]
        size += 1
    return size


@njit(cache=True, nogil=True)
def _copy_wanted(
    data: Bytes, start: int, stop: int, name: int, lean: Bytes, size: int, wanted: Hashes, kinds: Integers
) -> int:
    """Append an attribute if its name is one of those that are read."""
    if look_up(name, wanted, kinds) == 0:
        return size
    lean[size] = SPACE
    return _copy(data, start, stop, lean, size + 1)
