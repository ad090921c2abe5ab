#!/usr/bin/env python3
"""Writes src/groundup/tokenization/unicode_classes.txt: the class of every code point, as tiktoken's engine has it.

    scripts/generate_unicode_classes.py            write the file
    scripts/generate_unicode_classes.py --check    change nothing; exit code 1 if the file is out of date

tiktoken encodes what its pattern matches and drops the rest. With the 256 bytes as its whole vocabulary and the
expression of a class as its pattern, the encoding of all characters is therefore the UTF-8 of the members of the class.
"""

import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tiktoken

from groundup.tokenization.unicode_classes import CLASSES, CODE_POINTS, FILE, OTHER

ROOT = Path(__file__).resolve().parents[1]
BYTES = {bytes([byte]): byte for byte in range(256)}
EVERYTHING = "".join(map(chr, (*range(0xD800), *range(0xE000, CODE_POINTS))))  # no surrogates: they are no characters
HEADER = """\
# First and last code point of a run in hexadecimal, and the class of the run; what is not listed is OTHER.
# Unicode {unicode}, as in tiktoken {tiktoken}. Written by scripts/generate_unicode_classes.py.
"""


def main(arguments: list[str]) -> int:
    """Write or check the file; returns the exit code."""
    table = classes()
    text = HEADER.format(unicode=unicode_version(), tiktoken=tiktoken.__version__) + "".join(runs(table))
    shown = FILE.relative_to(ROOT)
    if "--check" in arguments:
        if not FILE.exists() or FILE.read_text(encoding="ascii") != text:
            sys.stderr.write(f"{shown} is out of date; run scripts/generate_unicode_classes.py.\n")
            return 1
    else:
        FILE.write_text(text, encoding="ascii")
        sys.stdout.write(f"{shown} classifies {np.count_nonzero(table)} code points.\n")
    return 0


def classes() -> npt.NDArray[np.uint8]:
    """The class of each code point, uint8 [0x110000]."""
    table = np.full(CODE_POINTS, OTHER, dtype=np.uint8)
    for number, (name, expression) in CLASSES.items():
        members = [ord(character) for character in matched(expression)]
        assert (table[members] == OTHER).all(), f"{name} overlaps another class"
        table[members] = number
    return table


def matched(expression: str) -> str:
    """The characters that an expression matches in tiktoken's engine."""
    encoding = tiktoken.Encoding("probe", pat_str=expression, mergeable_ranks=BYTES, special_tokens={})
    return bytes(encoding.encode_ordinary(EVERYTHING)).decode()


def runs(table: npt.NDArray[np.uint8]) -> Iterator[str]:
    """A line per run of code points of one class, but for OTHER."""
    starts = [0, *(np.flatnonzero(np.diff(table)) + 1).tolist(), len(table)]
    for start, end in pairwise(starts):
        if table[start] != OTHER:
            yield f"{start:04X} {end - 1:04X} {CLASSES[table[start]][0]}\n"


def unicode_version() -> str:
    """The newest version of Unicode of which tiktoken's engine knows the characters."""
    for major in range(99, 0, -1):
        try:
            matched(rf"\p{{age={major}.0}}")
        except ValueError:  # an age that the engine does not know
            continue
        return f"{major}.0"
    raise AssertionError("tiktoken's engine knows no version of Unicode")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
