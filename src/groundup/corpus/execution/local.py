"""The executor `local`: processes of this machine, each given one unit after another."""

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Self

from groundup.core.logging import get_logger
from groundup.corpus.execution.child import Child, ChildFault
from groundup.corpus.execution.isolation import Limits

RUN_UNIT = "groundup.corpus.execution.jobs:run_unit"
GRACE_SECONDS = 10.0  # a unit ends itself at its limit; a worker that cannot even do that is killed after so many more

logger = get_logger(__name__)
Done = Callable[[int, dict[str, Any]], None]


class LocalWorkers:
    """State: the processes that are idle, kept from one job to the next. Use as a context manager."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._idle: list[Child] = []
        self._busy: dict[Connection, tuple[Child, int, float]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for child in (*self._idle, *(child for child, _, _ in self._busy.values())):
            child.kill()
        self._idle, self._busy = [], {}

    def run(self, directory: Path, pending: Sequence[int], limits: Limits, done: Done) -> dict[int, str]:
        """Run the pending units of a job; `done(unit, line)` as each is finished. Returns why others failed."""
        waiting, attempts, failures = deque(pending), Counter[int](), dict[int, str]()
        while waiting or self._busy:
            while waiting and len(self._busy) < self._workers:
                child, unit = self._idle.pop() if self._idle else Child(), waiting.popleft()
                child.submit(RUN_UNIT, directory, unit)
                self._busy[child.connection] = child, unit, time.monotonic() + limits.unit_seconds + GRACE_SECONDS
            for connection in self._answered():
                child, unit, _ = self._busy[connection]
                try:
                    line = child.result(0)
                except ChildFault as fault:
                    child.kill()
                    del self._busy[connection]
                    attempts[unit] += 1
                    if attempts[unit] > limits.retries:
                        failures[unit] = f"{fault.reason} {fault.detail}".strip()
                    else:
                        logger.warning("unit %d: %s; it is tried again", unit, fault.reason)
                        waiting.append(unit)
                else:
                    del self._busy[connection]
                    self._idle.append(child)
                    done(unit, line)
        return failures

    def _answered(self) -> list[Connection]:
        """Wait for workers that have answered or died, or have been at it for too long."""
        first = min(deadline for _, _, deadline in self._busy.values())
        ready = wait(list(self._busy), max(first - time.monotonic(), 0))
        now = time.monotonic()
        return [each for each, (_, _, deadline) in self._busy.items() if each in ready or deadline <= now]
