"""Near copies over a whole crawl, in five jobs; the arithmetic is that of `corpus/dedup/near.py`.

    bands      map      for each living document its MinHash signature, and of that a key for each band
    buckets    reduce   documents that agree in a band
    shingles   map      of the documents in buckets: the hashes of their word n-grams
    linked     reduce   the members of a bucket whose true Jaccard similarity reaches the threshold
    near_duplicates     one unit: union-find over those; of each cluster one stays, by a seeded hash of its id

Only the last job is one process, and all it holds is the edges of the clusters.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from groundup.core.config import decode
from groundup.corpus.crawl.copies import keyed_records
from groundup.corpus.crawl.jobs import live_batches, unit_folders
from groundup.corpus.crawl.shuffle import (
    DROPPED,
    DROPS,
    RECORD,
    ROW_BITS,
    Places,
    of_unit,
    read_partition,
    unit_and_row,
    write_records,
)
from groundup.corpus.dedup.clusters import join_pairs, keep_key, roots
from groundup.corpus.dedup.config import DeduplicationConfig
from groundup.corpus.dedup.near import Buckets, Sets, band_keys, buckets_of, link_buckets, pack_sets
from groundup.corpus.dedup.signatures import sketch
from groundup.corpus.dedup.words import ngram_sets
from groundup.corpus.execution.jobs import Task

CANDIDATES, MEMBERS, STARTS = "candidates.npy", "members.npy", "starts.npy"
SHINGLES, BOUNDS, IDS, EDGES, CLUSTERS = "shingles.npy", "bounds.npy", "ids.parquet", "edges.npy", "clusters.parquet"
EDGE = np.dtype([("place", "<u8"), ("root", "<u8")])


def map_bands(task: Task) -> dict[str, Any]:
    """Config: `deduplication`, `seed`, `masks`."""
    config = decode(DeduplicationConfig, task.config["deduplication"])
    parts = [np.zeros(0, RECORD)]
    for rows, documents in live_batches(task, task.config["masks"], ["id", "text"]):
        keys, which = band_keys(sketch([document["text"] for document in documents], config), config)
        records = keyed_records(task, rows, [document["id"] for document in documents])[which]
        records["key"] = keys
        parts.append(records)
    records = np.concatenate(parts)
    write_records(task.folder, records, task.config["partition_bits"])
    return {"keys": len(records)}


def reduce_buckets(task: Task) -> dict[str, Any]:
    """The places that share a band, and which places those are, sorted."""
    records = read_partition(unit_folders(task.jobs, "bands"), task.inputs["partition"])
    buckets = buckets_of((records["key"], records["place"].astype(np.int64)))
    np.save(task.folder / MEMBERS, buckets.members)
    np.save(task.folder / STARTS, buckets.starts)
    np.save(task.folder / CANDIDATES, np.unique(buckets.members).astype(np.uint64))
    return {"buckets": len(buckets.starts) - 1}


def map_shingles(task: Task) -> dict[str, Any]:
    """The n-gram hashes of this unit's candidates, one after another, with where each one's begin; and their ids."""
    config = decode(DeduplicationConfig, task.config["deduplication"])
    files = [folder / CANDIDATES for folder in unit_folders(task.jobs, "buckets")]
    wanted = np.unique(np.concatenate([np.zeros(0, np.uint64), *of_unit(files, task.inputs["number"])]))
    candidates = {unit_and_row(place)[1] for place in wanted}
    sets, ids = [], []
    for rows, documents in live_batches(task, [], ["id", "text"], candidates) if candidates else ():
        assert len(rows) == len(documents)
        sets += ngram_sets([document["text"] for document in documents], config.ngram)
        ids += [document["id"] for document in documents]
    packed = pack_sets(sets)
    np.save(task.folder / CANDIDATES, wanted)
    np.save(task.folder / SHINGLES, packed.values)
    np.save(task.folder / BOUNDS, packed.starts)
    pq.write_table(
        pa.table({"place": pa.array(wanted, pa.uint64()), "id": pa.array(ids, pa.string())}), task.folder / IDS
    )
    return {"candidates": len(wanted)}


def link_partition(task: Task) -> dict[str, Any]:
    """The edges of the clusters that this partition's buckets show: each place with the smallest it is joined to."""
    config = decode(DeduplicationConfig, task.config["deduplication"])
    folder = task.jobs / "buckets" / "units" / f"{task.inputs['partition']:04d}"
    candidates: Places = np.load(folder / CANDIDATES)
    members = np.searchsorted(candidates, np.load(folder / MEMBERS).astype(np.uint64)).astype(np.int64)
    parent = np.arange(len(candidates))
    sets = _read_sets(unit_folders(task.jobs, "shingles"), candidates)
    compared = link_buckets(parent, Buckets(members, np.load(folder / STARTS)), sets, config.threshold)
    found = roots(parent)
    joined = np.flatnonzero(found != np.arange(len(found)))
    edges = np.zeros(len(joined), EDGE)
    edges["place"], edges["root"] = candidates[joined], candidates[found[joined]]
    np.save(task.folder / EDGES, edges)
    return {"compared": int(compared), "edges": len(edges)}


