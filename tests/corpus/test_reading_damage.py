"""Damaged and hostile WARC files: what is sound comes, what is not is told, and any division gives the same."""

import random
import time
import tracemalloc

import pytest
from warc_files import gz, page, read, record, records, response, stored, write, zst

from groundup.corpus.reading import members
from groundup.corpus.reading.warc import Damage, read_records, units


def in_ranges(path, unit_bytes):
    return [item for unit in units(path, unit_bytes) for item in read_records(*unit)]


@pytest.mark.parametrize("place", [0.1, 0.5, 0.9])
def test_400_bytes_of_252_records(tmp_path, place):
    parts, bodies = records(252, 3000)
    data = bytearray(b"".join(map(gz, parts)))
    at = int(len(data) * place)
    data[at : at + 400] = random.Random(1).randbytes(400)
    path = write(tmp_path / "a.warc.gz", data)
    found, damage = read(path)
    assert len(found) >= 250
    assert {one.body for one in found} <= set(bodies)
    assert damage
    assert all(one.bytes_skipped > 0 and one.offset <= at + 400 for one in damage)
    assert in_ranges(path, 10_000) == list(read_records(path))


@pytest.mark.parametrize("pack", [gz, zst, bytes], ids=["gzip", "zstd", "plain"])
def test_random_damage_never_gives_a_false_body_and_never_fails(tmp_path, pack):
    parts, bodies = records(60, 900)
    sound = b"".join(map(pack, parts))
    name = {gz: "a.warc.gz", zst: "a.warc.zst", bytes: "a.warc"}[pack]
    for seed in range(25):
        generator = random.Random(seed)
        data = bytearray(sound)
        for _ in range(generator.randrange(1, 4)):
            at = generator.randrange(len(data))
            match generator.randrange(4):
                case 0:
                    data[at] ^= 1 << generator.randrange(8)
                case 1:
                    del data[at : at + generator.randrange(1, 2000)]
                case 2:
                    data[at:at] = generator.randbytes(generator.randrange(1, 2000))
                case 3:
                    data[at : at + 300] = bytes(300)
        path = write(tmp_path / name, data)
        found, damage = read(path)
        assert len(found) >= 60 - 9
        if pack is not bytes:  # a plain file has no checksum: a damaged page may look like one
            assert {one.body for one in found} <= set(bodies)
            assert damage or len(found) == 60  # a flipped bit may lie where no decoder looks, such as a name
        assert in_ranges(path, generator.randrange(500, 30_000)) == list(read_records(path))


def test_garbage_before_between_and_behind(tmp_path):
    parts, bodies = records(6)
    packed = list(map(gz, parts))
    junk = random.Random(2).randbytes(5000)
    path = write(tmp_path / "a.warc.gz", junk, *packed[:3], junk, *packed[3:], junk)
    found, damage = read(path)
    assert [one.body for one in found] == bodies
    assert [one.bytes_skipped for one in damage] == [5000] * 3
    assert damage[0].offset == 0
    plain = write(tmp_path / "b.warc", b"<html>junk\n" * 9, *parts[:3], b"junk\nWARC/ junk\n", *parts[3:])
    found, damage = read(plain)
    assert [one.body for one in found] == bodies
    assert [(one.reason, one.bytes_skipped) for one in damage] == [("no WARC header", 99), ("no WARC header", 16)]
    assert damage[0].offset == 0


@pytest.mark.parametrize("lie", [0, 5, 900, 2000, 5000, 10**9, 10**30, -4, "x"])
@pytest.mark.parametrize("packing", ["members", "one member", "plain"])
def test_a_content_length_that_lies(tmp_path, lie, packing):
    parts, bodies = records(9)
    parts[4] = record(response(bodies[4]), 4, length=lie)
    pack = {"members": lambda: map(gz, parts), "one member": lambda: [gz(b"".join(parts))], "plain": lambda: parts}
    path = write(tmp_path / ("a.warc" if packing == "plain" else "a.warc.gz"), *pack[packing]())
    found, damage = read(path)
    assert [one.body for one in found] == bodies
    assert [bool(one.fault) for one in found] == [number == 4 for number in range(9)]
    (told,) = damage
    assert told == Damage(found[4].offset, found[4].fault, 0)
    assert "Content-Length" in told.reason
    assert in_ranges(path, 1500) == list(read_records(path))


