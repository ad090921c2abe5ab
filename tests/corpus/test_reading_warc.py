"""Sound WARC files: the same records as fastwarc gives, whatever the packing and the division into byte ranges."""

import base64
import gzip
import hashlib
import itertools
import random
import zlib
from collections import Counter

import brotli
import pytest
import zstandard
from fastwarc.warc import ArchiveIterator, WarcRecordType
from warc_files import gz, page, read, record, records, response, stored, write, zst

from groundup.corpus.reading import members
from groundup.corpus.reading.warc import Damage, read_records, record_id, units


def in_ranges(path, unit_bytes):
    return [item for unit in units(path, unit_bytes) for item in read_records(*unit)]


def blocks_of(data, size=5000):
    """Members cut without regard to records, as bgzip does."""
    return b"".join(gz(data[i : i + size]) for i in range(0, len(data), size))


PACKED = {
    "members.warc.gz": lambda parts: b"".join(map(gz, parts)),
    "one-member.warc.gz": lambda parts: gz(b"".join(parts)),
    "blocks.warc.gz": lambda parts: blocks_of(b"".join(parts)),
    "frames.warc.zst": lambda parts: b"".join(map(zst, parts)),
    "plain.warc": b"".join,
    "named-otherwise": lambda parts: b"".join(map(gz, parts)),
}


