"""WARC files for tests, made by hand: records with known bodies, packed in every way."""

import gzip
import random
import struct
import zlib

import zstandard

from groundup.corpus.reading.warc import Damage, WarcRecord, read_records


def page(seed, size=2000):
    """A page of words that compresses like text."""
    generator = random.Random(seed)
    words = " ".join(generator.choice(("river", "stone", "häuser", "слово", "文字", "lamp")) for _ in range(size // 6))
    return f"<html><title>{seed}</title><p>{words}</p></html>".encode()


def response(body, headers=(), status="200 OK", content_type="text/html; charset=utf-8"):
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def record(block, number=0, kind="response", length=None, version="WARC/1.0", headers=()):
    """A record; `length` is a Content-Length that lies."""
    content_type = "text/plain" if kind == "conversion" else f"application/http; msgtype={kind}"
    lines = [
        version,
        f"WARC-Type: {kind}",
        f"WARC-Record-ID: <urn:uuid:{number:032x}>",
        f"WARC-Target-URI: https://example.org/{number}",
        "WARC-Date: 2024-05-01T00:00:00Z",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(block) if length is None else length}",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + block + b"\r\n\r\n"


def records(count, size=2000):
    """So many responses, and what their bodies are."""
    bodies = [page(number, size + number % 7 * 300) for number in range(count)]
    return [record(response(body), number) for number, body in enumerate(bodies)], bodies


def gz(data, level=6):
    packer = zlib.compressobj(level, zlib.DEFLATED, 31)
    return packer.compress(data) + packer.flush()


def zst(data):
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


def stored(data):
    """A gzip member whose bytes stand verbatim in it, as those of what cannot be compressed do."""
    blocks = [data[i : i + 65535] for i in range(0, len(data), 65535)]
    out = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
    for i, block in enumerate(blocks):
        out += struct.pack("<BHH", i == len(blocks) - 1, len(block), len(block) ^ 0xFFFF) + block
    out += struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF)
    assert gzip.decompress(out) == data
    return out


def write(path, *parts):
    path.write_bytes(b"".join(parts))
    return path


def read(path, *arguments, **options):
    """(records, damage)"""
    items = list(read_records(path, *arguments, **options))
    assert all(isinstance(item, (WarcRecord, Damage)) for item in items)
    return [item for item in items if isinstance(item, WarcRecord)], [i for i in items if isinstance(i, Damage)]
