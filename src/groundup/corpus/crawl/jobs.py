"""The jobs of a crawl: what is common to those that come after `documents`, which looked at each page by itself.

    <out>/jobs/1-documents/   a table of kept and one of rejected documents for each work unit
               2-.../         map jobs (a unit for each of those units) and reduce jobs (a unit for each partition)

Jobs write places of dropped documents, and a document is alive when no job before dropped it. So other thresholds cost
the jobs from there on, not the extraction. One job at most rewrites the text (`segments.py`): into tables of the same
rows, which those after it read instead.
"""

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from groundup.corpus.crawl.shuffle import DROPPED, DROPS, of_unit, rows_of
from groundup.corpus.crawl.tables import read_rows
from groundup.corpus.execution.isolation import Limits
from groundup.corpus.execution.jobs import Job, Task, Unit, outputs_fingerprint
from groundup.corpus.execution.run import Executor, run_job

DOCUMENTS, CUT, KEPT, REJECTED = "documents", "repeated_segments", "kept.parquet", "rejected.parquet"
BATCH = 1000  # documents in memory at once
Lines = list[dict[str, Any]]


@dataclass
class Jobs:
    """State: the jobs that have run, with the lines of their units, by name."""

    folder: Path
    workers: Executor
    limits: Limits
    lines: dict[str, Lines] = field(default_factory=dict)
    partition_bits: int = 2
    tables: str = DOCUMENTS
    """the job whose tables hold the text by now"""

    def run(self, name: str, function: str, config: dict[str, Any], units: Sequence[Unit]) -> Lines:
        """Run a job of any units."""
        job = Job(self.folder / name, f"groundup.corpus.crawl.{function}", config, tuple(units), self.limits)
        self.lines[name] = run_job(job, self.workers)
        return self.lines[name]

    def map(self, name: str, function: str, config: dict[str, Any], after: Sequence[str] = ()) -> Lines:
        """A unit for each unit of documents; it may read the outputs of the jobs `after`, and nothing else."""
        before = [outputs_fingerprint(self.lines[each]) for each in after]
        units = [
            Unit(line["unit"], {"number": number, "unit": line["unit"]}, outputs_fingerprint([line]) + "".join(before))
            for number, line in enumerate(self.lines[DOCUMENTS])
        ]
        return self.run(name, function, config | {"partition_bits": self.partition_bits, "tables": self.tables}, units)

    def reduce(self, name: str, function: str, config: dict[str, Any], after: Sequence[str]) -> Lines:
        """A unit for each partition of what the first job of `after` wrote."""
        before = "".join(outputs_fingerprint(self.lines[each]) for each in after)
        units = [Unit(f"{each:04d}", {"partition": each}, before) for each in range(1 << self.partition_bits)]
        return self.run(name, function, config, units)

    def one(self, name: str, function: str, config: dict[str, Any], after: Sequence[str], also: str = "") -> Lines:
        """A single unit over the outputs of the jobs `after`; `also` identifies what else it reads."""
        before = "".join(outputs_fingerprint(self.lines[each]) for each in after)
        return self.run(name, function, config, [Unit("0000", {}, before + also)])


def unit_folders(jobs: Path, name: str) -> list[Path]:
    """The folders of a finished job's units, in order."""
    return sorted((jobs / name / "units").iterdir())


def table_of(task: Task) -> Path:
    """The documents of a map task's unit."""
    return task.jobs / task.config["tables"] / "units" / task.inputs["unit"] / KEPT


def dropped_of(jobs: Path, name: str, number: int) -> NDArray[Any]:
    """What a job dropped of a unit of documents, sorted by place."""
    parts = list(of_unit([folder / DROPS for folder in unit_folders(jobs, name)], number))
    return np.sort(np.concatenate(parts), order="place") if parts else np.zeros(0, DROPPED)


def live_rows(task: Task, masks: Sequence[str]) -> NDArray[np.int64]:
    """The rows of the task's unit of documents that none of the jobs `masks` dropped."""
    alive = np.ones(pq.read_metadata(table_of(task)).num_rows, bool)
    for name in masks:
        alive[rows_of(dropped_of(task.jobs, name, task.inputs["number"])["place"])] = False
    return np.flatnonzero(alive)


def live_batches(
    task: Task, masks: Sequence[str], columns: Sequence[str], among: Container[int] | None = None
) -> Iterator[tuple[list[int], list[dict[str, Any]]]]:
    """(rows, their columns) of the living documents of the task's unit, all or `among` some rows, batch after batch."""
    alive = set(live_rows(task, masks).tolist())
    rows = ((number, row) for number, row in enumerate(read_rows(table_of(task), columns)))
    wanted = (pair for pair in rows if pair[0] in alive and (among is None or pair[0] in among))
    while batch := list(islice(wanted, BATCH)):
        yield [number for number, _ in batch], [row for _, row in batch]
