"""Files of any form as documents, or as pages whose text is still to be taken out.

    .jsonl        a line is a document: `text`, and `id`, `url`, `source`, `meta` if there are any
    .parquet      a row is one, with the same columns; the others go to `meta`
    .txt .md      between `<|endoftext|>`, or parts of at most `part_characters`, cut at blank lines
    .pdf          a file is one (the optional package pypdf)
    .html .htm .xhtml            a page: a `WarcRecord` of the type "resource"
    .warc .wet    pages and texts, see `warc`; also read by byte ranges

All but `.parquet` and `.pdf` also as `.gz` and `.zst`. What cannot be read is a `Damage` between the others: a line
that is no record, a row without text, a file that is cut off. An id is the record's own, or the file's name with its
folder's and the number of the line, row or part, so it does not depend on where the files lie.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from groundup.core.errors import InputError
from groundup.core.files import require_file
from groundup.corpus.documents import Document, parse_document, repair_surrogates
from groundup.corpus.reading.opening import PACKINGS, opened, packing_of
from groundup.corpus.reading.warc import MOST_RECORD_BYTES, Damage, WarcRecord, read_records, record_id
from groundup.corpus.sources import PART_CHARACTERS, SEPARATOR, decode_bytes, divide_text
from groundup.corpus.text_stream import BLOCK_BYTES, ROWS_AT_ONCE, cut_blocks, find_files, opened_parquet

WARC, HTML, TEXT, JSONL = (".warc", ".wet"), (".html", ".htm", ".xhtml"), (".txt", ".md"), (".jsonl",)
PARQUET, PDF = ".parquet", ".pdf"
PACKED = tuple(kind + packing for kind in (*TEXT, *JSONL, *HTML, *WARC) for packing in ("", *PACKINGS))
SUFFIXES = (*PACKED, PARQUET, PDF)
COLUMNS = ("id", "text", "url", "source", "meta")

Item = Document | WarcRecord | Damage


def corpus_files(paths: Sequence[Path]) -> list[Path]:
    """The files of paths and of the folders among them, sorted within a folder, each once."""
    return list(dict.fromkeys(path for path, _ in find_files(paths, SUFFIXES)))


def read_file(path: Path, part_characters: int = PART_CHARACTERS) -> Iterator[Item]:
    """What a file holds, by the ending of its name (another one means plain text)."""
    require_file(path)
    kind = path.name.lower()
    kind = kind.removesuffix(packing_of(path))
    try:
        if kind.endswith(WARC):
            yield from read_records(path)
        elif path.stat().st_size == 0:
            yield Damage(0, "the file is empty", 0)
        elif kind.endswith(JSONL):
            yield from _json_lines(path)
        elif kind.endswith(PARQUET):
            yield from _rows(path)
        elif kind.endswith(HTML):
            yield _page(path)
        elif kind.endswith(PDF):
            yield from _pdf(path)
        else:
            yield from _parts(path, part_characters)
    except InputError as error:
        yield Damage(0, str(error), path.stat().st_size)


def read_documents(paths: Sequence[Path]) -> list[Document]:
    """The documents of files and folders, in memory; damage and pages are errors here."""
    documents = []
    for path in corpus_files(paths):
        for item in read_file(path):
            if isinstance(item, Damage):
                raise InputError(f"{path} cannot be read at byte {item.offset:,}: {item.reason}")
            if isinstance(item, WarcRecord):
                raise InputError(f"{path} holds pages, not texts; make a corpus of it: groundup corpus build.")
            documents.append(item)
    return documents


def _name(path: Path) -> str:
    path = path.absolute()
    return f"{path.parent.name}/{path.name}"


def _json_lines(path: Path) -> Iterator[Item]:
    with opened(path) as (file, _):
        offset = 0
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    document = parse_document(path, number, line.removeprefix(b"\xef\xbb\xbf"))
                except (InputError, RecursionError) as error:
                    yield Damage(offset, str(error), len(line))
                else:
                    yield _named(document, path, number)
            offset += len(line)


def _named(document: Document, path: Path, number: int) -> Document:
    """A document without an id of its own is called after its folder, too."""
    made_up = document.id == f"{path.name}:{number}"
    return Document(
        f"{_name(path)}:{number}" if made_up else document.id,
        document.text,
        document.url,
        document.source or path.name,
        document.meta,
    )


def _rows(path: Path) -> Iterator[Item]:
    number = 0
    with opened_parquet(path, "text") as file:
        for batch in file.iter_batches(ROWS_AT_ONCE, use_threads=False):
            for row in batch.to_pylist():
                number += 1
                if row["text"] is None:
                    yield Damage(number, f"row {number} has no text", 0)
                    continue
                yield _of_row(row, path, number)


def _of_row(row: dict[str, Any], path: Path, number: int) -> Document:
    given, url = row.get("id"), row.get("url")
    inner = row.get("meta")
    meta = {name: value for name, value in row.items() if name not in COLUMNS and value is not None}
    return Document(
        str(given) if given is not None else f"{_name(path)}:{number}",
        repair_surrogates(row["text"]),
        None if url is None else str(url),
        str(row.get("source") or path.name),
        meta | (inner if isinstance(inner, dict) else {}),
    )


def _page(path: Path) -> Item:
    with opened(path) as (file, _):
        body = file.read(MOST_RECORD_BYTES + 1)
    if len(body) > MOST_RECORD_BYTES:
        return Damage(0, f"a page of more than {MOST_RECORD_BYTES:,} bytes", path.stat().st_size)
    name = _name(path)
    return WarcRecord(record_id(name.encode()), "resource", None, None, name, 0, "text/html", None, body)


def _pdf(path: Path) -> Iterator[Item]:
    from groundup.corpus.reading.pdf import read_pdf

    text = repair_surrogates(read_pdf(path))
    if text.strip():
        yield Document(_name(path), text, source=path.name)
    else:
        yield Damage(0, "a PDF without text; it may be scanned", path.stat().st_size)


def _parts(path: Path, part_characters: int) -> Iterator[Item]:
    """A plain text's documents, read block by block."""
    before, number, name = None, 0, _name(path)
    with opened(path) as (file, _):
        for block in cut_blocks(file, None, _last_break, BLOCK_BYTES):
            text, replaced = decode_bytes(block, str(path)) if block.strip() else ("", 0)
            for part in divide_text(text, part_characters) if text else ():
                number += 1
                if before is not None:
                    yield replace(before, id=f"{name}#{number - 1:03d}")
                before = Document(name, part, source=path.name, meta={"replaced": replaced} if replaced else {})
                replaced = 0
    if before is None:
        yield Damage(0, f"{path} is empty; give a file with text.", path.stat().st_size)
    else:
        yield before if number == 1 else replace(before, id=f"{name}#{number:03d}")


def _last_break(data: bytes) -> int:
    """Behind the last separator of a block, or its last blank line, or line."""
    for mark in (SEPARATOR.encode(), b"\n\n", b"\n"):
        if (found := data.rfind(mark)) >= 0:
            return found + len(mark)
    return 0
