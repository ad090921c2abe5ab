"""The form of a text in which two copies are equal, and its words: `"Café,  BAR!"` and `"cafe bar"` are the same.

Character by character: NFD (an accented letter becomes the letter and its accents), lower case, accents and invisible
format characters away, punctuation and symbols to spaces, white space collapsed. A character of a script that is
written without spaces (Han, Kana, Thai, Lao, Khmer, Myanmar) is a word of its own; otherwise a whole sentence would be
one word, and one edit would change it.

Nothing here depends on the neighbours of a character (the two small forms of sigma are made one for that), so a table
says what each becomes: `character_table` builds it from `unicodedata` once per process, in about 0.2 s, and the kernel
`scan_words` reads UTF-8 with it, ASCII eight bytes at a time. `normalise` is the definition in plain Python.
"""

import unicodedata
from functools import cache
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundup.corpus.dedup.hashing import SEED, Bytes, Hashes, absorb, compiled, eight_bytes, mix

SEPARATOR, NOTHING, ITSELF, ITSELF_ALONE = range(4)  # what a character can become besides other bytes
ALONE, LENGTH = 16, 15  # bits of an entry that points to bytes
PAGE = 128
# Eight bytes at once: bits of each byte, and what lifts its bit 7 from the given character on.
HIGH, SEVEN, LOWER = np.uint64(0x8080808080808080), np.uint64(0x7F7F7F7F7F7F7F7F), np.uint64(0x2020202020202020)
LETTER_FROM, LETTER_TO = np.uint64(0x1F1F1F1F1F1F1F1F), np.uint64(0x0505050505050505)  # 128 - "a", 127 - "z"
DIGIT_FROM, DIGIT_TO = np.uint64(0x5050505050505050), np.uint64(0x4646464646464646)
WHICH_BYTE, ONE, FIFTY_SIX = np.uint64(0x0001020304050607), np.uint64(1), np.uint64(56)  # 256^k times it begins with k
CODES = (range(0x40000), range(0xE0000, 0xE1000))  # of assigned characters that are not for private use
LAST_CODE, HANGUL = 0xE1000, range(0xAC00, 0xD7A4)
PARTS_OF_NOTES = {chr(code) for code in range(0x1D165, 0x1D173)}  # stems and flags, marks in Unicode's eyes
ZERO_WIDTH_SPACE, FINAL_SIGMA, SIGMA = "\u200b", "ς", "σ"
UNSPACED = (  # first and last character of the scripts without spaces between words; the largest first
    (0x4E00, 0x9FFF),  # Han
    (0x20000, 0x3FFFF),
    (0x3400, 0x4DBF),
    (0xF900, 0xFAFF),
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
)


class CharacterTable(NamedTuple):
    """What code point c becomes: `entries[pages[c >> 7], c & 127]`.

    An entry is one of the four constants above (alone: a word of its own), or offset << 5 | alone << 4 | length of
    bytes in `data`, where no offset is 0. `ascii[c]` is the byte that c < 128 becomes, 0 for a separator.
    """

    ascii: Bytes
    pages: NDArray[np.uint16]
    entries: NDArray[np.int32]
    data: Bytes


def normalise(text: str) -> str:
    """The words of the text, in their common form, separated by single spaces."""
    return " ".join("".join(_replacement(character) for character in text).split())


def _replacement(character: str) -> str:
    """What one character becomes: letters and digits, nothing, or a space; with spaces around where it is a word."""
    kept = []
    for part in unicodedata.normalize("NFD", character):
        category = unicodedata.category(part)
        if part.isalnum() or (category == "Mc" and part not in PARTS_OF_NOTES):  # a spacing vowel sign is a letter
            kept.append(part.lower().replace(FINAL_SIGMA, SIGMA))
        elif (category[0] != "M" and category != "Cf") or part == ZERO_WIDTH_SPACE:
            return " "
    return f" {''.join(kept)} " if kept and _is_unspaced(ord(character)) else "".join(kept)


def _is_unspaced(code: int) -> bool:
    return code >= 0x0E00 and any(first <= code <= last for first, last in UNSPACED)


@cache
def character_table() -> CharacterTable:
    """The table of all code points."""
    data, places = bytearray(1), {}
    entries = np.zeros(LAST_CODE, np.int32)
    for code in chain(*CODES):
        category = unicodedata.category(character := chr(code))
        if category in ("Cn", "Co", "Cs"):
            continue
        if code not in HANGUL and not unicodedata.decomposition(character):  # most of them, so in short
            if category == "Lo":
                entries[code] = ITSELF_ALONE if _is_unspaced(code) else ITSELF
            if category == "Lo" or category[0] in "PS":
                continue
        replacement = _replacement(character)
        if not replacement.strip():
            entries[code] = SEPARATOR if replacement else NOTHING
            continue
        word, alone = replacement.strip().encode(), replacement[0] == " "
        if word == character.encode():
            entries[code] = ITSELF_ALONE if alone else ITSELF
            continue
        assert len(word) < 16, f"U+{code:04X} becomes {len(word)} bytes, or several words"
        if word not in places:
            places[word] = len(data)
            data += word
        entries[code] = places[word] << 5 | (ALONE if alone else 0) | len(word)
    different: dict[bytes, int] = {}
    pages = [different.setdefault(page.tobytes(), len(different)) for page in entries.reshape(-1, PAGE)]
    kept = np.frombuffer(b"".join(different), np.int32).reshape(-1, PAGE)
    plain = np.array([ord(chr(c).lower()) if chr(c).isalnum() else 0 for c in range(128)], np.uint8)
    return CharacterTable(plain, np.array(pages, np.uint16), kept, np.frombuffer(bytes(data), np.uint8))


