"""Pre-tokens one at a time: where the token that starts here ends, exactly as the published patterns say.

This is `patterns.py` written out as a scanner over UTF-8 bytes. It handles every text; `blocks.py` is faster and
leaves to it what is rare. The text is valid UTF-8. `classes` is the address of `unicode_classes.class_table()`.

Each function takes the address of the text, the offset `at` of a token's first byte and the offset `end` of the end
of the text, and returns the offset behind the token.
"""

from groundup.tokenization.compiled.layout import compiled
from groundup.tokenization.compiled.machine import load8
from groundup.tokenization.unicode_classes import LETTER, LOWER, MARK, NUMBER, UPPER, WHITESPACE

GPT2, DIGITS, CL100K, O200K = 0, 1, 2, 3
PATTERN_CODES = {"gpt2": GPT2, "digits": DIGITS, "cl100k": CL100K, "o200k": O200K}

APOSTROPHE, SPACE, LINE_FEED, CARRIAGE_RETURN, SLASH = 0x27, 0x20, 0x0A, 0x0D, 0x2F
LONG_S = 0xBFC5  # the bytes C5 BF of U+017F, which the case-insensitive patterns take for an s
NOTHING = -1


@compiled
def token_end(pattern: int, text: int, at: int, end: int, classes: int) -> int:
    """The offset behind the token that starts at `at`."""
    if pattern == GPT2 or pattern == DIGITS:
        return _gpt2_end(pattern, text, at, end, classes)
    return _cl100k_end(pattern, text, at, end, classes)


@compiled
def character_at(text: int, at: int) -> tuple[int, int]:
    """The code point at an offset and how many bytes it takes."""
    first = load8(text + at)
    if first < 0x80:
        return first, 1
    second = load8(text + at + 1) & 0x3F
    if first < 0xE0:
        return (first & 0x1F) << 6 | second, 2
    third = load8(text + at + 2) & 0x3F
    if first < 0xF0:
        return (first & 0x0F) << 12 | second << 6 | third, 3
    return (first & 0x07) << 18 | second << 12 | third << 6 | load8(text + at + 3) & 0x3F, 4


@compiled
def class_at(text: int, at: int, classes: int) -> tuple[int, int]:
    """The Unicode class at an offset and how many bytes the character takes."""
    character, size = character_at(text, at)
    return load8(classes + character), size


@compiled
def _kind(unicode_class: int) -> int:
    """Letter, number, whitespace or anything else: marks count as anything else outside o200k's words."""
    if unicode_class >= LOWER:
        return LETTER
    return 0 if unicode_class == MARK else unicode_class


@compiled
def _run_end(kind: int, text: int, at: int, end: int, classes: int) -> int:
    """The end of the run of characters of one kind that starts at `at`."""
    while at < end:
        unicode_class, size = class_at(text, at, classes)
        if _kind(unicode_class) != kind:
            break
        at += size
    return at


@compiled
def _contraction_end(text: int, at: int, end: int, any_case: bool) -> int:
    """The end of 's, 't, 'm, 'd, 'll, 've or 're at an apostrophe; NOTHING where there is none."""
    if at + 1 >= end:
        return NOTHING
    fold = 0x20 if any_case else 0
    first = load8(text + at + 1) | fold
    if first == 0x73 or first == 0x74 or first == 0x6D or first == 0x64:  # s t m d
        return at + 2
    if at + 2 >= end:
        return NOTHING
    if any_case and load8(text + at + 1) | load8(text + at + 2) << 8 == LONG_S:
        return at + 3
    second = load8(text + at + 2) | fold
    if (first == 0x6C and second == 0x6C) or ((first == 0x76 or first == 0x72) and second == 0x65):  # ll, ve, re
        return at + 3
    return NOTHING


@compiled
def _whitespace_end(text: int, at: int, end: int, classes: int, lines: bool, joined_at_end: bool) -> int:
    r"""`\s+(?!\S)|\s+`, and before these `\s*[\r\n]+` where `lines`, and before that `\s+$` where `joined_at_end`."""
    start, last, behind_newline = at, at, NOTHING
    while at < end:
        character, size = character_at(text, at)
        if load8(classes + character) != WHITESPACE:
            break
        last = at
        at += size
        if character == LINE_FEED or character == CARRIAGE_RETURN:
            behind_newline = at
    if at == end and joined_at_end:
        return at
    if lines and behind_newline != NOTHING:
        return behind_newline
    return at if at == end or last == start else last


