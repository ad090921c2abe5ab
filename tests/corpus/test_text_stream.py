"""Text larger than memory: units join exactly, every kind is read, memory is bounded, faults are named."""

import gzip
import json
import logging
import os
import random
import re
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.core.errors import ConfigError, InputError, MissingError
from groundup.corpus import text_stream
from groundup.corpus.text_stream import read_unit, text_units, units_fingerprint

PIECES = ["word", " ", "\n", "\r\n", "naïve", "你好。", "🙂", "   ", "12", "ends.", "\u3000"]


def cut_before_space(data: bytes) -> int:
    """A cut for these tests: before the last space that is not the first byte."""
    return max(data.rfind(b" ", 1), 0)


def read_all(units, block_bytes=1 << 20, cut=cut_before_space):
    return [list(read_unit(unit, cut, block_bytes)) for unit in units]


def records(texts):
    return "".join(json.dumps({"id": n, "text": text}) + "\n" for n, text in enumerate(texts)).encode()


def write_parquet(path, texts, rows_per_group, kind=None):
    table = pa.table({"id": list(range(len(texts))), "text": pa.array(texts, kind or pa.string())})
    pq.write_table(table, path, row_group_size=rows_per_group)


@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=60), st.integers(1, 80), st.integers(1, 40))
def test_the_ranges_of_a_plain_text_join_to_it(tmp_path_factory, pieces, unit_bytes, block_bytes):
    text = "x" + "".join(pieces)
    path = tmp_path_factory.mktemp("text") / "a.txt"
    path.write_bytes(text.encode())
    units = text_units([path], unit_bytes=unit_bytes)
    assert sum(unit.size_bytes for unit in units) == len(text.encode())
    blocks = read_all(units, block_bytes)
    assert b"".join(block for unit in blocks for block in unit).decode() == text
    for block in [block for unit in blocks for block in unit][1:]:
        assert block.startswith(b" "), "every boundary, of units and of blocks, is where the cut allows it"


@settings(max_examples=50)
@given(st.integers(2, 30), st.integers(2, 30), st.randoms())
def test_a_place_far_behind_its_nominal_one_is_the_same_for_both_neighbours(tmp_path_factory, unit, cell, chance):
    """Long stretches without a cut span units and the cells that are searched."""
    text = "x" + "".join(" " if chance.random() < 0.03 else chance.choice("abc") for _ in range(300))
    path = tmp_path_factory.mktemp("text") / "a.txt"
    path.write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_stream, "CELL_BYTES", cell)
        blocks = read_all(text_units([path], unit_bytes=unit), 7)
    assert b"".join(block for unit_blocks in blocks for block in unit_blocks).decode() == text


def test_blocks_grow_where_the_text_may_not_be_cut(tmp_path):
    (tmp_path / "a.txt").write_text("a" * 1000 + " " + "b" * 1000)
    assert [len(block) for block in read_all(text_units([tmp_path / "a.txt"]), 10)[0]] == [1000, 1001]
    assert [len(block) for block in read_all(text_units([tmp_path / "a.txt"]), 10, cut=lambda data: 0)[0]] == [2001]


def test_a_long_stretch_without_a_cut_is_not_searched_again_for_every_block(tmp_path):
    (tmp_path / "a.txt").write_text("a" * 100_000)
    asked: list[int] = []
    blocks = list(read_unit(text_units([tmp_path / "a.txt"])[0], lambda data: asked.append(len(data)) or 0, 10))
    assert [len(block) for block in blocks] == [100_000]
    assert len(asked) < 20
    assert sum(asked) < 300_000


