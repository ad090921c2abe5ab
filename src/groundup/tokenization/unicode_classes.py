"""One class per Unicode code point: all that the pre-token patterns ask of a character.

The table is that of the Rust regex engine in tiktoken, with which the published vocabularies were made. The `regex`
module knows a newer Unicode and disagrees at thousands of code points, and the next release of either may move again;
so the classes are data of ours. `unicode_classes.txt` beside this file holds them as runs;
`scripts/generate_unicode_classes.py` writes it by asking tiktoken, and the tests compare every code point.

Classes are numbered so that a character is a letter when its class is at least LOWER. Code points without a class of
their own (punctuation, symbols, controls, unassigned ones, private use, surrogates) are OTHER.
"""

from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

OTHER, WHITESPACE, NUMBER, MARK, LOWER, UPPER, LETTER = range(7)
# Each class's name in the file and the expression of its members; OTHER is the rest. Title-case letters (Lt) count as
# upper case; LETTER are those without case (Lo) and modifiers (Lm).
CLASSES = {
    WHITESPACE: ("WHITESPACE", r"\s"),
    NUMBER: ("NUMBER", r"\p{N}"),
    MARK: ("MARK", r"\p{M}"),
    LOWER: ("LOWER", r"\p{Ll}"),
    UPPER: ("UPPER", r"[\p{Lu}\p{Lt}]"),
    LETTER: ("LETTER", r"[\p{Lm}\p{Lo}]"),
}
CODE_POINTS = 0x110000
FILE = Path(__file__).with_name("unicode_classes.txt")


@cache
def class_table() -> npt.NDArray[np.uint8]:
    """The class of every code point, uint8 [0x110000], read-only."""
    numbers = {name: number for number, (name, _) in CLASSES.items()}
    table = np.zeros(CODE_POINTS, dtype=np.uint8)
    for line in FILE.read_text(encoding="ascii").splitlines():
        if not line.startswith("#"):
            first, last, name = line.split()
            table[int(first, 16) : int(last, 16) + 1] = numbers[name]
    table.flags.writeable = False
    return table


def class_of(character: str) -> int:
    """The class of one character."""
    return int(class_table()[ord(character)])
