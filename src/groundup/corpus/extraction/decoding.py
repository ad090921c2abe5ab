"""Bytes of a page to text: which encoding, and how much of it did not decode.

    1. a byte order mark, or zeros in every other byte, decide at once
    2. UTF-8, if it decodes, or if at most a tenth of what is not ASCII does not (a cut or pasted byte, not a lie)
    3. the declared charset (HTTP, then <meta>), unless much of the page does not decode with it
    4. detection (uchardet, by resiliparse), and windows-1252 last, which decodes nearly anything

Labels mean what browsers take them for (WHATWG Encoding Standard: iso-8859-1 is windows-1252, gb2312 is gb18030).
Servers declare iso-8859-1 without looking; in Western languages letters beyond ASCII stand alone, so a page whose high
bytes mostly stand side by side is not believed to be windows-1252 if detection finds something else that decodes.
What does not decode becomes U+FFFD, and its share of the characters is returned.
"""

import codecs
import re
from typing import NamedTuple

from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

META = re.compile(rb"""<meta\b[^>]*?charset\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE)
HEAD_BYTES = 4096  # browsers look for <meta charset> in the first 1,024; pages put it later
HIGH = re.compile(rb"[\x80-\xff]+")
MARKS = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
WESTERN = "windows-1252"
LESS = ord("<")
MOST_REPLACED = 0.1  # of the characters that are not ASCII; above, another encoding is tried
SAMPLE_BYTES = 1 << 17  # for detection


class Decoded(NamedTuple):
    """A text, its encoding, and the share of its characters that stand for bytes that did not decode."""

    text: str
    encoding: str
    replaced: float


def decode(data: bytes, charset: str | None = None) -> Decoded:
    """The text of a page; `charset` is what the server declared, if anything."""
    for mark, encoding in MARKS.items():
        if data.startswith(mark):
            return _decoded(data[len(mark) :], encoding)
    if wide := _utf16(data):  # before UTF-8, which takes zeros for characters
        return _decoded(data, wide)
    try:
        return Decoded(data.decode(), "utf-8", 0.0)
    except UnicodeDecodeError:
        pass
    if not _lies(data, "utf-8"):
        return _decoded(data, "utf-8")
    detected = _known(detect_encoding(data, max_len=SAMPLE_BYTES, from_html_meta=False))
    meta = META.search(data, 0, HEAD_BYTES)
    declared = [label for label in (_known(charset), _known(meta[1].decode("ascii") if meta else None)) if label]
    adjacent = sum(len(run) - 1 for run in HIGH.findall(data, 0, SAMPLE_BYTES))
    western = 2 * adjacent <= sum(map(len, HIGH.findall(data, 0, SAMPLE_BYTES)))
    for encoding in declared:
        if (encoding != WESTERN or western or detected in (None, WESTERN)) and not _lies(data, encoding):
            return _decoded(data, encoding)
    if detected and not _lies(data, detected):
        return _decoded(data, detected)
    return min((_decoded(data, encoding) for encoding in (*declared, WESTERN)), key=lambda found: found.replaced)


def _decoded(data: bytes, encoding: str) -> Decoded:
    """The text with replacement. U+FFFD that a UTF-8 page itself holds count too: they stand for the same loss."""
    text = data.decode(encoding, errors="replace")
    return Decoded(text, encoding, text.count("\ufffd") / max(len(text), 1))


def _lies(data: bytes, encoding: str) -> bool:
    """Whether more than a tenth of what is not ASCII does not decode."""
    text = data.decode(encoding, errors="replace")
    beyond = len(text) - len(text.encode("ascii", errors="ignore"))
    return text.count("\ufffd") > MOST_REPLACED * beyond


def _known(label: str | None) -> str | None:
    """The Encoding Standard's name for a label, which Python knows too; None for one that browsers do not know."""
    encoding = map_encoding_to_html5(label.strip("\"' "), fallback_utf8=False) if label else None
    try:
        if not encoding or not codecs.lookup(encoding):
            return None
    except LookupError:
        return None
    return re.sub(r"^cp125", "windows-125", encoding).replace("euc_", "euc-")


def _utf16(data: bytes) -> str | None:
    """UTF-16 without a mark: beside each < stands a zero, and on the same side."""
    sample = data[: HEAD_BYTES & ~1]
    pairs = list(zip(sample[::2], sample[1::2], strict=False))
    for encoding, pair in (("utf-16-le", (LESS, 0)), ("utf-16-be", (0, LESS))):
        found = pairs.count(pair)
        if found >= 2 and 2 * found > sample.count(LESS):
            return encoding
    return None