def test_only_the_mark_at_the_start_of_a_file_is_dropped(tmp_path):
    text = "\ufeffone \ufefftwo \ufeffthree"
    (tmp_path / "a.txt").write_text(text)
    units = text_units([tmp_path / "a.txt"], unit_bytes=6)
    blocks = read_all(units, 9, cut=lambda data: max(data.rfind(text_stream.BYTE_ORDER_MARK, 1), 0))
    assert len(blocks) > 2
    assert b"".join(block for unit in blocks for block in unit).decode() == text[1:]
    line = '{"text": "x"}\n'
    (tmp_path / "b.jsonl").write_text(f"\ufeff{line}\ufeff{line}")
    with pytest.raises(InputError, match=r"b\.jsonl line 2 is not JSON \(Unexpected UTF-8 BOM"):
        read_all(text_units([tmp_path / "b.jsonl"], unit_bytes=17))


@given(st.lists(st.text(st.sampled_from('ab \n"é🙂\\'), max_size=20), min_size=1, max_size=20), st.integers(1, 200))
def test_each_line_is_read_once_whatever_the_ranges(tmp_path_factory, texts, unit_bytes):
    path = tmp_path_factory.mktemp("records") / "a.jsonl"
    path.write_bytes(records(texts))
    blocks = read_all(text_units([path], unit_bytes=unit_bytes))
    assert [block.decode() for unit in blocks for block in unit] == texts


