"""Pre-tokens: a regular expression cuts text into pieces that no merge crosses.

Without it the most frequent pairs would glue words to their neighbours and their punctuation ("dog." and "dog!" as
tokens of their own). Four patterns have names:

    gpt2     contractions, words, numbers and other marks, each with one leading space; the last space of a run goes to
             what follows (Radford et al. 2019, sec. 2.2, as published with the GPT-2 code)
    cl100k   of GPT-4, as published with tiktoken: contractions in any case, numbers in groups of at most three digits,
             a word takes one leading mark of any kind, other marks take the line ends behind them
    o200k    of GPT-4o, likewise: words are cut where lower case turns into upper case ("camel", "Case"), combining
             marks belong to them, and so does a contraction ("don't")
    digits   gpt2, but each digit stands alone and takes no space with it: "12 7" is "1", "2", " ", "7".
             Arithmetic then sees one token per digit wherever a number stands (how digits are grouped decides how
             well models add, arXiv:2402.14903); prose pays with a few more tokens per number.

They give the pieces of tiktoken's engine on any text. The `regex` module differs from it only in the classes of some
characters (`unicode_classes`), so where a text holds one of those, the expression reads a stand-in of the right class.

Any other text is a pattern of the user's own, in the syntax of the `regex` module and with its classes. What it leaves
out between matches becomes a piece too, so that encoding never loses a byte.
"""

from functools import cache, lru_cache

import numpy as np
import numpy.typing as npt
import regex

from groundup.core.config import nearest
from groundup.core.errors import ConfigError
from groundup.tokenization.unicode_classes import CLASSES, CODE_POINTS, class_table

PATTERNS = {
    "gpt2": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "cl100k": (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
        r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
    ),
    "o200k": (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    "digits": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
}
# By class, a character that every version of Unicode puts there and that no named pattern treats in a way of its own.
STAND_INS = "\0\t0\u0300aAª"
_NAMED_EXPRESSIONS = frozenset(PATTERNS.values())


def resolve_pattern(pattern: str) -> str:
    """The regular expression of a named pattern, or the user's own after a check; a bad one is a `ConfigError`."""
    if pattern in PATTERNS:
        return PATTERNS[pattern]
    if regex.fullmatch(r"[\w.-]*", pattern):  # a word is a name misspelt: as a regex it would match only itself
        raise ConfigError(f"There is no pre-token pattern {pattern!r}; {nearest(pattern, PATTERNS)}")
    compile_pattern(pattern)
    return pattern


@lru_cache(maxsize=64)
def compile_pattern(expression: str) -> regex.Pattern[str]:
    """A compiled regular expression; one that does not compile is a `ConfigError`."""
    try:
        return regex.compile(expression)
    except regex.error as error:
        raise ConfigError(f"The pre-token pattern {expression!r} is not a regular expression: {error}.") from None


def split(compiled: regex.Pattern[str], text: str) -> list[str]:
    """The pre-tokens of a text, in order; they join to the text again."""
    read = text if text.isascii() or compiled.pattern not in _NAMED_EXPRESSIONS else _with_stand_ins(text)
    if read is text and not compiled.groups:  # with groups findall would return those
        pieces = compiled.findall(text)
        if sum(map(len, pieces)) == len(text) and all(pieces):
            return pieces
    pieces, end = [], 0
    for match in compiled.finditer(read):
        pieces += [text[end : match.start()], text[match.start() : match.end()]]
        end = match.end()
    pieces.append(text[end:])
    return [piece for piece in pieces if piece]


def _with_stand_ins(text: str) -> str:
    """The text itself, or one as long in which a stand-in is in the place of each character that `regex` misjudges."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    read = _stand_in_table()[codes]
    return text if (read == codes).all() else read.tobytes().decode("utf-32-le", "surrogatepass")


@cache
def _stand_in_table() -> npt.NDArray[np.uint32]:
    """Each code point, or its stand-in where `regex` puts it into another class than the table, uint32 [0x110000]."""
    codes = np.arange(CODE_POINTS, dtype="<u4")
    characters = codes.tobytes().decode("utf-32-le", "surrogatepass")
    theirs = np.zeros(CODE_POINTS, dtype=np.uint8)
    for number, (_, expression) in CLASSES.items():
        for run in regex.finditer(f"{expression}+", characters):
            theirs[run.start() : run.end()] = number
    stand_ins = np.array([ord(character) for character in STAND_INS], dtype="<u4")
    return np.where(theirs == class_table(), codes, stand_ins[class_table()])
