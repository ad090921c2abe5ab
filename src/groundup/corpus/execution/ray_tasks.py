"""The executor `ray`: one Ray Core task for each work unit, over files that all nodes see.

Ray is the task runner only. What units exchange goes through the job's folder: grouping 200,000 rows takes Ray Data
20 s, files that are partitioned by the map tasks a tenth of a second. A task whose worker dies is run again by Ray on
another one. RAY_ADDRESS (or the cluster that this machine belongs to) is used where there is one, else Ray starts here.
"""

import logging
import os
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Self

from groundup.core.errors import GroundupError, MissingError
from groundup.corpus.execution.isolation import Limits
from groundup.corpus.execution.jobs import run_unit
from groundup.corpus.execution.local import Done

IN_FLIGHT = 4  # tasks handed to Ray for each of its processors, so that a million units do not fill its tables


class RayTasks:
    """State: whether Ray was started here, to be stopped at the end. Use as a context manager."""

    def __init__(self, workers: int) -> None:
        """`workers` are the processors of a Ray that has to be started here."""
        try:
            import ray
            import ray.exceptions
        except ImportError as error:
            raise MissingError("The executor ray needs a package that is not installed: pip install ray.") from error
        self._ray, self._exceptions = ray, ray.exceptions
        self._workers = workers
        self._started = False

    def __enter__(self) -> Self:
        if not self._ray.is_initialized():
            address = os.environ.get("RAY_ADDRESS")
            options: dict[str, Any] = {"num_cpus": self._workers, "include_dashboard": False}
            options = {"address": address} if address else options
            self._ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
            self._started = True
        return self

    def __exit__(self, *_: object) -> None:
        if self._started:
            self._ray.shutdown()

    def run(self, directory: Path, pending: Sequence[int], limits: Limits, done: Done) -> dict[int, str]:
        """Run the pending units of a job; `done(unit, line)` as each is finished. Returns why others failed."""
        ray, exceptions = self._ray, self._exceptions
        task = ray.remote(num_cpus=1, max_retries=limits.retries)(run_unit)
        window = IN_FLIGHT * max(int(ray.cluster_resources().get("CPU", 1)), 1)
        failures: dict[int, str] = {}
        waiting, units = iter(pending), {}
        while True:
            for unit in islice(waiting, window - len(units)):
                units[task.remote(directory.resolve(), unit)] = unit
            if not units:
                return failures
            for reference in ray.wait(list(units))[0]:
                unit = units.pop(reference)
                try:
                    done(unit, ray.get(reference))
                except exceptions.RayTaskError as error:
                    if isinstance(error.cause, GroundupError):
                        raise error.cause from None
                    failures[unit] = str(error)
                except exceptions.RayError as error:
                    failures[unit] = f"{type(error).__name__}: {error}"
