"""The documents of a built corpus, kept and rejected, wherever they lie: a corpus in memory or a crawl's tables.

Samples are the documents with the smallest hash of (seed, id), so they are spread over the whole corpus, are the same
at every look, and those of many tables add up: the k smallest of all are among the k smallest of each.
"""

import heapq
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from groundup.core.config import decode
from groundup.core.errors import InputError, MissingError
from groundup.core.files import read_json
from groundup.core.seeds import derive_seed
from groundup.corpus.config import CorpusConfig
from groundup.corpus.crawl.inputs import find_page
from groundup.corpus.crawl.jobs import CUT, DOCUMENTS, KEPT, REJECTED, unit_folders
from groundup.corpus.crawl.tables import document_of, read_rows
from groundup.corpus.documents import Document, read_jsonl

Reason = tuple[str, str]


def corpus_result(folder: Path) -> dict[str, Any]:
    """The result of a finished corpus."""
    if not (folder / "result.json").exists():
        raise MissingError(f"{folder} holds no finished corpus (no result.json); make one with: groundup corpus build.")
    result = read_json(folder / "result.json")
    if "funnel" not in result:
        raise InputError(f"{folder} is a run, but not of a corpus: its result.json has no funnel.")
    return result


def corpus_config(folder: Path) -> CorpusConfig:
    """The config that a corpus was built with."""
    return decode(CorpusConfig, read_json(folder / "config.json"), str(folder / "config.json"))


def is_crawl_folder(folder: Path) -> bool:
    """Whether the corpus was built in jobs."""
    return (folder / "jobs" / DOCUMENTS).is_dir()


def rejected_tables(folder: Path) -> list[Path]:
    """The tables of rejected documents, of the pages by themselves and of the crawl as a whole."""
    return [unit / REJECTED for job in (DOCUMENTS, "train") for unit in unit_folders(folder / "jobs", job)]


def kept_tables(folder: Path) -> list[Path]:
    """The tables of what passed the stages that look at one document; jobs over the whole crawl may have dropped it."""
    job = CUT if (folder / "jobs" / CUT).is_dir() else DOCUMENTS
    return [unit / KEPT for unit in unit_folders(folder / "jobs", job)]


def rejected_samples(folder: Path, count: int, seed: int = 0, of: Reason | None = None) -> dict[Reason, list[Document]]:
    """Up to `count` rejected documents for each (stage, reason), or for one; the most frequent reason first."""
    smallest: dict[Reason, list[tuple[int, int, str, Any]]] = defaultdict(list)
    frequency: dict[Reason, int] = defaultdict(int)
    for serial, (where, document_id, reason) in enumerate(_rejected_ids(folder)):
        frequency[reason] += 1
        if of is None or of == reason:
            entry = (-derive_seed(seed, "sample", document_id), serial, document_id, where)
            (heapq.heappush if len(smallest[reason]) < count else heapq.heappushpop)(smallest[reason], entry)
    wanted: dict[Any, set[str]] = defaultdict(set)
    for entries in smallest.values():
        for _, _, document_id, where in entries:
            wanted[where].add(document_id)
    texts = {document.id: document for where, ids in wanted.items() for document in _fetch(where, ids)}
    order = sorted(smallest, key=lambda reason: (-frequency[reason], reason))
    return {
        reason: [texts[document_id] for _, _, document_id, _ in sorted(smallest[reason], reverse=True)]
        for reason in order
    }


def find_document(folder: Path, document_id: str) -> Document:
    """A document by its id, kept or not."""
    for where in _places(folder):
        for document in _fetch(where, {document_id}):
            return document
    raise MissingError(f"{folder} has no document {document_id!r}; its ids are in train.jsonl and in the samples.")


def raw_page(folder: Path, document: Document) -> bytes | None:
    """The HTML that a document was extracted from, read again from its web archive; None where there is none."""
    name, offset = document.meta.get("warc_file"), document.meta.get("warc_offset")
    return find_page(corpus_config(folder).inputs, name, int(offset)) if name and offset is not None else None


def _rejected_ids(folder: Path) -> Iterator[tuple[Path, str, Reason]]:
    """(file, id, (stage, reason)) of every rejected document."""
    if is_crawl_folder(folder):
        for path in rejected_tables(folder):
            for row in read_rows(path, ["id", "drop_stage", "drop_reason"]):
                yield path, row["id"], (row["drop_stage"], row["drop_reason"])
        return
    for document in read_jsonl(folder / "rejected.jsonl"):
        yield folder / "rejected.jsonl", document.id, (str(document.drop_stage), str(document.drop_reason))


def _places(folder: Path) -> Sequence[Path]:
    if is_crawl_folder(folder):
        return [*rejected_tables(folder), *kept_tables(folder)]  # a later rejection says more than that it was kept
    return [folder / name for name in ("rejected.jsonl", "train.jsonl", "heldout.jsonl")]


def _fetch(path: Path, ids: set[str]) -> Iterator[Document]:
    if path.suffix == ".jsonl":
        yield from (document for document in read_jsonl(path) if document.id in ids)
    elif any(row["id"] in ids for row in read_rows(path, ["id"])):
        yield from (document_of(row) for row in read_rows(path) if row["id"] in ids)
