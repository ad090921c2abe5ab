"""Documents of the same address, and documents of the same text: one of each stays.

    map      a record for each living document: key of its normalised address or text, priority, place
    reduce   of equal keys the document with the smallest priority stays, the others' places are written

The priority is a seeded hash of the document's id, as in a corpus in memory, so the one that stays does not depend on
the order of files or on their division into units.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from groundup.corpus.crawl.jobs import live_batches, unit_folders
from groundup.corpus.crawl.shuffle import DROPS, RECORD, Records, drop_copies, places, read_partition, write_records
from groundup.corpus.dedup.clusters import keep_key
from groundup.corpus.dedup.exact import address_keys, text_keys
from groundup.corpus.execution.jobs import Task


def map_keys(task: Task) -> dict[str, Any]:
    """Config: `of` is "url" or "text", `seed`, and `masks`, the jobs whose drops count already."""
    of = task.config["of"]
    parts = [np.zeros(0, RECORD)]
    for rows, documents in live_batches(task, task.config["masks"], ["id", of]):
        values = [document[of] for document in documents]
        keys = address_keys(values) if of == "url" else text_keys(values)
        records = keyed_records(task, rows, [document["id"] for document in documents])
        records["key"], records["check"] = keys[:, 0], keys[:, 1]
        parts.append(records[np.array([bool(value) for value in values], np.bool_)])  # without an address it is no copy
    records = np.concatenate(parts)
    write_records(task.folder, records, task.config["partition_bits"])
    return {"keys": len(records)}


def keyed_records(task: Task, rows: Sequence[int], ids: Sequence[str]) -> Records:
    """Records of documents of this unit, without their keys."""
    records = np.zeros(len(rows), RECORD)
    records["priority"] = [keep_key(each, task.config["seed"]) for each in ids]
    records["place"] = places(task.inputs["number"], rows)
    return records


def reduce_copies(task: Task) -> dict[str, Any]:
    """Config: `keys`, the job that mapped."""
    records = read_partition(unit_folders(task.jobs, task.config["keys"]), task.inputs["partition"])
    dropped = drop_copies(records)
    np.save(task.folder / DROPS, dropped)
    return {"keys": len(records), "dropped": len(dropped)}