@compiled
def scan_words(data: Bytes, start: int, end: int, table: CharacterTable, words: Hashes) -> int:
    """Write the hash of each word of data[start:end] into `words`, which must hold one per byte; returns their number.

    The hash of a word is that of its normalised bytes, `hashing.hash_bytes`. ASCII goes eight bytes at a time.
    """
    count, length = 0, 0
    state, block = SEED, np.uint64(0)
    i = start
    while i < end:
        if length & 7 == 0:
            eight = eight_bytes(data, i, end)
            stop = _lowest_stop(eight)
            if stop == 0:
                state, length, i = absorb(state, eight | LOWER), length + 8, i + 8
                continue
            block = (eight | LOWER) & (stop - ONE)  # the bytes before the stop
            inside = np.int64((stop * WHICH_BYTE) >> FIFTY_SIX)
            length, i = length + inside, i + inside
            if i >= end:
                break
        byte = data[i]
        if byte < 128:
            i += 1
            byte = table.ascii[byte]
            if byte:
                state, block, length = _append(state, block, length, byte)
            elif length:
                words[count] = _finish(state, block, length)
                count, length, state, block = count + 1, 0, SEED, np.uint64(0)
            while length == 0 and i < end and data[i] < 128 and not table.ascii[data[i]]:
                i += 1
            continue
        entry, behind = _entry(data, i, table)
        alone = entry == ITSELF_ALONE or (entry > ITSELF_ALONE and entry & ALONE)
        if length and (alone or entry == SEPARATOR):
            words[count] = _finish(state, block, length)
            count, length, state, block = count + 1, 0, SEED, np.uint64(0)
        if entry > ITSELF_ALONE:
            for k in range(entry >> 5, (entry >> 5) + (entry & LENGTH)):
                state, block, length = _append(state, block, length, table.data[k])
        elif entry >= ITSELF:
            for k in range(i, behind):
                state, block, length = _append(state, block, length, data[k])
        if alone:
            words[count] = _finish(state, block, length)
            count, length, state, block = count + 1, 0, SEED, np.uint64(0)
        i = behind
    if length:
        words[count] = _finish(state, block, length)
        count += 1
    return count


@compiled
def _lowest_stop(eight: np.uint64) -> np.uint64:
    """The lowest bit of the first of eight bytes that is no letter or digit of ASCII; 0 where there is none.

    On the low seven bits of a byte, adding 128 - a sets its high bit where the byte is at least a, and never carries.
    """
    lower, plain = (eight | LOWER) & SEVEN, eight & SEVEN
    letters = (lower + LETTER_FROM) & ~(lower + LETTER_TO)
    digits = (plain + DIGIT_FROM) & ~(plain + DIGIT_TO)
    stops = ~((letters | digits) & ~eight) & HIGH
    return (stops & (~stops + ONE)) >> np.uint64(7)


@compiled
def _append(state: np.uint64, block: np.uint64, length: int, byte: np.uint8) -> tuple[np.uint64, np.uint64, int]:
    """One more byte of a word into its hash."""
    block |= np.uint64(byte) << np.uint64((length & 7) << 3)
    length += 1
    if length & 7 == 0:
        return absorb(state, block), np.uint64(0), length
    return state, block, length


@compiled
def _finish(state: np.uint64, block: np.uint64, length: int) -> np.uint64:
    return mix(absorb(state, block) ^ np.uint64(length))


@compiled
def _entry(data: Bytes, i: int, table: CharacterTable) -> tuple[np.int32, int]:
    """The table's entry of the character at data[i] of UTF-8, which is no ASCII, and the place behind it."""
    lead, second = np.int64(data[i]), np.int64(data[i + 1] & 0x3F)
    if lead < 0xE0:
        code, behind = (lead & 0x1F) << 6 | second, i + 2
    elif lead < 0xF0:
        code, behind = (lead & 0x0F) << 12 | second << 6 | np.int64(data[i + 2] & 0x3F), i + 3
    else:
        rest = np.int64(data[i + 2] & 0x3F) << 6 | np.int64(data[i + 3] & 0x3F)
        code, behind = (lead & 0x07) << 18 | second << 12 | rest, i + 4
    if code >= LAST_CODE:
        return np.int32(SEPARATOR), behind
    return table.entries[table.pages[code >> 7], code & 127], behind
