"""Lines, paragraphs or spans of sentences that occur again, cut out of the documents of a whole crawl.

    segment_keys        map      a record for each piece: its hash, the priority of its document, its place
    segment_copies      reduce   the places of the pieces that go: of equal ones all but one, or all
    repeated_segments   map      the table of documents once more, without those pieces; documents with nothing left

A piece's place is its unit and its number among the pieces of the unit's living documents. What is a piece and which
one stays is decided as in memory (`corpus/dedup/segments.py`).
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundup.core.config import decode
from groundup.corpus.crawl.jobs import KEPT, live_batches, live_rows, table_of, unit_folders
from groundup.corpus.crawl.shuffle import (
    DROPPED,
    DROPS,
    RECORD,
    of_unit,
    places,
    read_partition,
    rows_of,
    write_records,
)
from groundup.corpus.crawl.tables import replace_texts
from groundup.corpus.dedup.clusters import keep_key
from groundup.corpus.dedup.config import SegmentConfig
from groundup.corpus.dedup.segments import cut, pieces_of, repeats
from groundup.corpus.execution.jobs import Task

REPEATED = "repeated.npy"


def map_segments(task: Task) -> dict[str, Any]:
    """Config: `segments`, `seed`, `masks`."""
    config = decode(SegmentConfig, task.config["segments"])
    parts, number = [np.zeros(0, RECORD)], 0
    for _, documents in live_batches(task, task.config["masks"], ["id", "text"]):
        pieces = pieces_of([document["text"] for document in documents], config)
        keys = np.array([keep_key(document["id"], task.config["seed"]) for document in documents], np.uint64)
        there = np.flatnonzero(pieces.valid)
        records = np.zeros(len(there), RECORD)
        records["key"] = pieces.hashes[there]
        records["priority"] = np.repeat(keys, np.diff(pieces.first))[there]
        records["place"] = places(task.inputs["number"], number + there)
        parts.append(records)
        number += len(pieces.hashes)
    records = np.concatenate(parts)
    write_records(task.folder, records, task.config["partition_bits"])
    return {"pieces": len(records)}


def reduce_segments(task: Task) -> dict[str, Any]:
    """Config: `segments`."""
    records = read_partition(unit_folders(task.jobs, "segment_keys"), task.inputs["partition"])
    gone = repeats(records["key"], records["priority"], task.config["segments"]["keep"])
    np.save(task.folder / REPEATED, np.sort(records["place"][gone]))
    return {"pieces": len(records), "repeated": int(gone.sum())}


def cut_segments(task: Task) -> dict[str, Any]:
    """Config: `segments`, `masks`. Counts what went out of the documents that stay."""
    config = decode(SegmentConfig, task.config["segments"])
    alive, gone = live_rows(task, task.config["masks"]), _repeated_pieces(task)
    counts = Counter[str](pieces=0, bytes=0)
    emptied: list[int] = []
    number = 0

    def change(first: int, texts: list[str]) -> list[str]:
        nonlocal number
        rows = alive[np.searchsorted(alive, first) : np.searchsorted(alive, first + len(texts))]
        found = [texts[row - first] for row in rows]
        pieces = pieces_of(found, config)
        repeated = np.zeros(len(pieces.hashes), np.bool_)
        low, high = np.searchsorted(gone, (number, number + len(repeated)))
        repeated[gone[low:high] - number] = True
        number += len(repeated)
        for number, left, lost in cut(found, pieces, repeated, config).changes(found):
            counts.update(lost)
            if left:
                texts[rows[number] - first] = left
            else:
                emptied.append(int(rows[number]))
        return texts

    replace_texts(table_of(task), task.folder / KEPT, change)
    dropped = np.zeros(len(emptied), DROPPED)
    dropped["place"] = dropped["kept"] = places(task.inputs["number"], emptied)  # a copy of no other document
    np.save(task.folder / DROPS, dropped)
    return dict(counts)


def _repeated_pieces(task: Task) -> NDArray[np.int64]:
    """The numbers of this unit's pieces that go, sorted."""
    files = [folder / REPEATED for folder in unit_folders(task.jobs, "segment_copies")]
    parts: Iterator[NDArray[Any]] = of_unit(files, task.inputs["number"])
    return np.sort(rows_of(np.concatenate([np.zeros(0, np.uint64), *parts])))