@compiled
def _gpt2_end(pattern: int, text: int, at: int, end: int, classes: int) -> int:
    first = load8(text + at)
    if first == APOSTROPHE:
        behind = _contraction_end(text, at, end, False)
        if behind != NOTHING:
            return behind
    word = at + 1 if first == SPACE and at + 1 < end else at
    unicode_class, size = class_at(text, word, classes)
    kind = _kind(unicode_class)
    if kind == NUMBER and pattern == DIGITS:
        return word if word > at else at + size
    if kind != WHITESPACE:
        return _run_end(kind, text, word, end, classes)
    return _whitespace_end(text, at, end, classes, False, False)


@compiled
def _cl100k_end(pattern: int, text: int, at: int, end: int, classes: int) -> int:
    """cl100k, and o200k, which differs in its words and lets a slash follow the newlines behind punctuation."""
    first = load8(text + at)
    if pattern == O200K:
        behind = _cased_word_end(text, at, end, classes)
        if behind != NOTHING:
            return behind
    elif first == APOSTROPHE:
        behind = _contraction_end(text, at, end, True)
        if behind != NOTHING:
            return behind
    unicode_class, size = class_at(text, at, classes)
    kind = _kind(unicode_class)
    if kind == NUMBER:
        return _three_numbers_end(text, at, end, classes)
    is_newline = first == LINE_FEED or first == CARRIAGE_RETURN
    if pattern == CL100K and not is_newline:
        word = at if kind == LETTER else at + size
        behind = _run_end(LETTER, text, word, end, classes)
        if behind > word:
            return behind
    marks = at + 1 if first == SPACE else at
    behind = _run_end(0, text, marks, end, classes)
    if behind > marks:
        while behind < end:
            byte = load8(text + behind)
            if byte != LINE_FEED and byte != CARRIAGE_RETURN and (pattern != O200K or byte != SLASH):
                break
            behind += 1
        return behind
    return _whitespace_end(text, at, end, classes, True, pattern == CL100K)


@compiled
def _three_numbers_end(text: int, at: int, end: int, classes: int) -> int:
    for _ in range(3):
        if at >= end:
            break
        unicode_class, size = class_at(text, at, classes)
        if unicode_class != NUMBER:
            break
        at += size
    return at


@compiled
def _cased_word_end(text: int, at: int, end: int, classes: int) -> int:
    """o200k's two word alternatives, each first with a character of something else in front and then without."""
    first = load8(text + at)
    unicode_class, size = class_at(text, at, classes)
    may_lead = unicode_class < LOWER and unicode_class != NUMBER and first != LINE_FEED and first != CARRIAGE_RETURN
    for ends_in_lower in (True, False):
        behind = NOTHING
        if may_lead and at + size < end:
            behind = _cased_run_end(ends_in_lower, text, at + size, end, classes)
        if behind == NOTHING:
            behind = _cased_run_end(ends_in_lower, text, at, end, classes)
        if behind != NOTHING:
            if behind < end and load8(text + behind) == APOSTROPHE:
                suffix = _contraction_end(text, behind, end, True)
                return behind if suffix == NOTHING else suffix
            return behind
    return NOTHING


@compiled
def _cased_run_end(ends_in_lower: bool, text: int, at: int, end: int, classes: int) -> int:
    """With U = upper, title, caseless, mark and L = lower, caseless, mark: `U*L+` if `ends_in_lower`, else `U+L*`."""
    start, behind_caseless = at, NOTHING
    while at < end:
        unicode_class, size = class_at(text, at, classes)
        if unicode_class != UPPER and unicode_class != LETTER and unicode_class != MARK:
            break
        at += size
        if unicode_class != UPPER:
            behind_caseless = at
    upper = at
    while at < end:
        unicode_class, size = class_at(text, at, classes)
        if unicode_class != LOWER and unicode_class != LETTER and unicode_class != MARK:
            break
        at += size
    if ends_in_lower:
        return at if at > upper else behind_caseless  # U* gives back what follows its last caseless character
    return at if upper > start else NOTHING
