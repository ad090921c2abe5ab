"""Clusters of near copies, with what tells their members apart."""

import difflib
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from groundup.corpus.crawl.jobs import unit_folders
from groundup.corpus.crawl.near import CLUSTERS
from groundup.corpus.crawl.shuffle import unit_and_row
from groundup.corpus.crawl.tables import document_of
from groundup.corpus.documents import Document, read_jsonl
from groundup.corpus.inspection.documents import find_document, is_crawl_folder, kept_tables

LONGEST_COMPARED = 20_000  # characters of each text; difflib's time grows with the square of the differences
CONTEXT_WORDS = 6


@dataclass(frozen=True)
class Cluster:
    """One that stayed, one of its copies, and how many there are in all."""

    size: int
    kept: Document
    copy: Document


@dataclass(frozen=True)
class Change:
    """A piece of two texts: words that only the first has, that only the second has, or (`same`) that both have."""

    same: str
    first: str
    second: str


def largest_clusters(folder: Path, count: int) -> list[Cluster]:
    """The clusters with most members, each with its survivor and the first of its copies."""
    members = _members_of_crawl(folder) if is_crawl_folder(folder) else _members_in_memory(folder)
    largest = sorted(members.items(), key=lambda item: (-len(item[1]), item[0]))[:count]
    return [Cluster(len(copies) + 1, _load(folder, kept), _load(folder, copies[0])) for kept, copies in largest]


def changes(first: str, second: str) -> list[Change]:
    """The difference of two texts by words; long stretches that are equal are shortened."""
    one, other = (re.findall(r"\S+\s*", text[:LONGEST_COMPARED]) for text in (first, second))
    found = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        if kind != "equal":
            found.append(Change("", "".join(one[a:b]), "".join(other[c:d])))
        elif b - a <= 2 * CONTEXT_WORDS:
            found.append(Change("".join(one[a:b]), "", ""))
        else:
            ends = "".join(one[a : a + CONTEXT_WORDS]), "".join(one[b - CONTEXT_WORDS : b])
            found.append(Change(f"{ends[0]} […] {ends[1]}", "", ""))
    return found


def _members_of_crawl(folder: Path) -> dict[str, list[str]]:
    """The places of copies by the place of the one that stays, as text so that both kinds of corpus look alike."""
    (unit,) = unit_folders(folder / "jobs", "near_duplicates")
    table = pq.read_table(unit / CLUSTERS, columns=["place", "kept"], use_threads=False)
    members: dict[str, list[str]] = defaultdict(list)
    for place, kept in zip(table["place"].to_pylist(), table["kept"].to_pylist(), strict=True):
        if place != kept:
            members[str(kept)].append(str(place))
    return members


def _members_in_memory(folder: Path) -> dict[str, list[str]]:
    members: dict[str, list[str]] = defaultdict(list)
    for document in read_jsonl(folder / "rejected.jsonl"):
        if document.drop_stage == "near_duplicates":
            members[document.meta["copy_of"]].append(document.id)
    return members


def _load(folder: Path, name: str) -> Document:
    if not is_crawl_folder(folder):
        return find_document(folder, name)
    unit, row = unit_and_row(int(name))
    table = pq.read_table(kept_tables(folder)[unit], use_threads=False)
    return document_of(table.slice(row, 1).to_pylist()[0])
