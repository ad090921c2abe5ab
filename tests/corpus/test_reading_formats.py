"""Files of every form as documents and pages; what cannot be read is a `Damage` between the others."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from warc_files import gz, records, write

from groundup.core.errors import InputError, MissingError
from groundup.corpus.documents import Document
from groundup.corpus.reading.formats import corpus_files, read_documents, read_file
from groundup.corpus.reading.warc import Damage, WarcRecord
from groundup.corpus.sources import read_documents as read_small

PACK = {"": bytes, ".gz": lambda data: gzip.compress(data, mtime=0), ".zst": zstandard.compress}


def jsonl(*lines):
    return "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines).encode()


@pytest.mark.parametrize("packing", PACK)
def test_json_lines_with_bad_ones_between(tmp_path, packing):
    data = jsonl({"text": "one", "id": "a", "url": "u", "meta": {"k": 1}}, "{broken", {"no": "text"}, "", {"text": "é"})
    path = write(tmp_path / f"x.jsonl{packing}", PACK[packing](data))
    first, broken, without, last = read_file(path)
    assert first == Document("a", "one", "u", path.name, {"k": 1})
    assert last.id == f"{tmp_path.name}/{path.name}:5"
    assert last.text == "é"
    lines = data.split(b"\n")
    assert (broken.offset, broken.bytes_skipped) == (len(lines[0]) + 1, len(lines[1]) + 1)
    assert "line 2 is not JSON" in broken.reason
    assert 'line 3 has no "text"' in without.reason


@pytest.mark.parametrize("packing", [".gz", ".zst"])
def test_a_packed_file_that_is_cut_off_gives_what_is_there(tmp_path, packing):
    lines = [{"text": f"{number} " * 500} for number in range(2000)]
    data = PACK[packing](jsonl(*lines))
    path = write(tmp_path / f"x.jsonl{packing}", data[: len(data) * 2 // 3])
    *documents, damage = read_file(path)
    assert [one.text for one in documents if isinstance(one, Document)] == [
        line["text"] for line in lines[: sum(isinstance(one, Document) for one in documents)]
    ]
    assert len(documents) > 100
    assert isinstance(damage, Damage)


def test_parquet_rows(tmp_path):
    table = pa.table(
        {
            "text": ["one", None, "three"],
            "id": ["a", "b", None],
            "url": ["u", None, None],
            "score": [0.5, 1.0, None],
            "meta": [{"k": 1}, None, None],
        }
    )
    pq.write_table(table, tmp_path / "x.parquet")
    first, gap, last = read_file(tmp_path / "x.parquet")
    assert first == Document("a", "one", "u", "x.parquet", {"score": 0.5, "k": 1})
    assert gap == Damage(2, "row 2 has no text", 0)
    assert last == Document(f"{tmp_path.name}/x.parquet:3", "three", source="x.parquet")
    (damage,) = read_file(write(tmp_path / "y.parquet", b"nothing"))
    assert "is not a whole Parquet file" in damage.reason


@pytest.mark.parametrize("packing", PACK)
def test_plain_text_is_divided_as_in_memory(tmp_path, packing):
    text = "".join(f"Paragraph {number} {'word ' * (number % 90)}.\n\n" for number in range(3000))
    path = write(tmp_path / f"x.txt{packing}", PACK[packing](text.encode()))
    found = list(read_file(path, 10_000))
    assert "".join(one.text for one in found) == text
    assert max(len(one.text) for one in found) <= 10_000
    if not packing:
        small = read_small([tmp_path], 10_000)
        assert [(one.id, one.text) for one in small] == [(one.id, one.text) for one in found]


def test_stories_are_divided_at_their_separator(tmp_path):
    stories = [f"Once upon a time {number}. " * (number % 50 + 1) for number in range(9000)]
    path = write(tmp_path / "stories.txt", "<|endoftext|>".join(stories).encode() + b"<|endoftext|>\n")
    assert path.stat().st_size > 5 << 20  # more than one block
    found = list(read_file(path))
    assert [one.text for one in found] == stories
    assert found[0].id == f"{tmp_path.name}/stories.txt#001"
    assert [one.text for one in read_small([path])] == stories


def test_pages(tmp_path):
    folder = tmp_path / "site"
    folder.mkdir()
    write(folder / "b.html", "<p>zwei".encode("latin-1"))
    write(folder / "a.htm.gz", gzip.compress(b"<p>one"))
    write(folder / "c.html", b"")
    parts, bodies = records(3)
    write(folder / "d.warc.gz", *map(gz, parts))
    write(folder / "manifest.json", b"{}")
    files = corpus_files([folder])
    assert [path.name for path in files] == ["a.htm.gz", "b.html", "c.html", "d.warc.gz"]
    items = [item for path in files for item in read_file(path)]
    pages = [item for item in items if isinstance(item, WarcRecord)]
    assert [item.body for item in pages] == [b"<p>one", b"<p>zwei", *bodies]
    assert pages[0].type == "resource"
    assert [item.reason for item in items if isinstance(item, Damage)] == ["the file is empty"]
    assert len({item.id for item in pages}) == 5
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    assert next(iter(read_file((folder / "b.html").rename(moved.parent / "site2.html")))).id != pages[1].id
    with pytest.raises(InputError, match="holds pages, not texts"):
        read_documents([folder / "a.htm.gz"])


@pytest.mark.parametrize("data", [b"", b" \n\n", b"abc\x00def", bytes(range(128, 256)) * 9])
def test_unusable_texts_are_told(tmp_path, data):
    (damage,) = read_file(write(tmp_path / "x.txt", data))
    assert isinstance(damage, Damage)
    assert "empty" in damage.reason or "binary" in damage.reason
    with pytest.raises(InputError, match=r"x\.txt cannot be read at byte 0"):
        read_documents([tmp_path / "x.txt"])


def test_files_are_found_once_and_missing_ones_told(tmp_path):
    path = write(tmp_path / "x.txt", b"text")
    assert corpus_files([path, tmp_path]) == [path]
    with pytest.raises(MissingError, match="There is no file"):
        corpus_files([tmp_path / "none"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingError, match="has no text in it"):
        corpus_files([tmp_path / "empty"])


def pdf_of(text):
    """A PDF of one page with one line of text, by hand."""
    stream = f"BT /F1 24 Tf 72 700 Td ({text}) Tj ET".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    out, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    start = len(out)
    return out + b"xref\n0 6\n0000000000 65535 f \n%strailer\n<< /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % (
        table,
        start,
    )


def test_pdf(tmp_path):
    pytest.importorskip("pypdf", reason="PDF is read by the optional package pypdf")
    from groundup.corpus.reading.pdf import read_pdf

    path = write(tmp_path / "x.pdf", pdf_of("Hello from a page"))
    (document,) = read_file(path)
    assert document.text.strip() == "Hello from a page"
    assert document.id == f"{tmp_path.name}/x.pdf"
    (damage,) = read_file(write(tmp_path / "y.pdf", b"%PDF-1.4 nothing"))
    assert "y.pdf gave no text (error_" in damage.reason
    with pytest.raises(InputError, match="of more than 10 is not read"):
        read_pdf(path, most_bytes=10)
    with pytest.raises(InputError, match=r"gave no text \(time_limit\)"):
        read_pdf(path, seconds=0.0)


def test_ids_do_not_depend_on_the_place(tmp_path, monkeypatch):
    for place in ("one", "two"):
        (tmp_path / place / "in").mkdir(parents=True)
        write(tmp_path / place / "in" / "x.txt", b"text")
    monkeypatch.chdir(tmp_path / "one" / "in")
    assert [one.id for one in read_file(Path("x.txt"))] == [
        one.id for one in read_file(tmp_path / "two" / "in" / "x.txt")
    ]
