"""The HTTP response inside a WARC record: status, content type, charset, and the body with its codings undone.

Common Crawl stores bodies already decoded, in its older crawls still below the header `Content-Encoding: gzip`; other
crawlers store what came over the line (RFC 9112 chunks, gzip, deflate, br, zstd). So a coding is undone where the
header names it and the body really is in it; else the body stays as it is.
"""

import mmap
import re
import zlib
from functools import lru_cache
from typing import NamedTuple

from groundup.corpus.reading.members import ZSTD_MAGIC, BrokenMemberError, frame_end

OUTPUT_BYTES = 1 << 20
MOST_CODINGS = 4  # more than that are no page but an attack
CHARSET = re.compile(rb"charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]+)", re.IGNORECASE)
FOLD = re.compile(rb"\r?\n[ \t]+")
STATUS = re.compile(rb"HTTP/[\d.]+[ \t]+(\d{3})(?!\d)")
CHUNK_HEAD = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r?\n")


class HttpMessage(NamedTuple):
    """`status` is None without a readable status line; `fault` says what of the body could not be decoded."""

    status: int | None
    content_type: str
    charset: str | None
    body: bytes
    fault: str | None


def parse_message(buffer: bytes | mmap.mmap, start: int, end: int, most_bytes: int) -> HttpMessage:
    """A response as it came over the line, in an extent of a buffer; the body is copied once.

    One that would decode to more than `most_bytes` is a fault and empty.
    """
    head, body_start = _split_head(buffer, start, end)
    body = buffer[body_start:end]
    fields = Fields(head)
    status = STATUS.match(head)
    content_type, charset = media_type(fields.get(b"content-type"))
    fault = None
    if b"\ncontent-encoding:" in fields.lower or b"\ntransfer-encoding:" in fields.lower:
        codings = fields.get(b"content-encoding") + b"," + fields.get(b"transfer-encoding")
        body, fault = decode_body(body, codings.lower(), most_bytes)
    return HttpMessage(int(status[1]) if status else None, content_type, charset, body, fault)


class Fields:
    """The fields of a header, searched for by name: of some twenty a record needs six; a table costs three times more.

    Case does not matter; the first of several counts; a folded line (RFC 9112, 5.2) is joined.
    """

    __slots__ = ("head", "lower")

    def __init__(self, head: bytes) -> None:
        if b"\n " in head or b"\n\t" in head:
            head = FOLD.sub(b" ", head)
        self.head, self.lower = head, head.lower()

    def get(self, name: bytes) -> bytes:
        """The value of a field, empty where there is none; `name` is in lower case."""
        place = self.lower.find(b"\n" + name + b":")
        if place < 0:
            return b""
        start = place + len(name) + 2
        end = self.head.find(b"\n", start)
        return self.head[start : end if end >= 0 else None].strip()


@lru_cache(1024)
def media_type(value: bytes) -> tuple[str, str | None]:
    """("text/html", "utf-8") of `text/html; charset=UTF-8`."""
    charset = CHARSET.search(value)
    kind = value.split(b";", 1)[0].strip().lower().decode("latin-1")
    return kind, charset[1].decode("latin-1").lower() if charset else None


def decode_body(body: bytes, codings: bytes, most_bytes: int) -> tuple[bytes, str | None]:
    """Undo the codings of a body, the last one first; returns what could be decoded, and what was wrong."""
    names = [name.strip() for name in codings.split(b",")]
    names = [name for name in reversed(names) if name not in (b"", b"identity")]
    if len(names) > MOST_CODINGS:
        return b"", "too many content codings"
    fault = None
    for name in names:
        if name == b"chunked":
            body, fault = _join_chunks(body)
        elif name in (b"gzip", b"x-gzip", b"deflate"):
            body, fault = _inflated(body, name, most_bytes)
        elif name == b"br":
            body, fault = _from_brotli(body, most_bytes)
        elif name == b"zstd":
            body, fault = _from_zstd(body, most_bytes)
        if fault:
            break
    return body, fault