@pytest.mark.parametrize("cut", [3, 9, 100, 300])
def test_a_cut_tail(tmp_path, cut):
    parts, bodies = records(8)
    for name, data in (
        ("a.warc.gz", b"".join(map(gz, parts))),
        ("a.warc.zst", b"".join(map(zst, parts))),
        ("a.warc", b"".join(parts)),
    ):
        path = write(tmp_path / name, data[:-cut])
        found, damage = read(path)
        if name == "a.warc" and cut == 3:  # of the newlines behind the last record
            assert [one.body for one in found] == bodies
            continue
        assert [one.body for one in found] == bodies[:7]
        (told,) = damage
        assert "the file ends inside" in told.reason
        assert told.offset + told.bytes_skipped == len(data) - cut


def test_empty_files_and_files_of_something_else(tmp_path):
    assert read(write(tmp_path / "empty.warc.gz", b"")) == ([], [Damage(0, "the file is empty", 0)])
    for name in ("x.warc.gz", "x.warc.zst", "x.warc"):
        path = write(tmp_path / name, random.Random(4).randbytes(20_000))
        found, (told,) = read(path)
        assert (found, told.offset, told.bytes_skipped) == ([], 0, 20_000)
    found, (told,) = read(write(tmp_path / "y.warc.gz", gz(b"no archive at all")))
    assert (found, told.reason) == ([], "no WARC header")


def measured(path, **options):
    """(what `read` gives, seconds, peak bytes of Python's allocations)"""
    tracemalloc.start()
    start = time.process_time()
    result = read(path, **options)
    seconds, peak = time.process_time() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return result, seconds, peak


@pytest.mark.parametrize("kind", ["record", "no record", "lying record", "frame"])
def test_400_megabytes_of_zeros_are_neither_held_nor_waited_for(tmp_path, kind):
    parts, bodies = records(6)
    zeros = bytes(400 << 20)
    length = {"lying record": 1000}.get(kind)
    bomb = zeros if kind == "no record" else record(zeros, 77, length=length)
    pack = zst if kind == "frame" else lambda data: gz(data, 1)
    packed = [pack(part) for part in parts]
    path = write(tmp_path / f"a.warc.{'zst' if kind == 'frame' else 'gz'}", *packed[:3], pack(bomb), *packed[3:])
    del zeros, bomb
    (found, damage), seconds, peak = measured(path)
    assert [one.body for one in found] == bodies
    assert len(damage) == 1
    assert damage[0].bytes_skipped >= 400 << 20
    assert peak < 120 << 20
    assert seconds < 10


def test_a_member_without_an_end_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(members, "MOST_EXPANDED_BYTES", 8 << 20)
    parts, bodies = records(4)
    packed = list(map(gz, parts))
    path = write(tmp_path / "a.warc.gz", *packed[:2], gz(record(bytes(20 << 20), 9)), *packed[2:])
    found, (damage,) = read(path)
    assert [one.body for one in found] == bodies
    assert "a member of more than" in damage.reason


def test_a_record_over_the_limit_is_told(tmp_path):
    parts, bodies = records(5)
    parts[2] = record(response(page(1, 90_000)), 2)
    for name, data in (
        ("a.warc.gz", b"".join(map(gz, parts))),
        ("b.warc.gz", gz(b"".join(parts))),
        ("a.warc", b"".join(parts)),
    ):
        found, (told,) = read(write(tmp_path / name, data), most_bytes=50_000)
        assert [one.body for one in found] == bodies[:2] + bodies[3:]
        assert told.reason == "a record of more than 50,000 bytes"
        assert told.bytes_skipped >= 90_000


def test_damage_inside_an_archive_in_an_archive(tmp_path):
    inner = b"".join(gz(record(response(page(seed, 400)), 1000 + seed)) for seed in range(300))
    parts, _ = records(40)
    packed = [gz(part) for part in parts]
    whole = bytearray(stored(record(response(inner), 555)))
    whole[9000:9050] = bytes(50)
    path = write(tmp_path / "a.warc.gz", *packed[:20], whole, *packed[20:])
    found, damage = read(path)
    assert damage
    assert len([one for one in found if one.source == "a.warc.gz"]) >= 40
    for unit_bytes in (7_000, 40_000):
        assert in_ranges(path, unit_bytes) == list(read_records(path))


def test_a_header_without_end_and_a_header_of_noise(tmp_path):
    parts, bodies = records(4)
    endless = b"WARC/1.0\r\n" + b"X-Noise: y\r\n" * 20_000
    noise = b"WARC/1.0\r\n" + random.Random(5).randbytes(300).replace(b"\n", b"") + b"\r\n\r\nbody\r\n\r\n"
    for strange in (endless, noise):
        path = write(tmp_path / "a.warc.gz", *map(gz, parts[:2]), gz(strange), *map(gz, parts[2:]))
        found, damage = read(path)
        assert [one.body for one in found if one.body in bodies] == bodies
        assert damage
