"""Documents and their JSONL files: what every stage of the corpus takes and gives back.

A stage never removes a document silently: it annotates it with `drop_stage` and `drop_reason`, and the pipeline sorts
the kept from the rejected. On disk a document is one JSON object per line (`.jsonl`, or `.jsonl.gz`), fields that are
empty left out. Writing streams to a temporary sibling and renames it, so a reader never sees half a file.
"""

import gzip
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, cast

from groundup.core.errors import InputError, MissingError
from groundup.core.files import new_file, require_file

SPLITS = ("train", "heldout")


@dataclass(frozen=True)
class Document:
    """One text with where it came from; `drop_stage` and `drop_reason` are set together, by the stage that drops it."""

    id: str
    text: str
    url: str | None = None
    source: str = ""
    meta: dict[str, Any] = field(default_factory=dict)
    drop_stage: str | None = None
    drop_reason: str | None = None

    @property
    def bytes(self) -> int:
        return len(self.text.encode())


def drop(document: Document, stage: str, reason: str) -> Document:
    """The same document, marked as rejected."""
    return replace(document, drop_stage=stage, drop_reason=reason)


def read_texts(directory: Path, split: str) -> list[str]:
    """The texts of the `train` or `heldout` split of a finished corpus folder."""
    if split not in SPLITS:
        raise InputError(f"There is no split {split!r}; a corpus has {' and '.join(SPLITS)}.")
    if not directory.is_dir():
        raise MissingError(f"There is no corpus folder {directory}; make one with: groundup corpus build.")
    path = directory / f"{split}.jsonl"
    if not (directory / "result.json").exists() or not path.exists():
        raise MissingError(
            f"{directory} holds no finished corpus (no {path.name} beside a result.json); "
            "run groundup corpus build into it, again if it was stopped."
        )
    return [document.text for document in read_jsonl(path)]


def read_jsonl(path: Path) -> Iterator[Document]:
    """The documents of a `.jsonl` or `.jsonl.gz` file, one by one; `text` is required, `id` is made from the line."""
    for number, line in enumerate(_lines(path), 1):
        if line.strip():
            yield parse_document(path, number, line)


def write_jsonl(path: Path, documents: Iterable[Document]) -> int:
    """Write documents as they come, atomically; packed where the name ends in `.gz` or `.zst`. Returns their number."""
    count = 0
    with new_file(path) as raw, _packed(path, raw) as file:
        for document in documents:
            file.write((json.dumps(_fields(document), ensure_ascii=False) + "\n").encode())
            count += 1
    return count


@contextmanager
def _packed(path: Path, raw: IO[bytes]) -> Iterator[IO[bytes]]:
    """What packs as the name of a file asks for; its bytes depend on those written alone."""
    if path.suffix == ".zst":
        import zstandard

        with zstandard.ZstdCompressor().stream_writer(raw, closefd=False) as file:
            yield cast(IO[bytes], file)
    elif path.suffix == ".gz":
        with gzip.GzipFile("", "wb", mtime=0, fileobj=raw) as file:  # an empty name and no time
            yield cast(IO[bytes], file)
    else:
        yield raw


def repair_surrogates(text: str) -> str:
    """Half of a surrogate pair (JSON can carry one) has no UTF-8 form; it becomes U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _lines(path: Path) -> Iterator[bytes]:
    require_file(path)
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as file:
            yield from file
    except (EOFError, gzip.BadGzipFile) as error:
        raise InputError(f"{path} is not a whole gzip file ({error}); fetch it again.") from error


def parse_document(path: Path, number: int, line: bytes) -> Document:
    """The document of one line of a JSONL file."""
    try:
        record = json.loads(line)
    except ValueError as error:
        raise InputError(f"{path} line {number} is not JSON ({error}); each line must be one object.") from error
    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
        raise InputError(f'{path} line {number} has no "text" string; each line must look like {{"text": "..."}}.')
    meta = record.get("meta")
    return Document(
        id=repair_surrogates(str(record.get("id", f"{path.name}:{number}"))),
        text=repair_surrogates(record["text"]),
        url=_optional(record.get("url")),
        source=repair_surrogates(str(record.get("source", ""))),
        meta=meta if isinstance(meta, dict) else {},
        drop_stage=_optional(record.get("drop_stage")),
        drop_reason=_optional(record.get("drop_reason")),
    )


def _optional(value: object) -> str | None:
    return None if value is None else repair_surrogates(str(value))


def _fields(document: Document) -> dict[str, Any]:
    """`id` and `text` always, the rest where it is set."""
    rest = {
        "url": document.url,
        "source": document.source,
        "meta": document.meta,
        "drop_stage": document.drop_stage,
        "drop_reason": document.drop_reason,
    }
    filled = {name: value for name, value in rest.items() if value is not None and value not in ("", {})}
    return {"id": document.id, "text": document.text, **filled}
