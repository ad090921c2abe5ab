"""The kept texts of a page as plain text that shows its structure.

    heading     ## Title                    list item    - item, 1. item, two spaces deeper per level
    table row   cell | cell                 code block   ``` lines; spaces and line ends as they are
    formula     $x^2$                       paragraph    a line; an empty line between blocks

<br>, list items, rows and the terms of a definition list end a line; any other block is set off by an empty line, but
in a list. A table that holds tables, headings or long cells is layout: its cells are blocks. Character references are
resolved, runs of white space (no-break spaces among them) are one space.
"""

# Numba takes integers of any width, which pyright tells apart.
# pyright: reportArgumentType=false, reportReturnType=false

import numpy as np
from numba import njit

from groundup.corpus.extraction import markup
from groundup.corpus.extraction.main_content import Flags
from groundup.corpus.extraction.tree import AMPERSAND, HYPHEN, SEMICOLON, SPACE, Bytes, Integers, Tree

NEWLINE, HASH, BAR, DOT, DOLLAR, BACKTICK, ZERO, LETTER_N = 10, 35, 124, 46, 36, 96, 48, 110
LONG_CELL = 200  # bytes in the mean: longer cells are columns of a layout
DEEPEST_INDENT = 8

# The writer's state: bytes written, line ends owed, a space owed, the marks that the next text starts with.
SIZE, BREAKS, SPACED, LEVEL, ITEM, NUMBER, BARS, IN_ROW, VERBATIM, FIELDS = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9
# Of an open element: its node, what it is, and how many items or cells it has had.
OPEN_NODE, OPEN_KIND, OPEN_COUNT = 0, 1, 2
OTHER_BLOCK, A_LIST, A_LIST_ITEM, A_TABLE, A_TABLE_PART, A_ROW, A_CELL, A_CODE_BLOCK = 0, 1, 2, 3, 4, 5, 6, 7


def render(html: bytes, tree: Tree, kept: Flags) -> str:
    """The text of the nodes that are kept."""
    data = np.frombuffer(html, dtype=np.uint8)
    out = np.empty(len(data) + 48 * len(kept) + 64, dtype=np.uint8)
    size = _render(data, tree, kept, markup.TABLES.properties, out)
    return out[:size].tobytes().decode("utf-8", errors="replace").strip("\n")


@njit(cache=True, nogil=True)
def _render(data: Bytes, tree: Tree, kept: Flags, properties: Integers, out: Bytes) -> int:
    """Write the text; returns its size in bytes."""
    state = np.zeros(FIELDS, dtype=np.int64)
    opened = np.zeros((len(kept) + 1, 3), dtype=np.int32)
    below = np.zeros(len(kept) + 1, dtype=np.int32)  # kept nodes before a node
    for node in range(len(kept)):
        below[node + 1] = below[node] + kept[node]
    depth, node = 0, 0
    while node < len(kept):
        while depth and tree.last[opened[depth - 1, OPEN_NODE]] <= node:
            depth -= 1
            leave(state, opened[depth, OPEN_KIND], out)
        tag, last = tree.tag[node], tree.last[node]
        if below[last] == below[node]:
            cell = depth and opened[depth - 1, OPEN_KIND] == A_ROW and properties[tag] & markup.CELL
            if tag == markup.BR:
                state[BREAKS] = min(state[BREAKS] + 1, 2)
                if state[VERBATIM]:
                    write(state, NEWLINE, out)
            elif cell:
                state[BARS] += 1
            elif properties[tag] & markup.BLOCK:
                state[BREAKS] = max(state[BREAKS], 1)
            node = last
            continue
        if kept[node]:
            if tag:
                write_text(data, tree.start[node], tree.end[node], state, True, out)
                node = last
                continue
            write_text(data, tree.start[node], tree.end[node], state, False, out)
        elif properties[tag] & markup.BLOCK:
            opened[depth, OPEN_NODE], opened[depth, OPEN_COUNT] = node, 0
            opened[depth, OPEN_KIND] = enter(tree, node, properties, state, opened, depth, out)
            depth += 1
        node += 1
    while depth:
        depth -= 1
        leave(state, opened[depth, OPEN_KIND], out)
    return state[SIZE]


@njit(cache=True, nogil=True)
def enter(
    tree: Tree, node: int, properties: Integers, state: Integers, opened: Integers, depth: int, out: Bytes
) -> int:
    """Begin a block: the line ends and marks before its text. Returns its kind."""
    tag = tree.tag[node]
    lists, above = 0, -1
    for place in range(depth):
        lists += opened[place, OPEN_KIND] == A_LIST
        above = place
    parent = opened[above, OPEN_KIND] if above >= 0 else OTHER_BLOCK
    if properties[tag] & markup.LIST:
        state[BREAKS] = max(state[BREAKS], 1 if lists else 2)
        return A_LIST
    if tag == markup.LI:
        state[BREAKS] = max(state[BREAKS], 1)
        state[ITEM], state[NUMBER] = max(lists, 1), 0
        if parent == A_LIST:
            opened[above, OPEN_COUNT] += 1
            if tree.tag[opened[above, OPEN_NODE]] == markup.OL:
                state[NUMBER] = opened[above, OPEN_COUNT]
        return A_LIST_ITEM
    if tag == markup.PRE:
        state[BREAKS] = 2
        flush(state, out)
        for _ in range(3):
            write(state, BACKTICK, out)
        write(state, NEWLINE, out)
        state[VERBATIM] = 1
        return A_CODE_BLOCK
    if tag == markup.TABLE:
        state[BREAKS] = 2
        return A_TABLE if is_data(tree, node, properties) else OTHER_BLOCK
    if tag == markup.TR:
        state[BREAKS], state[BARS] = max(state[BREAKS], 1), 0
        return A_ROW if parent == A_TABLE or parent == A_TABLE_PART else OTHER_BLOCK
    if properties[tag] & markup.CELL and parent == A_ROW:
        opened[above, OPEN_COUNT] += 1
        state[BARS] += opened[above, OPEN_COUNT] > 1
        return A_CELL
    if parent == A_TABLE and tag != markup.CAPTION:
        return A_TABLE_PART
    if parent == A_CELL:
        state[SPACED] = 1
        return A_CELL
    if properties[tag] & markup.HEADING:
        state[LEVEL] = tag - markup.H1 + 1
    small = parent == A_LIST_ITEM or lists or tag == markup.DT or tag == markup.DD
    state[BREAKS] = max(state[BREAKS], 1 if small else 2)
    return A_LIST_ITEM if small else OTHER_BLOCK


