"""How deep a parser's tree gets: the open elements, by the rules of the HTML standard that decide depth.

The standard's parser keeps a stack of open elements, and a list of formatting elements that are active: <b> that is
closed by a </p> around it is opened again by the next text, at every level anew. Both are followed here, tag by tag:

    start_tag      what it closes (<p>, the item or cell before, another <a>), what is reopened, the element itself
    end_tag        where the search for what it closes stops; </b> takes away a <b> alone where a block is inside it
    reopen         a text or an element within a line opens the formatting again that waits

Of equal formatting elements at most three are active (the standard's "Noah's Ark clause"), and none crosses the border
of a cell or an object (a "marker"). Source: HTML, "Tree construction", sections 13.2.4 and 13.2.6 of
https://html.spec.whatwg.org. The depth is at least half of what a parser makes, as implied elements (<tbody>) are not
counted; where a rule is left out, more stays open here than there. In <svg> and <math> the rules are followed roughly.
"""

# Numba takes integers of any width, which pyright tells apart.
# pyright: reportArgumentType=false, reportReturnType=false

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from groundup.corpus.extraction.tag_roles import (
    ADDRESS,
    BREAKS_OUT,
    CLOSES_P,
    DD,
    DIV,
    DT,
    FONT,
    FOREIGN,
    FORMATTING,
    HEADING,
    INTEGRATION,
    LI,
    LISTS,
    MARKER,
    NOBR,
    NOSCRIPT,
    SCOPE,
    SPECIAL,
    TABLE,
    TABLE_PARTS,
    TEMPLATE,
    VOID,
    A,
    P,
)

Hashes = NDArray[np.uint64]

MAX_DEPTH = 512  # as Chrome's; beyond, it flattens
MOST_EQUAL = 3  # active formatting elements
BARRIER = SCOPE | INTEGRATION  # where the search for an element to close ends
DEPTH, DEEPEST, WAITS, FLOOR, REOPENED, FOREIGNERS = 0, 1, 2, 3, 4, 5  # places in `sizes`


class OpenElements(NamedTuple):
    """The stack, `sizes[DEPTH]` high; beside it the formatting that waits to be reopened, from `sizes[FLOOR]` on:
    what is below waits outside of the innermost marker. `floors` has the floor outside of each marker."""

    names: Hashes
    identities: Hashes  # hashes of the whole tags, to tell <font> from <font a=1>
    kinds: NDArray[np.int32]
    active: NDArray[np.bool_]
    floors: NDArray[np.int64]
    waiting: Hashes  # (name, identity)
    sizes: NDArray[np.int64]


@njit(cache=True, nogil=True)
def no_elements() -> OpenElements:
    """The state in front of a page. The stack and what waits are at most MAX_DEPTH + 1 together."""
    room = MAX_DEPTH + 2
    return OpenElements(
        np.zeros(room, dtype=np.uint64),
        np.zeros(room, dtype=np.uint64),
        np.zeros(room, dtype=np.int32),
        np.zeros(room, dtype=np.bool_),
        np.zeros(room, dtype=np.int64),
        np.zeros((room, 2), dtype=np.uint64),
        np.zeros(6, dtype=np.int64),
    )


@njit(cache=True, nogil=True)
def start_tag(state: OpenElements, name: int, identity: int, role: int, self_closed: bool) -> None:
    """Close what the tag closes, reopen formatting, and open the element."""
    if state.sizes[FOREIGNERS]:
        if role & BREAKS_OUT or (name == FONT and identity != name):  # <font> with attributes only
            _break_out(state)
        if _foreign(state) >= 0:
            if not self_closed:  # as <path/> is
                _push(state, name, identity, role & (FOREIGN | INTEGRATION))
            return
    if _rank(name) > 0 and not in_table(state):
        return  # the parser ignores cells outside of tables
    if name == A or name == NOBR:  # each ends the one before it
        _end_formatting(state, name)
    _close_before(state, name, role)
    if not role & CLOSES_P and _rank(name) < 0:
        reopen(state)
    if role & VOID:
        return
    if role & FORMATTING:
        _forget_fourth(state, identity)
    _push(state, name, identity, role & ~INTEGRATION)
    if role & MARKER:
        state.floors[state.sizes[DEPTH] - 1], state.sizes[FLOOR] = state.sizes[FLOOR], state.sizes[WAITS]


