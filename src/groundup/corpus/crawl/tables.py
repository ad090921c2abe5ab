"""Documents between stages: Parquet with zstd, one column for each thing that is known, readable by any tool.

    id url source title date warc_file warc_offset encoding replaced_share text  language language_score  stat_*  faults
    perplexity_bits perplexity_bucket quality toxicity  pii_email pii_ip pii_phone  copy_of  meta (JSON)
    drop_stage drop_reason

`stat_*` are the statistics that the heuristic rules compare with their thresholds, so that other thresholds can be
tried without the text. What a document's `meta` holds beside the named columns is JSON in `meta`.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from groundup.corpus.annotation import PII_KINDS, Annotated
from groundup.corpus.documents import Document
from groundup.corpus.filters.statistics import FIELDS

STATISTICS = tuple(f"stat_{name}" for name in FIELDS)
ROW_GROUP_BYTES = 16 << 20  # of text, in memory at once
META_COLUMNS = {
    "title": pa.string(),
    "date": pa.string(),
    "warc_file": pa.string(),
    "warc_offset": pa.int64(),
    "encoding": pa.string(),
    "replaced_share": pa.float32(),
    "perplexity_bits": pa.float32(),
    "perplexity_bucket": pa.string(),
    "quality": pa.float32(),
    "toxicity": pa.float32(),
    "copy_of": pa.string(),
}


def schema() -> pa.Schema:
    """The columns, in their order."""
    fields = [("id", pa.string()), ("url", pa.string()), ("source", pa.string())]
    fields += [*META_COLUMNS.items(), ("text", pa.string())]
    fields += [("language", pa.string()), ("language_score", pa.float32())]
    fields += [(name, pa.int32()) for name in STATISTICS]
    fields += [("faults", pa.list_(pa.string())), *((f"pii_{kind}", pa.int32()) for kind in PII_KINDS)]
    fields += [("meta", pa.string()), ("drop_stage", pa.string()), ("drop_reason", pa.string())]
    return pa.schema(fields)


def row_of(one: Annotated) -> dict[str, Any]:
    """A document and what was found about it, as a row."""
    document = one.document
    rest = {name: value for name, value in document.meta.items() if name not in META_COLUMNS}
    return {
        **{name: document.meta.get(name) for name in META_COLUMNS},
        **{name: getattr(document, name) for name in ("id", "url", "source", "text", "drop_stage", "drop_reason")},
        "language": one.language,
        "language_score": one.language_score,
        **dict(zip(STATISTICS, one.statistics or (None,) * len(FIELDS), strict=True)),
        "faults": list(one.faults),
        **{f"pii_{kind}": one.pii[kind] for kind in PII_KINDS},
        "meta": json.dumps(rest, ensure_ascii=False) if rest else None,
    }


def document_of(row: dict[str, Any]) -> Document:
    """The document of a row, its language among the facts about it."""
    meta = {name: row[name] for name in META_COLUMNS if row.get(name) is not None}
    meta |= json.loads(row["meta"]) if row.get("meta") else {}
    fields = {name: row[name] for name in ("id", "text", "url", "source", "drop_stage", "drop_reason")}
    return Document(meta=meta, **fields)


class RowWriter:
    """A Parquet file that is written as rows come. State: the open file and the rows of the next row group."""

    def __init__(self, path: Path, columns: pa.Schema) -> None:
        self._columns = columns
        self._file = _new_table(path, columns)
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._flush()
        self._file.close()

    def add(self, row: dict[str, Any]) -> None:
        self._rows.append(row)
        self._bytes += len(row["text"])
        if self._bytes >= ROW_GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._file.write_table(pa.Table.from_pylist(self._rows, self._columns))
            self._rows, self._bytes = [], 0


def read_rows(path: Path, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """The rows of a file, one row group in memory at a time."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(columns=list(columns) if columns else None, use_threads=False):
            yield from batch.to_pylist()


def write_rows(path: Path, columns: pa.Schema, rows: Iterable[dict[str, Any]]) -> None:
    """All rows into one file."""
    with RowWriter(path, columns) as writer:
        for row in rows:
            writer.add(row)


def replace_texts(source: Path, target: Path, change: Callable[[int, list[str]], list[str]]) -> None:
    """The table of one file with other texts in another: of each row group `change(number of its first row, texts)`."""
    with pq.ParquetFile(source) as file, _new_table(target, file.schema_arrow) as changed:
        at, first = file.schema_arrow.get_field_index("text"), 0
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, use_threads=False)
            texts = change(first, table["text"].to_pylist())
            changed.write_table(table.set_column(at, "text", pa.array(texts, pa.string())))
            first += len(table)


def _new_table(path: Path, columns: pa.Schema) -> pq.ParquetWriter:
    names: Any = ["language", "drop_reason"]  # its type says bool, its documentation also a list of columns
    return pq.ParquetWriter(path, columns, compression="zstd", use_dictionary=names)
