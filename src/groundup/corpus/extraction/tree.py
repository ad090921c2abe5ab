"""A parsed page as flat arrays: one pass over lexbor's serialised HTML.

lexbor builds the tree as the HTML standard says (implied end tags, misnested formatting, foster parenting). Walking it
from Python costs 0.5 microseconds per node and call; its serialised form is well-formed, so a compiled scan reads it
again at 500 MB/s. Nodes are numbered in document order, elements and texts alike:

    node i                   tag[i]: TEXT, OTHER or a number of `markup.TAGS`; parent[i] < i
    subtree of i             the nodes i .. last[i] - 1
    start[i] .. end[i]       the bytes of a text (references still escaped), or of an element's attributes
    of a formula             size[i] > 0, and start[i] .. end[i] are the bytes of its TeX: <math alttext>, <annotation
                             encoding="application/x-tex">, <script type="math/tex">, <img class="tex" alt>
    names[i]                 what class, id, role, itemprop, style and hidden say (bits of `markup`)
    size[i]                  of a text: its bytes that are no space, a reference counting one
    paragraph[i]             texts with no block boundary between them share a number

so a sum over a subtree is a difference of two prefix sums, and pruning a subtree is a jump.
"""

# Numba takes integers of any width, which pyright tells apart.
# pyright: reportArgumentType=false, reportReturnType=false

from html import unescape
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from groundup.corpus.extraction import markup

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int32]

LESS, GREATER, SLASH, QUOTE, AMPERSAND, EQUALS, SPACE = 60, 62, 47, 34, 38, 61, 32
COMMENT_MARK, SEMICOLON, HYPHEN = 33, 59, 45
FNV_START, FNV_PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)


class Tree(NamedTuple):
    """The arrays described above, all of one length but `paragraphs`."""

    tag: Integers
    parent: Integers
    last: Integers
    start: Integers
    end: Integers
    names: Integers
    size: Integers
    links: Integers  # of a text inside <a>: its size, else 0
    stops: Integers  # of a text: punctuation that ends or divides sentences
    paragraph: Integers
    paragraphs: int


def scan(html: bytes) -> Tree:
    """The tree of a serialised page."""
    data = np.frombuffer(html, dtype=np.uint8)
    room = 2 * int(np.count_nonzero(data == LESS)) + 2
    columns = np.zeros((10, room), dtype=np.int32)
    count, paragraphs = _scan(data, columns, markup.TABLES)
    tag, parent, last, start, end, names, size, links, stops, paragraph = columns[:, :count]
    return Tree(tag, parent, last, start, end, names, size, links, stops, paragraph, paragraphs)


@njit(cache=True, nogil=True)
def _scan(data: Bytes, columns: Integers, tables: markup.Tables) -> tuple[int, int]:
    """Fill the columns; returns the numbers of nodes and paragraphs."""
    tag, parent, last, start, end, names, size, links, stops, paragraph = columns
    above = np.empty(len(tag) + 1, dtype=np.int32)  # the open elements
    depth, node, position, runs, inside_link = 0, 0, 0, 0, 0
    while position < len(data):
        if data[position] != LESS:
            stop = next_tag(data, position)
            tag[node], parent[node], last[node] = markup.TEXT, above[depth - 1] if depth else -1, node + 1
            start[node], end[node], paragraph[node] = position, stop, runs
            size[node], stops[node] = measure(data, position, stop)
            links[node] = size[node] if inside_link else 0
            node, position = node + 1, stop
            continue
        following = data[position + 1] if position + 1 < len(data) else 0
        if following == COMMENT_MARK:
            position = after_comment(data, position)
            continue
        closing = following == SLASH
        name_start = position + 2 if closing else position + 1
        name_end = name_start
        while name_end < len(data) and data[name_end] > SPACE and data[name_end] != GREATER:
            name_end += 1
        number = tag_number(data, name_start, name_end, tables)
        properties = tables.properties[number]
        if properties & markup.BLOCK:
            runs += 1
        if closing:
            depth = close(tag, last, above, depth, number, node)
            if number == markup.A:
                inside_link = 0
            position = name_end + 1
            continue
        stop = end_of_tag(data, name_end)
        tag[node], parent[node], last[node] = number, above[depth - 1] if depth else -1, node + 1
        start[node], end[node] = name_end, stop
        paragraph[node] = runs
        names[node] = read_attributes(data, name_end, stop, properties, tables)
        position = stop + 1
        if properties & markup.FORMULA:
            read_formula(data, node, number, columns, tables)
            if number == markup.ANNOTATION and size[node]:
                size[node], end[node] = 0, stop
                give_to_math(data, stop, columns, above[:depth])
        if properties & markup.RAW:
            position = after_raw(data, position, name_start, name_end)
            if number == markup.SCRIPT and size[node]:  # read_formula has found it to be one
                start[node], end[node] = stop + 1, max(position - (name_end - name_start) - 3, stop + 1)
        elif not properties & markup.VOID:
            above[depth] = node
            depth += 1
            if number == markup.A:
                inside_link = 1
        node += 1
    while depth:
        depth -= 1
        last[above[depth]] = node
    return node, runs + 1