@njit(cache=True, nogil=True)
def reopen(state: OpenElements) -> None:
    """Open what waits inside of the innermost marker."""
    sizes = state.sizes
    for place in range(sizes[FLOOR], sizes[WAITS]):
        _push(state, state.waiting[place, 0], state.waiting[place, 1], FORMATTING)
        sizes[REOPENED] += 1
    sizes[WAITS] = sizes[FLOOR]


@njit(cache=True, nogil=True)
def end_tag(state: OpenElements, name: int, role: int) -> None:
    """Close what an end tag closes. The search ends at a table or an object; that of </span> at any block, that of
    </li> at a list; </h2> closes any heading."""
    if name == P and state.sizes[FOREIGNERS]:
        _break_out(state)
    if role & FORMATTING and _end_formatting(state, name):
        return
    level, rank = state.sizes[DEPTH] - 1, _rank(name)
    while level >= 0 and not (state.names[level] == name or (role & HEADING and state.kinds[level] & HEADING)):
        kind = state.kinds[level]
        barrier = kind & BARRIER and not (rank >= 0 and _rank(state.names[level]) > rank)
        if (
            barrier
            or (kind & SPECIAL and (name == NOSCRIPT or not role & (SPECIAL | SCOPE)))
            or (name == LI and kind & LISTS)
        ):
            return
        level -= 1
    around_html = level >= 0 and state.kinds[level] & INTEGRATION and level < state.sizes[DEPTH] - 1
    if level >= 0 and not around_html:
        _pop(state, level)


@njit(cache=True, nogil=True)
def in_table(state: OpenElements) -> bool:
    """Whether a table is open."""
    for level in range(state.sizes[DEPTH]):
        if state.names[level] == TABLE or state.names[level] == TEMPLATE:
            return True
    return False


@njit(cache=True, nogil=True)
def _push(state: OpenElements, name: int, identity: int, kind: int) -> None:
    depth = state.sizes[DEPTH]
    state.names[depth], state.identities[depth], state.kinds[depth] = name, identity, kind
    state.active[depth] = kind & FORMATTING != 0
    state.sizes[FOREIGNERS] += kind & FOREIGN != 0
    state.sizes[DEPTH] = depth + 1
    state.sizes[DEEPEST] = max(state.sizes[DEEPEST], depth + 1)


@njit(cache=True, nogil=True)
def _pop(state: OpenElements, level: int) -> None:
    """Close all from a level on; active formatting among it waits to be reopened, unless a marker ends with it."""
    sizes, end = state.sizes, state.sizes[DEPTH]
    for place in range(sizes[DEPTH] - 1, level - 1, -1):
        sizes[FOREIGNERS] -= state.kinds[place] & FOREIGN != 0
        if state.kinds[place] & MARKER:
            sizes[WAITS], sizes[FLOOR], end = sizes[FLOOR], state.floors[place], place
    for place in range(level, end):
        if state.active[place]:
            state.waiting[sizes[WAITS], 0] = state.names[place]
            state.waiting[sizes[WAITS], 1] = state.identities[place]
            sizes[WAITS] += 1
    sizes[DEPTH] = level