@njit(cache=True, nogil=True)
def leave(state: Integers, kind: int, out: Bytes) -> None:
    """End a block."""
    if kind == A_CODE_BLOCK:
        state[VERBATIM] = 0
        while state[SIZE] and out[state[SIZE] - 1] <= SPACE:
            state[SIZE] -= 1
        write(state, NEWLINE, out)
        for _ in range(3):
            write(state, BACKTICK, out)
        state[BREAKS] = 2
    elif kind == A_CELL:
        state[SPACED] = 1
    elif kind == A_LIST_ITEM or kind == A_ROW:
        state[BREAKS] = max(state[BREAKS], 1)
        state[BARS] = 0
    elif kind == A_LIST or kind == A_TABLE_PART:
        state[BREAKS] = max(state[BREAKS], 1)
    else:
        state[BREAKS] = 2
    if kind != A_CELL:
        state[LEVEL] = 0


@njit(cache=True, nogil=True)
def is_data(tree: Tree, node: int, properties: Integers) -> bool:
    """Whether a table holds data, not the layout of the page."""
    cells, size = 0, 0
    for inner in range(node + 1, tree.last[node]):
        tag = tree.tag[inner]
        if tag == markup.TABLE or properties[tag] & markup.HEADING or tag == markup.PRE:
            return False
        cells += (properties[tag] & markup.CELL) != 0
        size += tree.size[inner] if tag == markup.TEXT else 0
    return cells > 1 and size <= LONG_CELL * cells


@njit(cache=True, nogil=True)
def write(state: Integers, byte: int, out: Bytes) -> None:
    """One byte."""
    out[state[SIZE]] = byte
    state[SIZE] += 1


@njit(cache=True, nogil=True)
def flush(state: Integers, out: Bytes) -> None:
    """What is owed before a text: line ends, or a space; then the marks of its block."""
    if state[SIZE] and state[BREAKS]:
        for _ in range(state[BREAKS]):
            write(state, NEWLINE, out)
    elif state[SIZE] and state[SPACED] and not state[BARS]:
        write(state, SPACE, out)
    state[BREAKS], state[SPACED] = 0, 0
    for _ in range(state[BARS]):
        write(state, SPACE, out)
        write(state, BAR, out)
    if state[BARS]:
        write(state, SPACE, out)
    if state[ITEM]:
        for _ in range(2 * (min(state[ITEM], DEEPEST_INDENT) - 1)):
            write(state, SPACE, out)
        if state[NUMBER]:
            place = 1
            while place * 10 <= state[NUMBER]:
                place *= 10
            while place:
                write(state, ZERO + state[NUMBER] // place % 10, out)
                place //= 10
            write(state, DOT, out)
        else:
            write(state, HYPHEN, out)
        write(state, SPACE, out)
    elif state[LEVEL]:
        for _ in range(state[LEVEL]):
            write(state, HASH, out)
        write(state, SPACE, out)
    state[BARS], state[ITEM], state[LEVEL] = 0, 0, 0


@njit(cache=True, nogil=True)
def write_text(data: Bytes, position: int, stop: int, state: Integers, formula: bool, out: Bytes) -> None:
    """A text with its references resolved; a formula between dollar signs."""
    while formula and position < stop and data[position] <= SPACE:
        position += 1
    started = False
    while position < stop:
        byte, width = np.int64(data[position]), 1
        if byte == AMPERSAND:
            byte, width = reference(data, position, stop)
        position += width
        if byte <= SPACE:
            if state[VERBATIM]:
                if byte != 13:
                    write(state, byte, out)
            else:
                state[SPACED] = 1
            continue
        if formula and not started:
            flush(state, out)
            write(state, DOLLAR, out)
            started = True
        elif (state[BREAKS] and not state[VERBATIM]) or state[SPACED] or state[BARS] or state[ITEM] or state[LEVEL]:
            flush(state, out)
        write(state, byte, out)
    if started:
        state[SPACED] = 0
        write(state, DOLLAR, out)


@njit(cache=True, nogil=True)
def reference(data: Bytes, position: int, stop: int) -> tuple[int, int]:
    """(byte, width) of a character reference of serialised HTML: amp, lt, gt, quot, nbsp (a space here)."""
    end = position
    while end < stop and data[end] != SEMICOLON and end - position < 6:
        end += 1
    if end >= stop or data[end] != SEMICOLON:
        return AMPERSAND, 1
    width, second = end - position + 1, data[position + 1]
    if second == LETTER_N:
        return SPACE, width
    if second == 108:
        return 60, width
    if second == 103:
        return 62, width
    return (34, width) if second == 113 else (AMPERSAND, width)
