"""The executor `slurm`: the units of a job as an array job, waited for by what they write.

    <job>/slurm/1.json     lists of units, one list for each task of the array
                1.sh       the batch script that is given to sbatch; each task runs `groundup corpus work-unit`
                1-0.log    what a task said

Finished units are seen by their folders on the shared file system, so it does not matter how a task ended. When the
array is gone from the queue and units are missing, those are submitted again, up to the number of retries. Killing the
waiting process leaves the array running; the next start takes over what it wrote.
"""

import json
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from groundup.core.errors import MissingError, OutputError
from groundup.core.files import make_directory, write_text
from groundup.core.logging import get_logger
from groundup.corpus.execution.isolation import Limits
from groundup.corpus.execution.jobs import finished_line, load_job
from groundup.corpus.execution.local import Done

MOST_TASKS = 1000  # of one array: Slurm's default MaxArraySize is 1001
POLL_SECONDS = 5.0
PARTING_SECONDS = 10.0  # files of a task that has left the queue may show up that much later on a network file system

logger = get_logger(__name__)


class SlurmArrays:
    """State: none but the options for sbatch, such as `--partition=cpu`. Use as a context manager."""

    def __init__(self, options: Sequence[str]) -> None:
        if shutil.which("sbatch") is None:
            raise MissingError("The executor slurm needs sbatch, which is not here; start it on a login node.")
        self._options = options

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def run(self, directory: Path, pending: Sequence[int], limits: Limits, done: Done) -> dict[int, str]:
        """Run the pending units of a job; `done(unit, line)` as each is finished. Returns why others failed."""
        missing = list(pending)
        for attempt in range(1, limits.retries + 2):
            array = _submit(directory, missing, self._options, attempt, limits)
            logger.info("slurm: array job %s with %d units", array, len(missing))
            missing = _wait(directory, missing, array, done)
            if not missing:
                return {}
            logger.warning("slurm: %d units of array job %s did not finish", len(missing), array)
        return dict.fromkeys(missing, f"no output after {limits.retries + 1} array jobs; see {directory / 'slurm'}")


def task_units(directory: Path, attempt: int, task: int) -> list[int]:
    """The units of one task of an array."""
    return json.loads((directory / "slurm" / f"{attempt}.json").read_bytes())[task]


def _submit(directory: Path, units: Sequence[int], options: Sequence[str], attempt: int, limits: Limits) -> str:
    folder = make_directory(directory.resolve() / "slurm")
    tasks = min(len(units), MOST_TASKS)
    lists = [units[task::tasks] for task in range(tasks)]
    write_text(folder / f"{attempt}.json", json.dumps(lists))
    minutes = max(1, -(-int(limits.unit_seconds) * len(lists[0]) // 60))
    settings = [f"--array=0-{tasks - 1}", "--job-name=groundup-corpus", "--ntasks=1", "--cpus-per-task=1"]
    settings += [f"--time={minutes}", f"--output={folder / f'{attempt}-%a.log'}", *options]
    command = [sys.executable, "-m", "groundup.cli.main", "corpus", "work-unit", str(directory.resolve())]
    lines = ["#!/bin/sh", *(f"#SBATCH {setting}" for setting in settings)]
    lines += [f'exec {shlex.join(command)} --attempt {attempt} --task "$SLURM_ARRAY_TASK_ID"', ""]
    script = folder / f"{attempt}.sh"
    write_text(script, "\n".join(lines))
    said = subprocess.run(["sbatch", "--parsable", str(script)], capture_output=True, text=True)
    if said.returncode:
        raise OutputError(f"sbatch refused {script}: {said.stderr.strip() or said.stdout.strip()}")
    return said.stdout.strip().split(";")[0]


def _wait(directory: Path, units: Sequence[int], array: str, done: Done) -> list[int]:
    """Until all units are there, or the array has left the queue; returns the units that are missing."""
    job = load_job(directory, (directory / "job.json").stat().st_mtime_ns)
    missing, gone_since = list(units), None
    while missing:
        found = [(unit, line) for unit in missing if (line := finished_line(job, job.units[unit]))]
        for unit, line in found:
            done(unit, line)
            missing.remove(unit)
        if not missing or (gone_since and time.monotonic() - gone_since > min(PARTING_SECONDS, 2 * POLL_SECONDS)):
            break
        if gone_since is None and not _queued(array):
            gone_since = time.monotonic()
        time.sleep(POLL_SECONDS)
    return missing


def _queued(array: str) -> bool:
    """Whether Slurm still knows tasks of an array; an answer that it does not give counts as yes."""
    said = subprocess.run(["squeue", "--noheader", "--jobs", array], capture_output=True, text=True)
    if said.returncode:
        return "invalid job id" not in said.stderr.lower()
    return bool(said.stdout.strip())