@njit(cache=True, nogil=True)
def _close_before(state: OpenElements, name: int, role: int) -> None:
    """What a start tag closes: the item or cell before it, an open <p>."""
    names, kinds = state.names, state.kinds
    level = state.sizes[DEPTH] - 1
    if name == LI or name == DD or name == DT:
        while level >= 0 and not (names[level] == name or (name != LI and (names[level] == DD or names[level] == DT))):
            if kinds[level] & (SPECIAL | BARRIER) and not (
                names[level] == ADDRESS or names[level] == DIV or names[level] == P
            ):
                level = -1
            level -= 1
        if level >= 0:
            _pop(state, level)
    rank = _rank(name)
    if rank > 0:  # a part of a table closes parts of its rank and below, up to the table
        level, found = state.sizes[DEPTH] - 1, -1
        while level >= 0 and names[level] != TABLE and names[level] != TEMPLATE:
            if _rank(names[level]) >= rank:
                found = level
            level -= 1
        if found >= 0:
            _pop(state, found)
    if role & CLOSES_P:
        level = state.sizes[DEPTH] - 1
        while level >= 0 and names[level] != P and not kinds[level] & BARRIER:
            level -= 1
        if level >= 0 and names[level] == P:
            _pop(state, level)
    if role & HEADING and state.sizes[DEPTH] and kinds[state.sizes[DEPTH] - 1] & HEADING:
        _pop(state, state.sizes[DEPTH] - 1)


@njit(cache=True, nogil=True)
def _end_formatting(state: OpenElements, name: int) -> bool:
    """Take away the formatting element of this name that became active last; whether there was one. Around a block it
    goes alone, as the standard's "adoption agency" has it, otherwise with all inside it."""
    sizes = state.sizes
    for place in range(sizes[WAITS] - 1, sizes[FLOOR] - 1, -1):
        if state.waiting[place, 0] == name:
            state.waiting[place : sizes[WAITS] - 1] = state.waiting[place + 1 : sizes[WAITS]].copy()
            sizes[WAITS] -= 1
            return True
    level, blocks, scoped = sizes[DEPTH] - 1, False, True
    while level >= 0 and not (state.names[level] == name and state.active[level]):
        if state.kinds[level] & MARKER:
            return False
        scoped &= state.kinds[level] & BARRIER == 0
        blocks |= state.kinds[level] & SPECIAL != 0
        level -= 1
    if level < 0 or not scoped:
        return level >= 0
    state.active[level] = False
    if not blocks:
        _pop(state, level)
        return True
    for place in range(level, sizes[DEPTH] - 1):
        state.names[place], state.identities[place] = state.names[place + 1], state.identities[place + 1]
        state.kinds[place], state.active[place] = state.kinds[place + 1], state.active[place + 1]
    sizes[DEPTH] -= 1
    return True


@njit(cache=True, nogil=True)
def _forget_fourth(state: OpenElements, identity: int) -> None:
    """Of equal formatting elements the first is no longer active when another one than the third comes."""
    equal, first, level = 0, -1, state.sizes[DEPTH] - 1
    while level >= 0 and not state.kinds[level] & MARKER:
        if state.active[level] and state.identities[level] == identity:
            equal, first = equal + 1, level
        level -= 1
    if equal >= MOST_EQUAL:
        state.active[first] = False


@njit(cache=True, nogil=True)
def _break_out(state: OpenElements) -> None:
    """Close <svg> and <math>, in which <p> and the like do not stand."""
    level = _foreign(state)
    while level >= 0:
        _pop(state, level)
        level = _foreign(state)


@njit(cache=True, nogil=True)
def _foreign(state: OpenElements) -> int:
    """The place of the <svg> or <math> that the next tag stands in, -1 in HTML."""
    for level in range(state.sizes[DEPTH] - 1, -1, -1):
        if state.kinds[level] & (FOREIGN | INTEGRATION):
            return level if state.kinds[level] & FOREIGN else -1
    return -1


@njit(cache=True, nogil=True)
def _rank(name: int) -> int:
    """0 for a table, 1 for its caption and sections, 2 for rows, 3 for cells; -1 for anything else."""
    for place in range(len(TABLE_PARTS)):
        if TABLE_PARTS[place] == name:
            return 0 if place == 0 else 1 if place < 5 else 2 if place == 5 else 3
    return -1