@pytest.mark.parametrize("name", PACKED)
def test_every_packing_gives_the_records_of_fastwarc(tmp_path, name):
    parts, bodies = records(40)
    path = write(tmp_path / name, PACKED[name](parts))
    found, damage = read(path)
    assert not damage
    assert [one.body for one in found] == bodies
    assert [one.url for one in found] == [f"https://example.org/{number}" for number in range(40)]
    assert {(one.status, one.content_type, one.charset, one.type) for one in found} == {
        (200, "text/html", "utf-8", "response")
    }
    theirs = list(ArchiveIterator(str(path), record_types=WarcRecordType.response))
    assert [one.id for one in found] == [record_id(one.headers["WARC-Record-ID"].encode()) for one in theirs]
    if name in ("members.warc.gz", "plain.warc"):
        assert [one.offset for one in found] == [one.stream_pos for one in theirs]


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("unit_bytes", [1, 777, 9_000, 1 << 20])
def test_any_division_gives_the_same_records(tmp_path, name, unit_bytes):
    parts, _ = records(30)
    path = write(tmp_path / name, PACKED[name](parts))
    if unit_bytes == 1:
        unit_bytes = max(path.stat().st_size // 97, 1)
    assert in_ranges(path, unit_bytes) == list(read_records(path))


def test_a_division_inside_an_archive_in_an_archive(tmp_path, monkeypatch):
    monkeypatch.setattr(members, "LOOK_BACK_BYTES", 10_000)
    inner = b"".join(gz(record(response(page(seed, 400)), 1000 + seed)) for seed in range(900))
    assert len(inner) > 200_000
    parts, _ = records(60)
    packed = [gz(part) for part in parts]
    whole = stored(record(response(inner, content_type="text/html"), 555))
    path = write(tmp_path / "a.warc.gz", *packed[:30], whole, *packed[30:])
    found, damage = read(path)
    assert not damage
    assert len(found) == 61
    for unit_bytes in (5_000, 30_011, 66_000, 120_000):
        assert in_ranges(path, unit_bytes) == list(read_records(path))


def test_random_divisions_of_a_larger_file(tmp_path):
    parts, _ = records(400, 3000)
    path = write(tmp_path / "a.warc.gz", *map(gz, parts))
    whole, size = list(read_records(path)), path.stat().st_size
    generator = random.Random(3)
    for _ in range(5):
        cuts = [0, *sorted(generator.sample(range(1, size), 9)), size]
        ranges = itertools.pairwise(cuts)
        assert [item for start, end in ranges for item in read_records(path, start, end)] == whole


def test_only_pages_and_texts_come_and_the_others_are_counted(tmp_path):
    parts = [
        record(b"software: x\r\n", 1, "warcinfo"),
        record(b"GET / HTTP/1.1\r\n\r\n", 2, "request"),
        record(response(b"<p>page"), 3),
        record(response(b"\x89PNG", content_type="image/png"), 4),
        record("текст".encode(), 5, "conversion"),
        record(response(b"no type", content_type=""), 6),
    ]
    path = write(tmp_path / "a.warc.gz", *map(gz, parts))
    counts = Counter()
    found, damage = read(path, passed_over=counts)
    assert not damage
    assert [one.body for one in found] == [b"<p>page", "текст".encode(), b"no type"]
    assert counts == {"warcinfo": 1, "request": 1, "response image/png": 1}
    assert len(read(path, every=True)[0]) == 6


def test_line_ends_versions_and_folded_headers(tmp_path):
    bare = record(response(b"bare"), 1).replace(b"\r\n", b"\n")
    folded = record(response(b"folded", headers=("X-Long: a", "  b")), 2, version="WARC/1.1")
    angled = record(response(b"angled"), 3).replace(b"https://example.org/3", b"<https://example.org/3>")
    upper = record(response(b"upper"), 4).replace(b"Content-Length", b"CONTENT-LENGTH")
    bare = bare.replace(b"Content-Length: %d" % len(response(b"bare")), b"Content-Length: 54")
    bare = bare.replace(b"Content-Length: 54", b"Content-Length: %d" % len(response(b"bare").replace(b"\r\n", b"\n")))
    found, damage = read(write(tmp_path / "a.warc", bare, folded, angled, upper))
    assert not damage
    assert [one.body for one in found] == [b"bare", b"folded", b"angled", b"upper"]
    assert found[2].url == "https://example.org/3"


def chunked(body):
    return b"".join(b"%x;ext=1\r\n%s\r\n" % (len(p), p) for p in (body[:100], body[100:])) + b"0\r\n\r\n"


CODINGS = {
    "chunks": (("Transfer-Encoding: chunked",), chunked),
    "chunks that are joined already": (("Transfer-Encoding: chunked",), bytes),
    "gzip": (("Content-Encoding: gzip",), gzip.compress),
    "gzip that is undone already": (("Content-Encoding: gzip",), bytes),
    "gzip in chunks": (
        ("Content-Encoding: gzip", "Transfer-Encoding: chunked"),
        lambda body: chunked(gzip.compress(body)),
    ),
    "deflate": (("Content-Encoding: deflate",), zlib.compress),
    "raw deflate": (("Content-Encoding: deflate",), lambda body: gzip.compress(body)[10:-8]),
    "br": (("Content-Encoding: br",), brotli.compress),
    "br that is undone already": (("Content-Encoding: br",), bytes),
    "zstd": (("Content-Encoding: zstd",), zstandard.compress),
    "none": (("Content-Encoding: identity",), bytes),
}


@pytest.mark.parametrize("name", CODINGS)
def test_codings_of_the_body(tmp_path, name):
    headers, pack = CODINGS[name]
    body = page(1, 4000)
    (found,), damage = read(write(tmp_path / "a.warc.gz", gz(record(response(pack(body), headers)))))
    assert found.body == body
    assert (found.fault, damage) == (None, [])


BROKEN = {
    "gzip": (lambda body: gzip.compress(body)[:-30], "gzip body is cut off"),
    "br": (lambda body: brotli.compress(body)[:-9], "br body"),
    "deflate": (lambda body: b"\x78\x9c" + b"\xff" * 90, "damaged deflate body"),
    "zstd": (lambda body: zstandard.compress(body)[:20] + b"\xff" * 40, "damaged zstd body"),
    "gzip, gzip, gzip, gzip, gzip": (bytes, "too many content codings"),
}


@pytest.mark.parametrize("coding", BROKEN)
def test_broken_codings_are_told(tmp_path, coding):
    spoil, fault = BROKEN[coding]
    body = random.Random(1).randbytes(3000).hex().encode()
    packed = gz(record(response(spoil(body), (f"Content-Encoding: {coding}",))))
    (found,), (damage,) = read(write(tmp_path / "a.warc.gz", packed))
    assert fault in found.fault
    assert damage == Damage(0, found.fault, 0)


def test_a_bomb_in_a_body_is_not_unpacked(tmp_path):
    bomb = gzip.compress(gzip.compress(b"\0" * (60 << 20)))
    headers = ("Content-Encoding: gzip, gzip",)
    (found,), (damage,) = read(write(tmp_path / "a.warc.gz", gz(record(response(bomb, headers)))), most_bytes=1 << 20)
    assert found.body == b""
    assert "more than 1,048,576 bytes" in damage.reason


@pytest.mark.parametrize("form", ["base32", "hex"])
def test_digests_are_compared_where_nothing_else_is(tmp_path, form):
    parts, bodies = records(5)
    block = response(bodies[2])
    digest = hashlib.sha1(block)
    told = base64.b32encode(digest.digest()).decode() if form == "base32" else digest.hexdigest()
    parts[2] = record(block, 2, headers=(f"WARC-Block-Digest: sha1:{told}",))
    assert not read(write(tmp_path / "sound.warc", *parts))[1]
    parts[2] = parts[2].replace(b"</p>", b"<xp>")
    found, (damage,) = read(write(tmp_path / "spoilt.warc", *parts))
    assert len(found) == 5
    assert damage.reason == found[2].fault == "the block's digest differs"


def test_ids(tmp_path):
    parts, _ = records(2)
    parts.append(record(response(b"x")).replace(b"WARC-Record-ID", b"X-Record-ID"))
    found, _ = read(write(tmp_path / "a.warc.gz", *map(gz, parts)))
    expected = hashlib.blake2b(b"<urn:uuid:%032x>" % 1, digest_size=16).hexdigest()
    assert found[1].id == expected
    assert len({one.id for one in found}) == 3
    (tmp_path / "elsewhere").mkdir()
    moved = read((tmp_path / "a.warc.gz").rename(tmp_path / "elsewhere" / "a.warc.gz"))[0]
    assert [one.id for one in moved] == [one.id for one in found]


def test_a_dictionary_of_zstd(tmp_path):
    parts, bodies = records(30)
    dictionary = zstandard.train_dictionary(4096, parts * 5)
    packer = zstandard.ZstdCompressor(dict_data=dictionary)
    for content in (dictionary.as_bytes(), zstandard.compress(dictionary.as_bytes())):
        head = b"\x5d\x2a\x4d\x18" + len(content).to_bytes(4, "little") + content
        path = write(tmp_path / "a.warc.zst", head, *map(packer.compress, parts))
        found, damage = read(path)
        assert not damage
        assert [one.body for one in found] == bodies
        assert in_ranges(path, 4_000) == found
