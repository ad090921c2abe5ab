"""Pre-tokens: a regular expression cuts text into pieces that no merge crosses.

Without it the most frequent pairs would glue words to their neighbours and their punctuation ("dog." and "dog!" as
tokens of their own). Two patterns have names:

    gpt2     contractions, words, numbers and other marks, each with one leading space; the last space of a run goes to
             what follows (Radford et al. 2019, sec. 2.2, as published with the GPT-2 code)
    digits   the same, but each digit stands alone and takes no space with it: "12 7" is "1", "2", " ", "7".
             Arithmetic then sees one token per digit wherever a number stands (how digits are grouped decides how
             well models add, arXiv:2402.14903); prose pays with a few more tokens per number.

Any other text is a pattern of the user's own, in the syntax of the `regex` module. What it leaves out between matches
becomes a piece too, so that encoding never loses a byte.
"""

from functools import lru_cache

import regex

from groundup.core.config import nearest
from groundup.core.errors import ConfigError

PATTERNS = {
    "gpt2": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "digits": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
}


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
    if not compiled.groups:  # with groups findall would return those
        pieces = compiled.findall(text)
        if sum(map(len, pieces)) == len(text) and all(pieces):
            return pieces
    pieces, end = [], 0
    for match in compiled.finditer(text):
        pieces += [text[end : match.start()], match.group()]
        end = match.end()
    pieces.append(text[end:])
    return [piece for piece in pieces if piece]
