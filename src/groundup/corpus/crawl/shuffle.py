"""Shuffling by files: what map units write by key, reduce units read by partition.

    map unit u      keys.npy      records (key, check, priority, place), sorted by key
                    bounds.npy    where each partition begins in it: partition = the top bits of the key
    reduce unit p   the slices p of all units, sorted together

A document's place is its unit and its row in that unit's table, 2^32 unit + row. `check` is a second hash, so that two
keys are equal in 128 bits. `priority` decides who stays: of equal keys the record with the smallest is the first.
Nothing is held in one process but a partition, and every file is written once.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

RECORDS_AT_ONCE = 4_000_000  # of 32 bytes, that a reduce unit sorts: a few hundred megabytes
RECORD = np.dtype([("key", "<u8"), ("check", "<u8"), ("priority", "<u8"), ("place", "<u8")])
DROPPED = np.dtype([("place", "<u8"), ("kept", "<u8")])
ROW_BITS = 32
KEYS, BOUNDS, DROPS = "keys.npy", "bounds.npy", "dropped.npy"

Places = NDArray[np.uint64]
Records = NDArray[Any]


def places(unit: int, rows: Sequence[int] | NDArray[np.integer]) -> Places:
    """The places of rows of a unit."""
    return (np.asarray(rows, np.uint64)) | np.uint64(unit << ROW_BITS)


def rows_of(places: Places) -> NDArray[np.int64]:
    """The rows of places, in their units."""
    return (places & np.uint64((1 << ROW_BITS) - 1)).astype(np.int64)


def unit_and_row(place: int) -> tuple[int, int]:
    return int(place) >> ROW_BITS, int(place) & ((1 << ROW_BITS) - 1)


def partition_bits(records: int) -> int:
    """How many bits of the key say its partition, for so many records in all: at least 2, so at least 4 partitions."""
    return max(2, (records // RECORDS_AT_ONCE).bit_length())


def write_records(folder: Path, records: Records, bits: int) -> None:
    """A map unit's output."""
    records = in_order(records)
    edges = np.arange(1 << bits, dtype=np.uint64) << np.uint64(64 - bits)
    bounds = np.append(np.searchsorted(records["key"], edges), len(records))
    np.save(folder / KEYS, records)
    np.save(folder / BOUNDS, bounds)


def read_partition(folders: Sequence[Path], partition: int) -> Records:
    """The records of a partition from the outputs of all map units, in the order of key, priority and place."""
    parts = [np.zeros(0, RECORD)]
    for folder in folders:
        bounds = np.load(folder / BOUNDS)
        parts.append(np.load(folder / KEYS, mmap_mode="r")[bounds[partition] : bounds[partition + 1]])
    return in_order(np.concatenate(parts))


def in_order(records: Records) -> Records:
    """Sorted by key, check, priority and place; ten times faster than `np.sort` on records."""
    return records[np.lexsort([records[name] for name in ("place", "priority", "check", "key")])]


def group_starts(records: Records) -> NDArray[np.intp]:
    """Where each group of equal keys begins, and the end."""
    new = np.ones(len(records) + 1, bool)
    new[1:-1] = (records["key"][1:] != records["key"][:-1]) | (records["check"][1:] != records["check"][:-1])
    return np.flatnonzero(new)


def drop_copies(records: Records) -> Records:
    """All but the first of each group, with who is kept in their place; sorted by place."""
    starts = group_starts(records)
    first = np.repeat(starts[:-1], np.diff(starts))
    copies = np.flatnonzero(first != np.arange(len(records)))
    dropped = np.zeros(len(copies), DROPPED)
    dropped["place"], dropped["kept"] = records["place"][copies], records["place"][first[copies]]
    return np.sort(dropped, order="place")


def of_unit(files: Sequence[Path], unit: int, field: str = "place") -> Iterator[Records]:
    """The records of one unit in files that are sorted by place."""
    for path in files:
        records = np.load(path, mmap_mode="r")
        column = records[field] if records.dtype.names else records
        low, high = np.searchsorted(column, np.array([unit << ROW_BITS, (unit + 1) << ROW_BITS], np.uint64))
        if low < high:
            yield np.array(records[low:high])
