"""WARC and WET files (ISO 28500): every record that can be read, and a `Damage` for every stretch that cannot.

    for item in read_records(path): ...      WarcRecord, or Damage(offset, reason, bytes_skipped)
    units(path, unit_bytes)                  byte ranges that can be read by themselves, in any order

Read are gzip (`.warc.gz`, one member per record or cut in any other way), Zstandard (`.warc.zst`) and plain files. A
record belongs to the range in which its member starts, in a plain file to the one in which it starts itself; whatever
the ranges, together they give the same records and the same damage. Why that is so for compressed files is said in
`members`. In a plain file every range follows the records' lengths from the first one on; it reads headers only.

After damage the next member or, inside of one, the next `WARC/1.x` header is looked for. A `Content-Length` that does
not lead to a header or to the end is not believed: the record then ends at the next header or with its member, has a
`fault`, and a `Damage` of 0 skipped bytes says so. What a gzip member gives counts once its checksum was verified;
where there is none, `WARC-Block-Digest` is compared if it is SHA-1. A record of more than `most_bytes` is passed over
without being held in memory, so a few megabytes that decode to gigabytes cost seconds and nothing else.
"""

import base64
import hashlib
import mmap
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from groundup.core.errors import ConfigError
from groundup.core.files import require_file
from groundup.corpus.reading.content import DecodedContent, MappedContent
from groundup.corpus.reading.http_message import Fields, media_type, parse_message
from groundup.corpus.reading.members import (
    GZIP,
    SKIPPABLE,
    START,
    ZSTD_MAGIC,
    BrokenMemberError,
    Packing,
    zstd_packing,
)

MOST_RECORD_BYTES = 32 << 20  # Common Crawl cuts pages at 1 to 5 MiB
UNIT_BYTES = 64 << 20
HEAD_BYTES = 64 << 10  # the longest header of a record
LENGTH = re.compile(rb"\r\nContent-Length: *(\d{1,17})\r\n")
TYPE = re.compile(rb"\r\nWARC-Type: *([a-z]+)\r\n")
CUT_OFF = "the file ends inside a record"
RECORD_TYPES = (b"response", b"resource", b"conversion")  # pages, files, and the texts of WET
MEDIA_TYPES = ("text/html", "application/xhtml+xml", "text/plain", "")  # "": servers that name none mostly send HTML


class Damage(NamedTuple):
    """A stretch of a file that gave no record (or, with 0 bytes skipped, a record with a fault)."""

    offset: int
    reason: str
    bytes_skipped: int


class WarcRecord(NamedTuple):
    """A record; `body` is a page's bytes without HTTP headers and codings, `offset` where its member starts."""

    id: str
    type: str
    url: str | None
    date: str | None
    source: str
    offset: int
    content_type: str
    charset: str | None
    body: bytes
    status: int | None = None
    truncated: str | None = None
    fault: str | None = None


class WarcUnit(NamedTuple):
    """A byte range of a file: `read_records(*unit)`."""

    path: Path
    start: int
    end: int


class _Choice(NamedTuple):
    """What is read, and how."""

    source: str
    start: int
    end: int
    every: bool
    most_bytes: int
    passed_over: Counter[str]


_Content = MappedContent | DecodedContent
_Item = WarcRecord | Damage


def units(path: Path, unit_bytes: int = UNIT_BYTES) -> list[WarcUnit]:
    """A file as ranges of `unit_bytes`; their places depend on its size alone."""
    if unit_bytes < 1:
        raise ConfigError(f"A unit of {unit_bytes} bytes was asked for; it must have at least one.")
    size = require_file(path).stat().st_size
    return [WarcUnit(path, start, min(start + unit_bytes, size)) for start in range(0, max(size, 1), unit_bytes)]


def read_records(
    path: Path,
    start: int = 0,
    end: int | None = None,
    *,
    every: bool = False,
    most_bytes: int = MOST_RECORD_BYTES,
    passed_over: Counter[str] | None = None,
) -> Iterator[WarcRecord | Damage]:
    """The pages and texts (`every`: all records) that start in a range of bytes, in the order of the file.

    `passed_over` counts the records of other kinds: "request", or "response image/png".
    """
    with _mapped(require_file(path)) as data:
        if data is None:
            if start == 0:
                yield Damage(0, "the file is empty", 0)
            return
        end = len(data) if end is None else min(end, len(data))
        packing = _packing_of(path, data)
        counts = Counter[str]() if passed_over is None else passed_over
        choice = _Choice(path.name, start, end, every, most_bytes, counts)
        yield from _members(data, packing, choice) if packing else _records(MappedContent(data), choice)


