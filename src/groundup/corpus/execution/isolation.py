"""Records that crash, hang or exhaust memory: found by bisection and put aside, while the others go on.

A batch of records is worked on in a `Child`. Where that fails, the batch is cut in two and each half tried again in a
fresh process, down to the record that fails by itself; it is tried once more, in case someone killed the process, and
then goes to quarantine with its reason. A batch of n records of which one is bad takes about 2 log2(n) more calls. The
time limit shrinks with the number of records, so that a hang is not waited for at full length at every cut.

The results depend on the records alone, not on how they were cut: the function must treat each by itself.
"""

import atexit
import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from groundup.core.errors import ConfigError, InputError
from groundup.core.logging import get_logger
from groundup.corpus.execution.child import Child, ChildFault

WARM_UP_SECONDS = 600.0  # of a fresh process: imports, and compilers that have nothing in their cache
LEAST_QUARANTINED = 20  # before a share counts
MOST_QUARANTINED = 0.2  # a fifth of all records is no bad luck: something else is wrong

logger = get_logger(__name__)


@dataclass(frozen=True)
class Limits:
    """What a batch, a single record and a work unit may take; how often a unit whose process died is tried again."""

    batch_seconds: float = 120.0
    record_seconds: float = 10.0
    memory_gigabytes: float = 4.0
    """on top of what a fresh process uses"""
    unit_seconds: float = 4 * 3600.0
    retries: int = 3

    def __post_init__(self) -> None:
        for name in ("batch_seconds", "record_seconds", "memory_gigabytes", "unit_seconds"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"limits.{name} is {getattr(self, name)}; it must be above 0.")
        if self.retries < 0:
            raise ConfigError(f"limits.retries is {self.retries}; it must be at least 0.")


@dataclass(frozen=True)
class Quarantined:
    """A record that could not be worked on: its place in the batch, the reason in one word, the traceback if any."""

    place: int
    reason: str
    detail: str = ""


class Isolation:
    """Calls `function(config, records) -> one result a record` in a process that may die.

    State: the process, which stays between maps and is replaced when it dies.
    """

    def __init__(self, function: str, config: Any, limits: Limits) -> None:  # noqa: ANN401
        self._function, self._config, self._limits = function, config, limits
        self._child: Child | None = None

    def map(self, batches: Iterable[Sequence[Any]]) -> Iterator[tuple[Sequence[Any], list[Any | Quarantined]]]:
        """(batch, its results in order, `Quarantined` in place of a record's); the next batch is read, and the last
        one's results are used, while the process works."""
        pending: Sequence[Any] | None = None
        seen = put_aside = 0
        try:
            for batch in itertools.chain(batches, (None,)):
                done, results = pending, self._finish(pending) if pending is not None else []
                pending = None
                if batch is not None:
                    self._submit(batch)
                    pending = batch
                if done is not None:
                    seen += len(done)
                    faults = [result for result in results if isinstance(result, Quarantined)]
                    put_aside += len(faults)
                    if put_aside > max(LEAST_QUARANTINED, MOST_QUARANTINED * seen):
                        raise InputError(
                            f"{put_aside} of {seen} records failed, the last one with {faults[-1].reason}: that is no "
                            f"matter of single records. {faults[-1].detail}"
                        )
                    yield done, results
        finally:
            if pending is not None:  # the one who asked has left: the answer must not be taken for the next one's
                self.close()

    def close(self) -> None:
        """End the process; the next map starts another."""
        if self._child:
            self._child.kill()
            self._child = None

    def _submit(self, records: Sequence[Any]) -> None:
        if self._child is None:
            self._child = Child(int(self._limits.memory_gigabytes * 1e9))
            self._child.submit(self._function, self._config, [])
            self._child.result(WARM_UP_SECONDS)
        self._started = time.monotonic()
        self._child.submit(self._function, self._config, records)

    def _result(self, records: Sequence[Any]) -> list[Any]:
        """What was submitted. After a `ChildFault` other than an error the process is gone."""
        assert self._child is not None
        left = self._seconds(len(records)) - (time.monotonic() - self._started)
        try:
            return self._child.result(max(left, 0.0))
        except ChildFault as fault:
            if not fault.reason.startswith("error_"):
                self.close()
            raise

    def _seconds(self, count: int) -> float:
        return min(self._limits.batch_seconds, self._limits.record_seconds + 0.5 * count)

    def _finish(self, records: Sequence[Any]) -> list[Any | Quarantined]:
        try:
            results = self._result(records)
        except ChildFault as fault:
            logger.warning("a batch of %d records failed (%s); looking for the culprit", len(records), fault.reason)
            results = self._bisect(records, 0, fault)
        assert len(results) == len(records), "one result for each record"
        return results

    def _bisect(self, records: Sequence[Any], offset: int, fault: ChildFault) -> list[Any | Quarantined]:
        """Results of records that failed together, the first of them at `offset` of the batch."""
        if len(records) == 1:
            try:
                return self._again(records)
            except ChildFault as second:
                logger.warning("quarantined a record: %s", second.reason)
                return [Quarantined(offset, second.reason, second.detail)]
        middle = len(records) // 2
        results: list[Any | Quarantined] = []
        for start, part in ((0, records[:middle]), (middle, records[middle:])):
            try:
                results += self._again(part)
            except ChildFault as of_part:
                results += self._bisect(part, offset + start, of_part)
        return results

    def _again(self, records: Sequence[Any]) -> list[Any]:
        self._submit(records)
        return self._result(records)


_kept: list[tuple[Any, Isolation]] = []


def kept_isolation(function: str, config: Any, limits: Limits) -> Isolation:  # noqa: ANN401
    """An `Isolation` that a worker uses for one unit after another: starting its process takes a second or two."""
    asked = (function, config, limits)
    if not _kept or _kept[0][0] != asked:
        _close_kept()
        atexit.register(_close_kept)
        _kept.append((asked, Isolation(function, config, limits)))
    return _kept[0][1]


def _close_kept() -> None:
    atexit.unregister(_close_kept)
    while _kept:
        _kept.pop()[1].close()