def _split_head(buffer: bytes | mmap.mmap, start: int, end: int) -> tuple[bytes, int]:
    """Headers and where the body starts; servers that end lines with a lone newline are understood."""
    found = buffer.find(b"\r\n\r\n", start, end)
    bare = buffer.find(b"\n\n", start, found if found >= 0 else end)
    if bare >= 0:
        return buffer[start:bare], bare + 2
    return (buffer[start:found], found + 4) if found >= 0 else (buffer[start:end], end)


def _join_chunks(body: bytes) -> tuple[bytes, str | None]:
    """The body of `Transfer-Encoding: chunked`; one that does not begin with a chunk was joined already."""
    pieces = []
    position = 0
    while head := CHUNK_HEAD.match(body, position):
        size = int(head[1], 16)
        if not size:
            return b"".join(pieces), None
        start = head.end()
        pieces.append(body[start : start + size])
        if start + size > len(body):
            return b"".join(pieces), "a chunk is cut off"
        position = start + size
        position += 2 if body[position : position + 2] == b"\r\n" else body[position : position + 1] == b"\n"
    if not pieces:
        return body, None
    return b"".join(pieces), "damaged chunks" if position < len(body) else "the last chunk is missing"


def _inflated(body: bytes, name: bytes, most_bytes: int) -> tuple[bytes, str | None]:
    """gzip by its magic number, deflate with the zlib header or, as some servers send it, without."""
    if body[:2] == b"\x1f\x8b":
        form = 31
    elif name != b"deflate" or body.lstrip()[:1] == b"<":
        return body, None  # decoded already
    else:
        form = 15 if len(body) > 1 and body[0] & 15 == 8 and int.from_bytes(body[:2]) % 31 == 0 else -15
    decoder = zlib.decompressobj(form)
    pieces, size, rest = [], 0, body
    while not decoder.eof:
        try:
            piece = decoder.decompress(rest, OUTPUT_BYTES)
        except zlib.error:
            return b"".join(pieces), f"damaged {name.decode('latin-1')} body"
        pieces.append(piece)
        size += len(piece)
        if size > most_bytes:
            return b"", f"a body of more than {most_bytes:,} bytes"
        rest = decoder.unconsumed_tail
        if not piece and not rest and not decoder.eof:
            return b"".join(pieces), f"a {name.decode('latin-1')} body is cut off"
    return b"".join(pieces), None


def _from_brotli(body: bytes, most_bytes: int) -> tuple[bytes, str | None]:
    try:
        import brotli
    except ImportError:
        return body, "a br body, and the package brotli is not installed"
    decoder = brotli.Decompressor()
    pieces, size = [], 0
    try:
        piece = decoder.process(body, output_buffer_limit=OUTPUT_BYTES)
        while piece or not decoder.is_finished():
            pieces.append(piece)
            size += len(piece)
            if size > most_bytes:
                return b"", f"a body of more than {most_bytes:,} bytes"
            if not piece:
                return b"".join(pieces), "a br body is cut off"
            piece = decoder.process(b"", output_buffer_limit=OUTPUT_BYTES)
    except brotli.error:  # it has no magic number: a body that never was in it fails at its start
        return (b"".join(pieces), "damaged br body") if pieces else (body, None)
    return b"".join(pieces), None


def _from_zstd(body: bytes, most_bytes: int) -> tuple[bytes, str | None]:
    import zstandard

    if body[:4] != ZSTD_MAGIC:
        return body, None
    try:
        frame_end(memoryview(body), 0)  # the reader below takes a cut frame for a whole one
        content = zstandard.ZstdDecompressor().stream_reader(body).read(most_bytes + 1)
    except (zstandard.ZstdError, BrokenMemberError):
        return b"", "damaged zstd body"
    return (content, None) if len(content) <= most_bytes else (b"", f"a body of more than {most_bytes:,} bytes")
