"""`groundup report`: the page of a run, finished or going on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True)
class Args:
    """Write report.html and summary.json of a run: curves, samples, numbers, where they come from.

    The run may be one stage, such as a pretraining, or a whole quickstart; finished, stopped or going on. A quickstart
    and a pretraining write theirs when they end.

    examples:
      groundup report runs/notes
    """

    run: Annotated[Path, tyro.conf.Positional]
    """The folder of the run."""


def run(args: Args) -> None:
    """Write the files."""
    from groundup.stages.report import run_report

    print(f"report: {run_report(args.run)}")