@njit(cache=True, nogil=True)
def end_of_tag(data: Bytes, position: int) -> int:
    """The > of a start tag; one inside quotes is none."""
    quoted = False
    while position < len(data) and (quoted or data[position] != GREATER):
        if data[position] == QUOTE:
            quoted = not quoted
        position += 1
    return position


@njit(cache=True, nogil=True)
def give_to_math(data: Bytes, stop: int, columns: Integers, above: Integers) -> None:
    """The content of an annotation, whose tag ends at `stop`, is the formula of the <math> around it."""
    tag, start, end, size = columns[0], columns[3], columns[4], columns[6]
    for node in above:
        if tag[node] == markup.MATH:
            start[node], end[node] = stop + 1, next_tag(data, stop + 1)
            size[node] = measure(data, stop + 1, next_tag(data, stop + 1))[0]


@njit(cache=True, nogil=True)
def next_tag(data: Bytes, position: int) -> int:
    """The place of the next tag."""
    while position < len(data) and data[position] != LESS:
        position += 1
    return position


@njit(cache=True, nogil=True)
def close(tag: Integers, last: Integers, above: Integers, depth: int, number: int, node: int) -> int:
    """Close the innermost open element with this tag and all inside it; none, and nothing happens."""
    level = depth - 1
    while level >= 0 and tag[above[level]] != number:
        level -= 1
    if level < 0:
        return depth
    for inner in range(level, depth):
        last[above[inner]] = node
    return level


@njit(cache=True, nogil=True)
def after_comment(data: Bytes, position: int) -> int:
    """The place after a comment or doctype."""
    dashes = position + 3 < len(data) and data[position + 2] == HYPHEN and data[position + 3] == HYPHEN
    stop = position + 4 if dashes else position
    while stop < len(data) and not (
        data[stop] == GREATER and (not dashes or (data[stop - 1] == HYPHEN and data[stop - 2] == HYPHEN))
    ):
        stop += 1
    return stop + 1


@njit(cache=True, nogil=True)
def after_raw(data: Bytes, position: int, name_start: int, name_end: int) -> int:
    """The place after a raw text element (script, style), whose content is no markup."""
    width = name_end - name_start
    while position + width + 1 < len(data):
        if data[position] == LESS and data[position + 1] == SLASH:
            same = True
            for offset in range(width):
                same &= data[position + 2 + offset] == data[name_start + offset]
            if same:
                return position + width + 3
        position += 1
    return len(data)


@njit(cache=True, nogil=True)
def measure(data: Bytes, position: int, stop: int) -> tuple[int, int]:
    """(bytes that are no space, sentence punctuation) of a text; a character reference counts one, &nbsp; none."""
    size, stops = 0, 0
    while position < stop:
        byte = data[position]
        if byte == AMPERSAND:
            size += data[position + 1] != 110
            while position < stop and data[position] != SEMICOLON:
                position += 1
        elif byte > SPACE:
            size += 1
            # . , ! ? and, of CJK, the last byte of U+3001, U+3002, U+FF0C, U+FF01, U+FF1F
            stops += byte == 46 or byte == 44 or byte == 33 or byte == 63
            if byte >= 0xE3 and position + 2 < stop:
                second, third = data[position + 1], data[position + 2]
                stops += byte == 0xE3 and second == 0x80 and (third == 0x81 or third == 0x82)
                stops += byte == 0xEF and second == 0xBC and (third == 0x8C or third == 0x81 or third == 0x9F)
        position += 1
    return size, stops


@njit(cache=True, nogil=True)
def fold(value: np.uint64, byte: int) -> np.uint64:
    """One step of FNV-1a over ASCII letters in lower case."""
    if 65 <= byte <= 90:
        byte += 32
    return (value ^ np.uint64(byte)) * FNV_PRIME


@njit(cache=True, nogil=True)
def look_up(value: np.uint64, hashes: NDArray[np.uint64], values: Integers) -> int:
    """The value of a hash in an open-addressing table; 0 where it is not."""
    place = np.int64(value & np.uint64(len(hashes) - 1))
    while hashes[place]:
        if hashes[place] == value:
            return values[place]
        place = (place + 1) & (len(hashes) - 1)
    return 0


@njit(cache=True, nogil=True)
def tag_number(data: Bytes, position: int, stop: int, tables: markup.Tables) -> int:
    """The number of a tag's name; OTHER for one that is not listed."""
    value = FNV_START
    for place in range(position, stop):
        value = fold(value, data[place])
    return max(look_up(value, tables.tag_hashes, tables.tag_numbers), markup.OTHER)