def record_id(name: bytes) -> str:
    """A document's id: BLAKE2b-128 of its WARC-Record-ID, in hexadecimal."""
    return hashlib.blake2b(name, digest_size=16).hexdigest()


@contextmanager
def _mapped(path: Path) -> Iterator[memoryview | None]:
    """A file's bytes, None for an empty one."""
    with open(path, "rb") as file:
        if not path.stat().st_size:
            yield None
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as data:
            yield data


def _packing_of(path: Path, data: memoryview) -> Packing | None:
    """How a file is compressed, by its first bytes, behind garbage by its name; None: not at all."""
    name = path.name.lower()
    if data[:3] == GZIP.magic:
        return GZIP
    if data[:4] == ZSTD_MAGIC or data[1:4] == SKIPPABLE:
        return zstd_packing(data)
    if data[: len(START)] == START or not name.endswith((".gz", ".zst")):
        return None
    return GZIP if name.endswith(".gz") else zstd_packing(data)


def _members(data: memoryview, packing: Packing, choice: _Choice) -> Iterator[_Item]:
    """What is in the members of a range; some before it are decoded, too."""
    position, small, end = packing.anchor(data, choice.start), packing.small, choice.end
    while position < end:
        if sound := small(data, position):
            piece, behind = sound
            if (items := _whole_record(piece, choice, position, packing.verifies)) is not None:
                position = behind
                yield from items
                continue
        content = None
        try:
            content = DecodedContent(data, packing, position)
            yield from _records(content, choice)
            position = content.position
        except BrokenMemberError as error:
            broken = content.member_start if content else position
            position = packing.find(data, broken + 1)
            if choice.start <= broken < end:
                yield Damage(broken, str(error), position - broken)


def _whole_record(piece: bytes, choice: _Choice, offset: int, verified: bool) -> list[_Item] | None:
    """What a member is that holds one sound record, as nearly all do; None for any other, which goes the long way."""
    body = piece.find(b"\r\n\r\n") + 4
    length = LENGTH.search(piece, 0, body)
    if length is None or not (piece.startswith(START) and piece.endswith(b"\r\n\r\n")):
        return None
    end = body + int(length[1])
    if end + 4 != len(piece) or end - body > choice.most_bytes:
        return None
    if offset < choice.start:
        return []
    kind = TYPE.search(piece, 0, body)
    if kind and not (choice.every or kind[1] in RECORD_TYPES):
        choice.passed_over[kind[1].decode()] += 1
        return []
    return _items(piece, verified, choice, (offset, 0), Fields(piece[:body]), (body, end), None)


def _records(content: _Content, choice: _Choice) -> Iterator[_Item]:
    """What is in a content, as far as it belongs to the range."""
    number = 0
    while content.have(content.cursor + 1, joining=False):
        if content.buffer[content.cursor] in b"\r\n":
            content.cursor += 1
            continue
        offset = content.offset
        if offset >= choice.end:
            return
        items = _record(content, choice, number)
        if offset >= choice.start:
            yield from items
        number += 1


def _record(content: _Content, choice: _Choice, number: int) -> list[_Item]:
    """What the record at the cursor is; the cursor is moved behind it. Those before the range are not looked into."""
    offset, begin = content.offset, content.cursor
    body = _body_start(content, begin)
    if body is None:
        place, size = content.next_header(begin + 1, 0)
        content.move(place)
        return [Damage(offset, "no WARC header", 1 + size)]
    fields = Fields(content.buffer[begin:body])
    stated = _number(fields.get(b"content-length"))
    end, size, fault = _extent(content, body, stated, choice.most_bytes)
    items: list[_Item] = []
    if size > choice.most_bytes:
        items = [Damage(offset, f"a record of more than {choice.most_bytes:,} bytes", size)]
    elif fault == CUT_OFF:
        items = [Damage(offset, CUT_OFF, end - begin)]
    elif offset >= choice.start:
        items = _items(content.buffer, content.verified, choice, (offset, number), fields, (body, end), fault)
    content.move(end)
    return items


