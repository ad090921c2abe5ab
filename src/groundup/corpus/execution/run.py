"""Running a job: pass over what is whole, give the rest to an executor, write the manifest.

Three executors run the same function on the same files: `local` (processes of this machine), `ray` (one task for each
unit), `slurm` (an array job). They differ in who starts `run_unit` and who notices that it died.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol, Self

from groundup.core.errors import ConfigError, InputError
from groundup.core.files import clear_temporaries, make_directory, remove
from groundup.core.progress import progress
from groundup.corpus.execution.isolation import Limits
from groundup.corpus.execution.jobs import Job, finished_line, load_job, save_job, write_manifest
from groundup.corpus.execution.local import Done, LocalWorkers

HASHING_THREADS = 8


@dataclass(frozen=True)
class ExecutionConfig:
    """Who runs the work units and how; nothing here changes what comes out."""

    executor: Literal["local", "ray", "slurm"] | None = None
    """local: processes here; ray: a cluster at RAY_ADDRESS, or Ray here; slurm: array jobs. Without it ray where
    RAY_ADDRESS is set, else local"""
    workers: int | None = None
    """processes, or processors of a Ray that is started here; without it one for each core"""
    slurm_options: tuple[str, ...] = ()
    """for sbatch, such as --partition=cpu"""

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise ConfigError(f"execution.workers is {self.workers}; it must be at least 1.")

    @property
    def kind(self) -> str:
        return self.executor or ("ray" if os.environ.get("RAY_ADDRESS") else "local")

    @property
    def cores(self) -> int:
        there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return self.workers or there


class Executor(Protocol):
    """Who starts `run_unit` for units and notices that it died; open as a context manager for one job after another."""

    def run(self, directory: Path, pending: Sequence[int], limits: Limits, done: Done) -> dict[int, str]:
        """Run units of the job in a folder; `done(unit, line)` as each is finished. Returns why others failed."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def executor(config: ExecutionConfig) -> Executor:
    """The executor that a config asks for, not yet open."""
    match config.kind:
        case "ray":
            from groundup.corpus.execution.ray_tasks import RayTasks

            return RayTasks(config.cores)
        case "slurm":
            from groundup.corpus.execution.slurm import SlurmArrays

            return SlurmArrays(config.slurm_options)
        case _:
            return LocalWorkers(config.cores)


def run_job(job: Job, workers: Executor) -> list[dict[str, Any]]:
    """The lines of all units, in order, after running those that are not there yet."""
    units_folder = make_directory(job.directory / "units")
    for folder in (job.directory, units_folder):
        clear_temporaries(folder)
    save_job(job)
    load_job.cache_clear()
    with ThreadPoolExecutor(HASHING_THREADS) as threads:  # hashing what is there leaves the interpreter free
        known = list(threads.map(partial(finished_line, job), job.units))
    lines = {index: line for index, line in enumerate(known) if line}
    pending = [index for index in range(len(job.units)) if index not in lines]
    if pending:
        remove(job.directory / "manifest.jsonl")
        with progress(job.directory.name, len(job.units), done=len(lines)) as advance:

            def done(index: int, line: dict[str, Any]) -> None:
                lines[index] = line
                advance(1)

            failures = workers.run(job.directory, pending, job.limits, done)
        if failures:
            index, why = next(iter(failures.items()))
            raise InputError(
                f"{len(failures)} of {len(job.units)} work units of {job.directory} failed, the first of them "
                f"{job.units[index].name} ({job.units[index].inputs}): {why}"
            )
    for leftover in {path.name for path in units_folder.iterdir()} - {unit.name for unit in job.units}:
        remove(units_folder / leftover)  # of an earlier job with more units
    ordered = [lines[index] for index in range(len(job.units))]
    write_manifest(job, ordered)
    return ordered
