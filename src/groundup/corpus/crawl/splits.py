"""The last jobs of a crawl: split, decontaminate, and write what is kept.

    positions    map       where in [0, 1) each living document falls: below the held-out fraction it is held out
    heldout      map       the held-out documents, and the hashes of their word n-grams
    evaluation   one unit  those hashes of all units and of the evaluation files, sorted
    train        map       of the others how much stands in evaluation texts; what is to be trained on, what is dropped
    report       one unit  of the evaluation files how much training has, where there are files

The decision is that of `corpus/split.py`: a hash of the document's id, or of its near-duplicate cluster's smallest one.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from groundup.core.config import decode
from groundup.core.seeds import derive_seed
from groundup.corpus.crawl.jobs import CUT, DOCUMENTS, KEPT, dropped_of, live_rows, table_of, unit_folders
from groundup.corpus.crawl.near import CLUSTERS
from groundup.corpus.crawl.shuffle import places, unit_and_row
from groundup.corpus.crawl.tables import RowWriter, document_of, read_rows
from groundup.corpus.dedup.config import DecontaminationConfig
from groundup.corpus.dedup.decontamination import BATCH, EvaluationIndex, Overlap
from groundup.corpus.dedup.words import ngrams_of_texts
from groundup.corpus.documents import Document, write_jsonl
from groundup.corpus.execution.jobs import Task
from groundup.corpus.sources import read_documents
from groundup.corpus.split import split_documents

POSITIONS, NGRAMS, SEEN = "positions.npy", "ngrams.npy", "seen.npy"
TRAIN, HELDOUT, REJECTED, OVERLAPS = "train.jsonl", "heldout.jsonl", "rejected.parquet", "decontamination.jsonl"
RANGE = 1 << 63  # of derive_seed


def map_positions(task: Task) -> dict[str, Any]:
    """Config: `seed`, `masks`. Positions are in 2^-63."""
    rows = live_rows(task, task.config["masks"])
    number, seed = task.inputs["number"], task.config["seed"]
    keys = _cluster_keys(task, number)
    table = pq.read_table(table_of(task), columns=["id"], use_threads=False)["id"].to_pylist()
    ids = [str(each) for each in table]
    positions = np.zeros(len(rows), np.int64)
    for i, row in enumerate(rows.tolist()):
        positions[i] = derive_seed(seed, "split", str(keys.get(row, ids[row])))
    np.save(task.folder / POSITIONS, positions)
    least, most = (int(positions.min()), int(positions.max())) if len(positions) else (RANGE, -1)
    return {"documents": len(rows), "least": least, "most": most}


def map_heldout(task: Task) -> dict[str, Any]:
    """Config: `masks`, `below` (the position under which a document is held out), `ngram`; and `cut`, the fraction to
    hold out of the only document there is."""
    documents = [document for _, held_out in _split(task) for document in held_out]
    np.save(task.folder / NGRAMS, _known([document.text for document in documents], task.config["ngram"]))
    write_jsonl(task.folder / HELDOUT, documents)
    return {"documents": len(documents), "bytes": sum(document.bytes for document in documents)}


def join_evaluation(task: Task) -> dict[str, Any]:
    """Config: `files`, texts to evaluate on beside the held-out ones; `ngram`."""
    parts = [np.load(folder / NGRAMS) for folder in unit_folders(task.jobs, "heldout")]
    sets = read_evaluation(task.config["files"])
    known = np.unique(np.concatenate([*parts, *(_known(texts, task.config["ngram"]) for texts in sets.values())]))
    np.save(task.folder / NGRAMS, known)
    return {"documents": sum(map(len, sets.values())), "ngrams": len(known)}


def map_train(task: Task) -> dict[str, Any]:
    """Config as of `map_heldout`, and `decontamination`. Writes the documents to train on, how much of each stands in
    evaluation texts, which n-grams of those were seen, and all documents that were dropped after `documents`."""
    config = decode(DecontaminationConfig, task.config["decontamination"])
    known = np.load(task.jobs / "evaluation" / "units" / "0000" / NGRAMS)
    index = EvaluationIndex({}, config.ngram)
    index.known, index.seen = known, np.zeros(len(known), np.bool_)
    found: list[Overlap] = []
    size = {"documents": 0, "bytes": 0}

    def clean() -> Iterator[Document]:
        documents = (document for train, _ in _split(task) for document in train)
        while batch := list(islice(documents, BATCH)):
            entries = index.match(batch)
            found.extend(entries)
            for document, entry in zip(batch, entries, strict=True):
                if entry.fraction <= config.max_overlap:
                    size["documents"] += 1
                    size["bytes"] += document.bytes
                    yield document

    write_jsonl(task.folder / TRAIN, clean())
    (task.folder / OVERLAPS).write_text("".join(json.dumps(each.entry()) + "\n" for each in found))
    np.save(task.folder / SEEN, np.flatnonzero(index.seen))
    contaminated = {each.id for each in found if each.fraction > config.max_overlap}
    return {
        **size,
        "dropped": _write_rejected(task, contaminated),
        "checked": len(found),
        "ngrams": sum(each.ngrams for each in found),
        "with_matches": sum(each.matches > 0 for each in found),
        "matches": sum(each.matches for each in found),
    }


def report_evaluation(task: Task) -> dict[str, Any]:
    """Of each evaluation file how many items have an n-gram that training has, after `map_train`."""
    sets = read_evaluation(task.config["files"])
    index = EvaluationIndex(sets, task.config["ngram"])
    known = np.load(task.jobs / "evaluation" / "units" / "0000" / NGRAMS)
    seen = np.zeros(len(known), np.bool_)
    for folder in unit_folders(task.jobs, "train"):
        seen[np.load(folder / SEEN)] = True
    index.seen = seen[np.searchsorted(known, index.known)]
    return {name: vars(report) for name, report in index.report().items()}


def read_evaluation(files: Sequence[str]) -> dict[str, list[str]]:
    """The texts of each evaluation file."""
    return {name: [document.text for document in read_documents([Path(name)], 0)] for name in files}


def _known(texts: Sequence[str], n: int) -> NDArray[np.uint64]:
    return np.unique(ngrams_of_texts(texts, n)[0])


def _split(task: Task) -> Iterator[tuple[list[Document], list[Document]]]:
    """(to train on, held out) for each living document."""
    rows = live_rows(task, task.config["masks"])
    positions = np.load(task.jobs / "positions" / "units" / task.inputs["unit"] / POSITIONS)
    held_out = dict(zip(rows.tolist(), (positions < task.config["below"]).tolist(), strict=True))
    for number, row in enumerate(read_rows(table_of(task))):
        if number in held_out:
            document = document_of(row)
            if task.config["cut"]:
                yield split_documents([document], task.config["cut"], 0)
            else:
                yield ([], [document]) if held_out[number] else ([document], [])


def drop_reason(stage: str) -> str:
    """Why a job over the whole crawl drops documents."""
    others = {CUT: "nothing_left", "decontaminate": "overlaps_evaluation"}
    return others.get(stage) or f"copy_{stage.split('_')[0]}"


def _write_rejected(task: Task, contaminated: set[str]) -> dict[str, dict[str, int]]:
    """The documents that the jobs over the whole crawl dropped, and how many documents and bytes by stage."""
    why: dict[int, tuple[str, int]] = {}
    for stage in task.config["masks"]:
        for place, kept in dropped_of(task.jobs, stage, task.inputs["number"]).tolist():
            why[unit_and_row(place)[1]] = stage, kept
    names = _ids_of(task, {kept for stage, kept in why.values() if stage != CUT})
    counts = {stage: {"documents": 0, "bytes": 0} for stage in (*task.config["masks"], "decontaminate")}
    with RowWriter(task.folder / REJECTED, pq.read_schema(table_of(task))) as writer:
        for number, row in enumerate(read_rows(table_of(task))):
            if number in why:
                stage, kept = why[number]
                row |= {
                    "drop_stage": stage,
                    "drop_reason": drop_reason(stage),
                    "copy_of": names[kept] if stage != CUT else None,
                }
            elif row["id"] in contaminated:
                row |= {"drop_stage": "decontaminate", "drop_reason": drop_reason("decontaminate")}
            else:
                continue
            counts[row["drop_stage"]]["documents"] += 1
            counts[row["drop_stage"]]["bytes"] += len(row["text"].encode())
            writer.add(row)
    return counts


def _ids_of(task: Task, wanted: set[int]) -> dict[int, str]:
    """The ids of documents by their places, whichever unit they are in."""
    units = unit_folders(task.jobs, DOCUMENTS)
    found: dict[int, str] = {}
    for number in {unit_and_row(place)[0] for place in wanted}:
        ids = pq.read_table(units[number] / KEPT, columns=["id"], use_threads=False)["id"]
        found |= {place: ids[unit_and_row(place)[1]].as_py() for place in wanted if unit_and_row(place)[0] == number}
    return found


def _cluster_keys(task: Task, number: int) -> dict[int, str]:
    """The key of each row of a unit that is in a near-duplicate cluster."""
    (folder,) = unit_folders(task.jobs, "near_duplicates")
    low, high = places(number, [0])[0], places(number + 1, [0])[0]
    table = pq.read_table(folder / CLUSTERS, filters=[("place", ">=", int(low)), ("place", "<", int(high))])
    return {
        unit_and_row(place)[1]: key
        for place, key in zip(table["place"].to_pylist(), table["key"].to_pylist(), strict=True)
    }