@njit(cache=True, nogil=True)
def read_attributes(data: Bytes, position: int, stop: int, properties: int, tables: markup.Tables) -> int:
    """The bits of an element's attributes."""
    bits, identifier = 0, 0
    while position < stop:
        if data[position] <= SPACE:
            position += 1
            continue
        value = FNV_START
        while position < stop and data[position] != EQUALS and data[position] > SPACE:
            value = fold(value, data[position])
            position += 1
        kind = look_up(value, tables.attribute_hashes, tables.attribute_kinds)
        begin = position
        if position + 1 < stop and data[position] == EQUALS:
            begin = position + 2
            position = begin
            while position < stop and data[position] != QUOTE:
                position += 1
        if kind == markup.NAMES:
            bits |= name_bits(data, begin, position, tables)
        elif kind == markup.IDENTIFIER:
            identifier = name_bits(data, begin, position, tables)
        elif kind == markup.STYLE:
            bits |= style_bits(data, begin, position)
        elif kind == markup.HIDES or (kind == markup.HIDES_IF_TRUE and position - begin == 4):  # "true"
            bits |= markup.HIDDEN
        elif kind == markup.ITEMPROP and name_bits(data, begin, position, tables) & markup.CONTENT:
            bits |= markup.CONTENT
        position += 1
    if bits & markup.SHOWN:
        bits &= ~markup.HIDDEN
    if properties & markup.NAMED and not bits & markup.SECTION:
        bits |= identifier
    return bits


@njit(cache=True, nogil=True)
def read_formula(data: Bytes, node: int, number: int, columns: Integers, tables: markup.Tables) -> None:
    """Find the TeX of an element that may be a formula; its text is then the formula's, and it has a size."""
    start, end, size = columns[3], columns[4], columns[6]
    position, stop, tex = start[node], end[node], number == markup.MATH
    if number == markup.IMG:
        tex = columns[5, node] & markup.TEX != 0
    first, last = 0, 0
    while position < stop:
        if data[position] <= SPACE:
            position += 1
            continue
        value = FNV_START
        while position < stop and data[position] != EQUALS and data[position] > SPACE:
            value = fold(value, data[position])
            position += 1
        kind = look_up(value, tables.attribute_hashes, tables.attribute_kinds)
        begin = position
        if position + 1 < stop and data[position] == EQUALS:
            begin = position + 2
            position = begin
            while position < stop and data[position] != QUOTE:
                position += 1
        if kind == markup.ALTERNATIVE and (number == markup.MATH or number == markup.IMG):
            first, last = begin, position
        elif kind == markup.FORMAT and number != markup.MATH and position - begin >= 5:
            value = FNV_START
            for place in range(begin, position):
                if data[place] == SEMICOLON:
                    break
                value = fold(value, data[place])
            if value == markup.MATH_TEX or value == markup.APPLICATION_TEX:
                tex, first, last = True, begin, position
        position += 1
    if tex and last > first:
        size[node] = measure(data, first, last)[0]
        start[node], end[node] = first, last


@njit(cache=True, nogil=True)
def name_bits(data: Bytes, position: int, stop: int, tables: markup.Tables) -> int:
    """The bits of the words of a class, an id or a role.

    `td-post-contentArea` is looked up as its words td, post, content, area, as neighbours joined (tdpost, postcontent,
    contentarea) and whole (tdpostcontentarea, with a mark, for names such as sr-only that are no words).
    """
    bits = 0
    word, pair, whole = FNV_START, FNV_START, FNV_START
    letters, total = 0, 0
    before = 0
    while position <= stop:
        byte = data[position] if position < stop else SPACE
        capital = 65 <= byte <= 90
        letter = capital or 97 <= byte <= 122
        if letters and (not letter or (capital and 97 <= before <= 122)):
            bits |= look_up(word, tables.name_hashes, tables.name_bits)
            bits |= look_up(pair, tables.name_hashes, tables.name_bits)
            pair, word, letters = word, FNV_START, 0
        if letter:
            word, pair, whole = fold(word, byte), fold(pair, byte), fold(whole, byte)
            letters, total = letters + 1, total + 1
        elif byte <= SPACE:
            if total:
                bits |= look_up(fold(whole, EQUALS), tables.name_hashes, tables.name_bits)
            pair, whole, total = FNV_START, FNV_START, 0
        before = byte
        position += 1
    return bits


@njit(cache=True, nogil=True)
def style_bits(data: Bytes, position: int, stop: int) -> int:
    """HIDDEN for a style with display:none or visibility:hidden."""
    value = FNV_START
    while position <= stop:
        byte = data[position] if position < stop else SEMICOLON
        if byte == SEMICOLON:
            if value == markup.DISPLAY_NONE or value == markup.VISIBILITY_HIDDEN:
                return markup.HIDDEN
            value = FNV_START
        elif byte == 33:  # !important
            while position + 1 < stop and data[position + 1] != SEMICOLON:
                position += 1
        elif byte > SPACE:
            value = fold(value, byte)
        position += 1
    return 0


def plain_text(html: bytes, tree: Tree, node: int) -> str:
    """The text of a subtree, references resolved, spaces as they are."""
    texts = [inner for inner in range(node, int(tree.last[node])) if tree.tag[inner] == markup.TEXT]
    joined = b"".join(html[tree.start[text] : tree.end[text]] for text in texts)
    return unescape(joined.decode("utf-8", errors="replace"))
