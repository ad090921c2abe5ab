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
from groundup.corpus.extraction.skipping import after_declaration, after_raw, is_formula
from groundup.corpus.extraction.tag_roles import (
    ADDRESS,
    CLOSES_P,
    DD,
    DIV,
    DT,
    FORMATTING,
    HASHES,
    KEPT_RAW,
    LI,
    RAW,
    ROLES_OF,
    ROWS,
    SCOPE,
    SCRIPT,
    SPECIAL,
    TABLE,
    TEMPLATE,
    VOID,
    A,
    P,
    look_up,
)

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int32]
Hashes = NDArray[np.uint64]

MAX_BYTES = 64 << 20
MAX_DEPTH = 512  # as Chrome's; beyond, it flattens
MAX_ATTRIBUTES = 1000
MAX_REOPENED = 1_000_000  # formatting elements that the parser would insert again
CONTROL_SHARE = 0.02

LESS, GREATER, SLASH, BANG, QUESTION, EQUALS, SPACE, HYPHEN = 60, 62, 47, 33, 63, 61, 32, 45
FNV_START, FNV_PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
FINE, DEEP, ATTRIBUTES, REOPENED = 0, 1, 2, 3
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
        REOPENED: "unclosed formatting that multiplies",
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
    names = np.zeros(MAX_DEPTH + 2, dtype=np.uint64)  # the open elements
    identities = np.zeros(MAX_DEPTH + 2, dtype=np.uint64)  # hashes of the whole tags, to tell <font> from <font a=1>
    kinds = np.zeros(MAX_DEPTH + 2, dtype=np.int32)
    waiting = np.zeros((MAX_DEPTH + 2, 2), dtype=np.uint64)  # formatting to be reopened: (name, identity)
    depth, deepest, waits, reopened, size, position = 0, 0, 0, 0, 0, 0
    end = len(data)
    while position < end:
        if data[position] != LESS or position + 1 >= end:
            lean[size] = data[position]
            size, position = size + 1, position + 1
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
            return ATTRIBUTES, size, depth
        role = look_up(name, hashes, roles)
        start, position = position, stop
        if role & VOID:
            continue
        if closing:
            depth, waits = _close(names, identities, kinds, depth, waiting, waits, name, role)
            continue
        if role & (RAW | KEPT_RAW) and not self_closed:
            position = after_raw(data, stop, first, name_end, name == SCRIPT)
            if role & KEPT_RAW or (name == SCRIPT and is_formula(data, start, stop)):
                size = _copy(data, stop, position, lean, size)
            continue
        if _rank(name) > 0 and not _in_table(names, depth):
            continue  # the parser ignores cells outside of tables
        if name == A:  # ends the <a> before it
            depth, waits = _close(names, identities, kinds, depth, waiting, waits, name, role)
        depth, waits = _open(names, identities, kinds, depth, waiting, waits, name, role)
        if role & CLOSES_P:
            reopened += waits
        if depth + waits >= MAX_DEPTH:
            return DEEP, size, depth
        if reopened > MAX_REOPENED:
            return REOPENED, size, depth
        names[depth], identities[depth], kinds[depth] = name, identity, role
        depth += 1
        deepest = max(deepest, depth)
    return FINE, size, deepest


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
def _open(
    names: Hashes, identities: Hashes, kinds: Integers, depth: int, waiting: Hashes, waits: int, name: int, role: int
) -> tuple[int, int]:
    """What a start tag closes: an open <p>, the item or cell before it."""
    level = depth - 1
    if name == LI or name == DD or name == DT:
        while level >= 0 and not (names[level] == name or (name != LI and (names[level] == DD or names[level] == DT))):
            if kinds[level] & (SPECIAL | SCOPE) and not (
                names[level] == ADDRESS or names[level] == DIV or names[level] == P
            ):
                level = -1
            level -= 1
        if level >= 0:
            depth, waits = _pop(names, identities, kinds, depth, level, waiting, waits)
    rank = _rank(name)
    if rank > 0:  # a part of a table closes parts of its rank and below, up to the table
        level, found = depth - 1, -1
        while level >= 0 and names[level] != TABLE and names[level] != TEMPLATE:
            if _rank(names[level]) >= rank:
                found = level
            level -= 1
        if found >= 0:
            depth, waits = _pop(names, identities, kinds, depth, found, waiting, waits)
    if role & CLOSES_P:
        level = depth - 1
        while level >= 0 and names[level] != P and not kinds[level] & SCOPE:
            level -= 1
        if level >= 0 and names[level] == P:
            depth, waits = _pop(names, identities, kinds, depth, level, waiting, waits)
    return depth, waits


@njit(cache=True, nogil=True)
def _close(
    names: Hashes, identities: Hashes, kinds: Integers, depth: int, waiting: Hashes, waits: int, name: int, role: int
) -> tuple[int, int]:
    """What an end tag closes. The search ends at a table or an object; that of <span> at any block.

    The end tag of a formatting element takes away that element alone where a block was opened inside it.
    """
    level, blocks = depth - 1, False
    rank = _rank(name)
    while level >= 0 and names[level] != name:
        barrier = kinds[level] & SCOPE and not (rank >= 0 and _rank(names[level]) > rank)
        if barrier or (kinds[level] & SPECIAL and not role & (SPECIAL | FORMATTING | SCOPE)):
            return depth, waits
        blocks |= kinds[level] & SPECIAL != 0
        level -= 1
    if level < 0:
        for place in range(waits - 1, -1, -1):
            if waiting[place, 0] == name:
                waiting[place] = waiting[waits - 1]
                return depth, waits - 1
        return depth, waits
    if role & FORMATTING and blocks:
        for place in range(level, depth - 1):
            names[place], identities[place] = names[place + 1], identities[place + 1]
            kinds[place] = kinds[place + 1]
        return depth - 1, waits
    depth, waits = _pop(names, identities, kinds, depth, level + 1, waiting, waits)
    return level, waits


@njit(cache=True, nogil=True)
def _pop(
    names: Hashes, identities: Hashes, kinds: Integers, depth: int, level: int, waiting: Hashes, waits: int
) -> tuple[int, int]:
    """Close all from a level on; formatting among it waits to be reopened (at most three that are equal)."""
    for place in range(level, depth):
        if not kinds[place] & FORMATTING or waits >= MAX_DEPTH:
            continue
        same = 0
        for other in range(waits):
            same += waiting[other, 1] == identities[place] or (names[place] == A and waiting[other, 0] == A)
        if same < (1 if names[place] == A else 3):
            waiting[waits, 0], waiting[waits, 1] = names[place], identities[place]
            waits += 1
    return level, waits


@njit(cache=True, nogil=True)
def _rank(name: int) -> int:
    """0 for a table, 1 for its sections, 2 for rows, 3 for cells; -1 for anything else."""
    for place in range(len(ROWS)):
        if ROWS[place] == name:
            return 0 if place == 0 else 1 if place < 4 else 2 if place == 4 else 3
    return -1


@njit(cache=True, nogil=True)
def _in_table(names: Hashes, depth: int) -> bool:
    """Whether a table is open."""
    for level in range(depth):
        if names[level] == TABLE or names[level] == TEMPLATE:
            return True
    return False


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