def join_clusters(task: Task) -> dict[str, Any]:
    """Union-find over all edges; writes each member's cluster and, unless near copies are kept, the drops."""
    edges = np.concatenate([np.zeros(0, EDGE), *(np.load(each / EDGES) for each in unit_folders(task.jobs, "linked"))])
    members: Places = np.unique(np.concatenate([edges["place"], edges["root"]]))
    parent = np.arange(len(members))
    join_pairs(parent, *(np.searchsorted(members, edges[name]).astype(np.int64) for name in ("place", "root")))
    ids = _read_ids(unit_folders(task.jobs, "shingles"), members)
    cluster = roots(parent)
    order = np.argsort(cluster, kind="stable")
    rows: list[tuple[int, int, str, str]] = []
    for group in np.split(order, np.flatnonzero(np.diff(cluster[order])) + 1) if len(order) else ():
        stays = min(group, key=lambda at: (keep_key(ids[at], task.config["seed"]), ids[at]))
        key = min(ids[at] for at in group)
        rows += [(int(members[at]), int(members[stays]), ids[at], key) for at in group]
    rows.sort()
    columns = zip(("place", "kept", "id", "key"), (pa.uint64(), pa.uint64(), pa.string(), pa.string()), strict=True)
    arrays = {name: pa.array([row[at] for row in rows], kind) for at, (name, kind) in enumerate(columns)}
    pq.write_table(pa.table(arrays), task.folder / CLUSTERS)
    keep_all = task.config["deduplication"]["keep_near"]
    drops = np.array([row[:2] for row in rows if row[0] != row[1] and not keep_all], DROPPED)
    np.save(task.folder / DROPS, drops)
    return {"clusters": len(np.unique(cluster)), "members": len(rows), "dropped": len(drops)}


def _read_sets(folders: Sequence[Path], wanted: Places) -> Sets:
    """The n-gram sets of documents of any units, in the order of their places."""
    sets: list[NDArray[np.uint64]] = []
    for number in np.unique(wanted >> np.uint64(ROW_BITS)).tolist():
        folder = folders[number]
        candidates, bounds = np.load(folder / CANDIDATES), np.load(folder / BOUNDS)
        shingles = np.load(folder / SHINGLES, mmap_mode="r")
        here = np.searchsorted(candidates, wanted[wanted >> np.uint64(ROW_BITS) == number])
        sets += [shingles[bounds[at] : bounds[at + 1]] for at in here]
    return pack_sets(sets)


def _read_ids(folders: Sequence[Path], wanted: Places) -> list[str]:
    """The ids of documents of any units, in the order of their places."""
    ids: list[str] = []
    for number in np.unique(wanted >> np.uint64(ROW_BITS)).tolist():
        table = pq.read_table(folders[number] / IDS, use_threads=False)
        here = np.searchsorted(table["place"].to_numpy(), wanted[wanted >> np.uint64(ROW_BITS) == number])
        ids += table["id"].take(here).to_pylist()
    return ids
