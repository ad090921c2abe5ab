"""`groundup corpus work-unit`: what a task of a Slurm array runs; people have no need of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True)
class Args:
    """Run the work units of one task of a Slurm array, which `groundup corpus build --executor slurm` submitted.

    examples:
      groundup corpus work-unit corpora/crawl/jobs/documents --attempt 1 --task 0
    """

    job: Annotated[Path, tyro.conf.Positional]
    """The folder of the job."""
    attempt: int
    """Which array of the job."""
    task: int
    """Which task of the array."""


def run(args: Args) -> None:
    """Run those that are not there yet, one after another."""
    from groundup.corpus.execution.jobs import run_unit
    from groundup.corpus.execution.slurm import task_units

    for unit in task_units(args.job, args.attempt, args.task):
        print(f"{run_unit(args.job, unit)['unit']} done")
