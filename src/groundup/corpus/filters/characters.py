"""What kind of character each code point is, as bits in one table that compiled code indexes.

    SPACE      white space, where `str.split` splits       BREAK     a line break, where `str.splitlines` splits
    ALPHA      a letter, `str.isalpha`                     CONTENT   not in PUNCTUATION: a word of others is no word
    TERMINAL   ends a sentence in some script              CLOSER    may stand between the end and the next sentence
    DIGIT      a decimal digit, `\\d` in a pattern          SYMBOL    one of # . and the ellipsis: Gopher counts them

PUNCTUATION and TERMINAL_PUNCTUATION are the sets that FineWeb's rules use, so that decisions agree to the document: the
first is CCNet's (arXiv:1911.00359, with the full-width digit one that slipped into it) and the control characters, the
second Unicode's property Sentence_Terminal with three Khmer signs. They are written down here and not asked of the
installed Unicode version, which would change what is kept from one Python to the next.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Number = Any
"""an integer of compiled code, which to the type checker is one of NumPy's"""

SPACE, BREAK, ALPHA, CONTENT, TERMINAL, CLOSER, DIGIT, SYMBOL = (1 << bit for bit in range(8))
CODE_POINTS = 0x110000
ASSIGNED = 0x40000  # the planes above hold no letters, digits or spaces

_TERMINAL = """
    21 2e 3f 589 61d-61f 6d4 700-702 7f9 837 839 83d-83e 964-965 104a-104b 1362 1367-1368 166e 1735-1736 17d4-17d6
    17d9-17da 1803 1809 1944-1945 1aa8-1aab 1b5a-1b5b 1b5e-1b5f 1b7d-1b7e 1c3b-1c3c 1c7e-1c7f 203c-203d 2047-2049 2e2e
    2e3c 2e53-2e54 3002 a4ff a60e-a60f a6f3 a6f7 a876-a877 a8ce-a8cf a92f a9c8-a9c9 aa5d-aa5f aaf0-aaf1 abeb fe52
    fe56-fe57 ff01 ff0e ff1f ff61 10a56-10a57 10f55-10f59 10f86-10f89 11047-11048 110be-110c1 11141-11143 111c5-111c6
    111cd 111de-111df 11238-11239 1123b-1123c 112a9 1144b-1144c 115c2-115c3 115c9-115d7 11641-11642 1173c-1173e 11944
    11946 11a42-11a43 11a9b-11a9c 11c41-11c42 11ef7-11ef8 11f43-11f44 16a6e-16a6f 16af5 16b37-16b38 16b44 16e98 1bc9f
    1da88"""
_PUNCTUATION = """
    0-8 b-1f 21-2f 3a-40 5b-60 7b-9f ab b4 bb 2013-2014 2019 201c-201e 2026 2236 2501 25ba 3001-3002 3008-300d
    3010-3011 ff01 ff05 ff08-ff09 ff0c ff0e ff11 ff1a-ff1b ff1f ff5e"""


def _characters(ranges: str) -> frozenset[str]:
    bounds = re.findall(r"([0-9a-f]+)(?:-([0-9a-f]+))?", ranges)
    return frozenset(chr(c) for low, high in bounds for c in range(int(low, 16), int(high or low, 16) + 1))


TERMINAL_PUNCTUATION = _characters(_TERMINAL)
PUNCTUATION = _characters(_PUNCTUATION) | TERMINAL_PUNCTUATION
CLOSERS = frozenset("\"')]’”»›」』】）")
C4_ENDS = (".", "?", "!", '"', "'")
"""what a line of English ends with"""
UNSPACED_ENDS = frozenset("。！？｡．")
"""end a sentence whatever follows"""

_BREAKS = "\n\v\f\r\x1c\x1d\x1e\x85\u2028\u2029"


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """A kernel: machine code, kept on disk, that lets other threads run."""
    return njit(cache=True, nogil=True)(function)


@lru_cache(maxsize=1)
def classes() -> NDArray[np.uint8]:
    """The bits of each code point; made once, in a tenth of a second."""
    table = np.full(CODE_POINTS, CONTENT, np.uint8)
    everything = [chr(code) for code in range(ASSIGNED)]
    for bit, holds in ((SPACE, str.isspace), (ALPHA, str.isalpha), (DIGIT, str.isdecimal)):
        table[:ASSIGNED] |= np.fromiter(map(holds, everything), bool, ASSIGNED).astype(np.uint8) * np.uint8(bit)
    for bit, members in ((BREAK, _BREAKS), (TERMINAL, TERMINAL_PUNCTUATION), (CLOSER, CLOSERS), (SYMBOL, "#.…")):
        table[[ord(c) for c in members]] |= bit
    table[[ord(c) for c in PUNCTUATION]] &= ~CONTENT & 0xFF
    return table


@compiled
def decode(data: NDArray[np.uint8], place: int) -> tuple[Number, Number]:
    """The code point at a place in valid UTF-8, and the place behind it."""
    first = np.int64(data[place])
    if first < 0x80:
        return first, place + 1
    second = np.int64(data[place + 1]) & 0x3F
    if first < 0xE0:
        return (first & 0x1F) << 6 | second, place + 2
    third = np.int64(data[place + 2]) & 0x3F
    if first < 0xF0:
        return (first & 0x0F) << 12 | second << 6 | third, place + 3
    return (first & 0x07) << 18 | second << 12 | third << 6 | np.int64(data[place + 3]) & 0x3F, place + 4


@compiled
def last_character(data: NDArray[np.uint8], start: int, end: int) -> Number:
    """The last code point of a stretch of valid UTF-8 that is not empty."""
    place = end - 1
    while place > start and data[place] & 0xC0 == 0x80:
        place -= 1
    return decode(data, place)[0]


def pack(texts: list[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Documents one behind the other, and where each begins and the last ends."""
    offsets = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([len(text) for text in texts], out=offsets[1:])
    return np.frombuffer(bytearray(b"".join((*texts, bytes(8)))), np.uint8), offsets