def _body_start(content: _Content, begin: int) -> int | None:
    """Behind the empty line that ends the header at `begin`; None where there is no header."""
    if not content.have(begin + len(START)) or content.buffer[begin : begin + len(START)] != START:
        return None
    size = 0
    while True:
        limit = min(max(len(content.buffer) - begin, 1), HEAD_BYTES)
        found = content.buffer.find(b"\r\n\r\n", begin, begin + limit)
        bare = content.buffer.find(b"\n\n", begin, begin + limit if found < 0 else found)
        if bare >= 0 or found >= 0:
            return bare + 2 if bare >= 0 else found + 4
        size = limit + 1
        if size > HEAD_BYTES or not content.have(begin + size):
            return None


def _number(digits: bytes) -> int:
    return int(digits) if digits.isdigit() and len(digits) < 18 else -1


def _extent(content: _Content, body: int, stated: int, most_bytes: int) -> tuple[int, int, str | None]:
    """(end of the record's block, its bytes, what is wrong with it); the block is kept up to `most_bytes`."""
    there = isinstance(content, MappedContent)
    if stated >= 0 and (there or stated <= most_bytes) and _ends_at(content, body + stated):
        return body + stated, stated, None
    end, size = content.next_header(body, most_bytes)
    if size > most_bytes:
        return end, size, None
    if there and end == len(content.buffer) < body + stated and content.buffer[end - 4 : end] != b"\r\n\r\n":
        return end, size, CUT_OFF
    for _ in range(2):
        end -= 2 * (content.buffer[max(end - 2, body) : end] == b"\r\n")
    told = stated if stated >= 0 else "missing"
    return end, end - body, f"Content-Length is {told}, the record has {end - body} bytes"


def _ends_at(content: _Content, position: int) -> bool:
    """Whether the two line ends behind every record are at a position, or nothing but less of them before the next."""
    if not content.have(position):
        return False
    content.have(position + 4 + len(START), joining=False)
    after = content.buffer[position : position + 4 + len(START)]
    return after.startswith(b"\r\n\r\n") or START.startswith(after.lstrip(b"\r\n")[: len(START)])


def _items(
    buffer: bytes | mmap.mmap,
    verified: bool,
    choice: _Choice,
    place: tuple[int, int],
    fields: Fields,
    extent: tuple[int, int],
    fault: str | None,
) -> list[_Item]:
    """The record in an extent of a buffer and, where it has a fault, the damage that says so.

    `place` is the offset of its member and its number in there.
    """
    offset = place[0]
    kind = fields.get(b"warc-type").lower()
    if not kind:
        return [Damage(offset, "a record without WARC-Type", extent[1] - extent[0])]
    if not (choice.every or kind in RECORD_TYPES):
        choice.passed_over[kind.decode("latin-1")] += 1
        return [Damage(offset, fault, 0)] if fault else []
    start, end = extent
    if not verified and fault is None:
        fault = _digest_fault(fields.get(b"warc-block-digest"), buffer[start:end])
    block_type = fields.get(b"content-type")
    if kind == b"response" and block_type.startswith(b"application/http"):
        message = parse_message(buffer, start, end, choice.most_bytes)
        status, content_type, charset, body, undecoded = message
        fault = fault or undecoded
    else:
        (content_type, charset), status, body = media_type(block_type), None, buffer[start:end]
    if not (choice.every or content_type in MEDIA_TYPES):
        choice.passed_over[f"{kind.decode('latin-1')} {content_type}"] += 1
        return [Damage(offset, fault, 0)] if fault else []
    name = fields.get(b"warc-record-id") or f"{choice.source}:{offset}:{place[1]}".encode()
    url = _text(fields.get(b"warc-target-uri"))
    url = url.strip("<>") if url else None  # WARC/1.0 had angle brackets in its grammar, and some files have them
    date, truncated = _text(fields.get(b"warc-date")), _text(fields.get(b"warc-truncated"))
    about = record_id(name), kind.decode("latin-1"), url, date, choice.source, offset
    record = WarcRecord(*about, content_type, charset, body, status, truncated, fault)
    return [record, Damage(offset, fault, 0)] if fault else [record]


def _digest_fault(digest: bytes, block: bytes) -> str | None:
    """What is wrong with a block by its digest, SHA-1 in base 32 or in hexadecimal; other digests are not compared."""
    algorithm, _, stated = digest.partition(b":")
    if algorithm.lower() != b"sha1" or len(stated) not in (32, 40):
        return None
    found = hashlib.sha1(block).digest()
    same = stated.upper() == base64.b32encode(found) if len(stated) == 32 else stated.lower() == found.hex().encode()
    return None if same else "the block's digest differs"


def _text(value: bytes) -> str | None:
    return value.decode("utf-8", "replace") or None