def test_lines_blank_with_a_mark_without_an_end_or_with_half_a_surrogate(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "one"}\r\n\n  \n{"text": "\\ud800 \xff"}\n{"text": ""}\n{"text": "last"}')
    assert read_all(text_units([path])) == [[b"one", "\ufffd \ufffd".encode(), b"", b"last"]]


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
)
def test_parquet_in_ranges_of_row_groups(tmp_path, kind):
    texts = [f"row {n} é" * (n % 7) for n in range(100)]
    write_parquet(tmp_path / "a.parquet", texts, 10, kind)
    whole = text_units([tmp_path / "a.parquet"])
    assert [(unit.start, unit.end) for unit in whole] == [(0, 10)]
    units = text_units([tmp_path / "a.parquet"], unit_bytes=whole[0].size_bytes // 3)
    assert len(units) in (3, 4)
    assert sum(unit.size_bytes for unit in units) == whole[0].size_bytes
    assert [block.decode() for unit in read_all(units) for block in unit] == texts


def test_every_kind_gives_the_same_text(tmp_path):
    lines = [f"line {n}: 多 words\n" for n in range(2000)]
    text = "".join(lines).encode()
    frames = zstandard.ZstdCompressor().compress(text[:9000]) + zstandard.ZstdCompressor().compress(text[9000:])
    files = {
        "a.md": text,
        "b.txt.gz": gzip.compress(text[:999]) + gzip.compress(text[999:]),
        "c.txt.zst": frames,
        "d.jsonl": records(lines),
        "e.JSONL.GZ": gzip.compress(records(lines)),
        "f.jsonl.zst": zstandard.ZstdCompressor().compress(records(lines)),
        "g.csv": text,
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    write_parquet(tmp_path / "h.parquet", lines, 300)
    for name in [*files, "h.parquet"]:
        units = text_units([tmp_path / name], unit_bytes=5000)
        assert len(units) == 1 if name.lower().endswith((".gz", ".zst")) else len(units) > 1
        blocks = [block for unit in read_all(units, 512) for block in unit]
        assert b"".join(blocks) == text, name
        assert len(blocks) == len(lines) if "jsonl" in name.lower() or "parquet" in name else len(blocks) > 9, name


def test_bytes_that_are_no_text_become_replacement_characters(tmp_path):
    data = b"\xef\xbb\xbfcaf\xe9 cr\xc3\xa8me \xef\xbb\xbf br\xfbl\xe9e, and much else that is text \xe4\xbd"
    (tmp_path / "a.txt").write_bytes(data)
    for block_bytes in (4, 9, 1000):
        read = b"".join(read_all(text_units([tmp_path / "a.txt"]), block_bytes)[0])
        assert read == data.decode("utf-8-sig", "replace").encode()
    kept = b"line\r\nline\r" + "\u2028é".encode()
    (tmp_path / "b.txt").write_bytes(kept)
    assert read_all(text_units([tmp_path / "b.txt"])) == [[kept]]


def test_files_are_found_in_order_and_once(tmp_path, caplog):
    for name in ("b/two.txt", "b/a/one.md", "b/.hidden.txt", "b/no.csv", "named.csv", "c/x.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('{"text": "x"}')
    (tmp_path / "b" / "empty.txt").touch()
    (tmp_path / "b" / "empty.jsonl").write_text("\n")
    (tmp_path / "b" / "binary.txt").write_bytes(bytes(range(256)))
    write_parquet(tmp_path / "b" / "empty.parquet", [], 10)
    with caplog.at_level(logging.WARNING, "groundup"):
        units = text_units([tmp_path / "named.csv", tmp_path / "b", f"{tmp_path}/**/*.*", str(tmp_path / "c")])
    found = [unit.path.relative_to(tmp_path).as_posix() for unit in units]
    assert found == ["named.csv", "b/a/one.md", "b/two.txt", "b/no.csv", "c/x.jsonl"]
    assert [line for line in caplog.messages if "looks binary" in line]
    assert len([line for line in caplog.messages if "is empty" in line]) == 3, "told once, not again for the glob"
    assert len({unit.key for unit in units}) == len(units)


def test_the_fingerprint_knows_content_by_name_size_and_time(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("some text")
    first = units_fingerprint(text_units([path]))
    assert units_fingerprint(text_units([str(path)])) == first
    assert units_fingerprint(text_units([path], unit_bytes=4)) != first
    os.utime(path, (1, 1))
    assert units_fingerprint(text_units([path])) != first


def test_progress_adds_up_to_the_size_of_the_unit(tmp_path, monkeypatch):
    monkeypatch.setattr(text_stream, "REPORT_BYTES", 1000)
    lines = ["a line with some words\n" * 9] * 200
    (tmp_path / "a.txt").write_text("".join(lines))
    (tmp_path / "b.jsonl").write_bytes(records(lines))
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(records(lines), compresslevel=0))
    write_parquet(tmp_path / "d.parquet", [str(random.Random(n).random()) for n in range(2000)], 100)
    for path in sorted(tmp_path.iterdir()):
        for number, unit in enumerate(text_units([path], unit_bytes=9000)):
            told: list[int] = []
            for _ in read_unit(unit, cut_before_space, 500, told.append):
                pass
            assert sum(told) == unit.size_bytes
            assert all(count >= 0 for count in told)
            assert number or len(told) > 2, path.name


def test_memory_is_a_few_blocks_whatever_the_size(tmp_path):
    line = "some words of a text that goes on and on, " * 20 + "\n"
    (tmp_path / "a.txt").write_text(line * 10_000)
    packed = zstandard.ZstdCompressor().compress((line * 10_000).encode())
    (tmp_path / "b.txt.zst").write_bytes(packed)
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(records([line] * 10_000), compresslevel=1))
    block = 1 << 17
    for name in ("a.txt", "b.txt.zst", "c.jsonl.gz"):
        units = text_units([tmp_path / name])
        tracemalloc.start()
        try:
            size = sum(len(text) for unit in units for text in read_unit(unit, cut_before_space, block))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert size == len(line) * 10_000 > 8_000_000
        assert peak < 8 * block, name


def test_parquet_is_read_a_few_pages_at_a_time(tmp_path):
    texts = [random.Random(n).randbytes(600).hex() for n in range(16_000)]
    write_parquet(tmp_path / "a.parquet", texts, len(texts))
    pool, size, most = pa.default_memory_pool(), 0, 0
    before = pool.bytes_allocated()
    for text in read_unit(text_units([tmp_path / "a.parquet"])[0], cut_before_space):
        size += len(text)
        most = max(most, pool.bytes_allocated() - before)
    assert size == sum(map(len, texts)) > 19_000_000
    assert most < size // 4


FAULTS = {
    "nothing.txt": (b"", "is empty; give a file with text"),
    "zeros.txt": (b"\0\1" * 900, "looks binary"),
    "latin.txt": (b"\xe9\xe8 \xe0" * 30, "looks binary, not like text in UTF-8"),
    "nothing.jsonl": (b"\n", "is empty; give a file with records"),
    "list.jsonl": (b"[1]\n", r'list\.jsonl line 1 is no JSON object; each line must look like {"text": "..."}'),
    "other.jsonl": (b'{"text": "a"}\n\n{"txet": "b"}\n', r"other\.jsonl line 3 has no 'text'; did you mean 'txet'"),
    "null.jsonl": (b'{"text": null}\n', r"null\.jsonl line 1 has a 'text' that is no string"),
    "broken.jsonl": (b'{"text": "a"}\n{"text"', r"broken\.jsonl line 2 is not JSON \(.*\); each line must"),
    "cut.txt.gz": (gzip.compress(os.urandom(99_999).hex().encode())[:-9], r"cut\.txt\.gz is not a whole \.gz file"),
    "no.txt.gz": (b"plain text", r"no\.txt\.gz is not a whole \.gz file"),
    "cut.jsonl.zst": (
        zstandard.ZstdCompressor().compress(records(["x" * 99]))[:-3],
        r"cut\.jsonl\.zst is not a whole \.zst file \(.*[Tt]runcated.*\); fetch",
    ),
    "no.txt.zst": (b"plain text", r"no\.txt\.zst is not a whole \.zst file"),
    "no.parquet": (b"plain text", r"no\.parquet is not a whole Parquet file \(.*\); fetch"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_file_that_cannot_be_used_is_named(tmp_path, name):
    data, message = FAULTS[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=message):
        read_all(text_units([tmp_path / name]))


def test_a_fault_in_a_later_range_is_named_by_its_line_in_the_file(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(records(["some text"] * 50) + b"no\n" + records(["some text"] * 50))
    units = text_units([path], unit_bytes=300)
    with pytest.raises(InputError, match=re.escape(f"{path} line 51 is not JSON")):
        read_all(units)


def test_faults_of_a_parquet_column_are_named(tmp_path):
    write_parquet(tmp_path / "a.parquet", ["x", "y", None, "z"], 2)
    with pytest.raises(InputError, match=r"a\.parquet has no column 'texts'; did you mean 'text'"):
        text_units([tmp_path / "a.parquet"], column="texts")
    with pytest.raises(InputError, match=r"column 'id' of .*a\.parquet holds int64, not text"):
        text_units([tmp_path / "a.parquet"], column="id")
    with pytest.raises(InputError, match=r"a\.parquet row 3 has no 'text'; remove such rows"):
        read_all(text_units([tmp_path / "a.parquet"], unit_bytes=1))
    write_parquet(tmp_path / "b.parquet", [], 2)
    with pytest.raises(InputError, match=r"b\.parquet is empty"):
        text_units([tmp_path / "b.parquet"])


def test_missing_inputs_are_named(tmp_path):
    with pytest.raises(MissingError, match=r"There is no file .*absent\.txt"):
        text_units([tmp_path / "absent.txt"])
    with pytest.raises(MissingError, match=r"No file matches .*\*\.jsonl; check the pattern"):
        text_units([f"{tmp_path}/*.jsonl"])
    with pytest.raises(MissingError, match=r"The folder .* has no text in it; files ending in \.txt, .* are read"):
        text_units([tmp_path])
    with pytest.raises(InputError, match="No input was given"):
        text_units([])
    with pytest.raises(ConfigError, match="A unit of 0 bytes"):
        text_units([tmp_path], unit_bytes=0)
    (tmp_path / "empty.txt").touch()
    with pytest.raises(InputError, match="every file there was left out"):
        text_units([tmp_path])
    (tmp_path / "odd[1].txt").write_text("a name, no pattern")
    assert len(text_units([str(tmp_path / "odd[1].txt")])) == 1
