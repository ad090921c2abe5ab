"""Where a text may be cut without changing its tokens: for streams, for files larger than memory, for threads."""

import re
from collections.abc import Callable, Collection, Iterator

from groundup.tokenization.patterns import PATTERNS, compile_pattern, split

Cut = Callable[[bytes], int]

BLANK = re.compile(rb"(?<![\t-\r\x1c-\x20])[\t\n\r ]")  # the first of its run, as far as ASCII goes
CUT_WINDOW = 4096
SPLIT_WINDOW = 1 << 16  # bytes in which a place to divide work is looked for
CUT_TRIES = 64  # of places that a user's own pattern is asked about


def text_cut(pattern: str, special_tokens: Collection[str] = (), normalized: bool = False) -> Cut:
    """The function that finds where a text may be cut: the last place in the bytes it is given, 0 for nowhere.

    At such a place the ids of the two parts join to those of the whole. With a named pattern that is so

    - before a space or tab behind anything but a blank: no piece has one there but at its start, and what is looked
      ahead for is blanks only (where special tokens hold spaces, only before a tab);
    - behind a single line end between two characters that are no blanks, the second no "/" (o200k joins "!\\n/");
    - before a line end behind a letter or number (behind "!" cl100k and o200k join it to the mark).

    Text that is still to be `normalized` is cut by the first rule only: another form may have other characters there.

    The first four bytes are no candidates: they may be the rest of a character that started before. A pattern of the
    user's own may look anywhere, so it is asked about the text around each place, starting at two characters, since
    pieces that depend on the start (three letters each) cannot be cut from inside. Where it refuses the last places
    the answer is 0, so a pattern that never agrees has its text encoded whole.
    """
    spaces = not any(" " in name for name in special_tokens)
    compiled = None if pattern in PATTERNS.values() else compile_pattern(pattern)

    def joins(data: bytes, place: int) -> bool:
        if compiled is None:
            return True
        left = data[max(0, place - CUT_WINDOW) : place].decode("utf-8", "replace")
        right = data[place : place + CUT_WINDOW].decode("utf-8", "replace")
        return all(
            split(compiled, part) + split(compiled, right) == split(compiled, part + right) for part in (left, left[1:])
        )

    def cut(data: bytes) -> int:
        for number, place in enumerate(_cut_places(data, spaces, lines=not normalized)):
            if compiled is not None and number == CUT_TRIES:
                return 0
            if joins(data, place):
                return place
        return 0

    return cut


def _cut_places(data: bytes, spaces: bool, lines: bool) -> Iterator[int]:
    """The places of `text_cut`, the last one first."""
    for start in range((len(data) - 1) // CUT_WINDOW * CUT_WINDOW, -1, -CUT_WINDOW):
        for match in reversed(list(BLANK.finditer(data, start, start + CUT_WINDOW))):
            at, blank = match.start(), match.group()
            before = data[max(0, at - 4) : at].decode("utf-8", "replace")[-1:]
            if at < 4 or before.isspace():
                continue
            if blank in b"\t " and (spaces or blank == b"\t"):
                yield at
            elif not lines:
                continue
            elif blank == b"\n" and _is_no_blank(data[at + 1 : at + 5]):
                yield at + 1
            elif blank in b"\r\n" and before.isalnum():
                yield at


def _is_no_blank(data: bytes) -> bool:
    """Whether bytes start with a character that is whole, no blank and no "/"."""
    character = data.decode("utf-8", "replace")[:1]
    return (len(data) == 4 or data.isascii()) and character not in ("", "/") and not character.isspace()


def even_cuts(data: bytes, parts: int, cut: Cut) -> list[int]:
    """Safe places that divide UTF-8 into at most `parts` pieces of about the same size, the start and the end too."""
    places = [0]
    for part in range(1, parts):
        end = max(places[-1], len(data) * part // parts)
        window = max(places[-1], end - SPLIT_WINDOW)
        place = cut(data[window:end])
        if place:
            places.append(window + place)
    return [*places, len(data)]
