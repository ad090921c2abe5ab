"""A run is a folder: what was asked, what it ran on, what happened, and the result when it is done.

    runs/<name>/config.json       the resolved config; any run can be started again from it
                provenance.json   code, command, machine, libraries, kernels, parent artifacts
                metrics.jsonl     one object per logged step: the truth that plots and reports are drawn from
                samples.jsonl     what the model wrote on the way, where the run asks for it
                log.txt           what was said
                result.json       written last, {"fingerprint", "seconds", ...}; where it is, the run is whole

The fingerprint hashes the config and the fingerprints of the inputs, so a finished run is reused exactly when it would
come out the same again, and an unfinished one of the same fingerprint is continued. A folder that holds anything but a
run is refused; one process at a time may have a run open.
"""

import fcntl
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from groundup.core.config import encode, fingerprint
from groundup.core.errors import InputError, OutputError
from groundup.core.files import (
    TEMPORARY_PREFIX,
    clear_temporaries,
    read_json,
    remove,
    require_writable,
    write_json,
    write_text,
)
from groundup.core.logging import get_logger, log_to_file
from groundup.core.provenance import provenance

logger = get_logger(__name__)
METRICS, SAMPLES = "metrics.jsonl", "samples.jsonl"


class Follower(Protocol):
    """What hears of a run's numbers as they are logged: a display, a service that draws curves."""

    def log(self, step: int, values: dict[str, Any]) -> None:
        """A line of `metrics.jsonl`, or of `samples.jsonl`, was written."""
        ...

    def rewind(self, step: int, metrics: list[dict[str, Any]]) -> None:
        """Nothing after `step` counts any more; these lines of `metrics.jsonl` are left."""
        ...


class Run:
    """An open run folder; use as a context manager. State: the folder, its lock, the open metrics and log files, and
    who follows the metrics."""

    def __init__(
        self,
        directory: Path,
        config: Any,  # noqa: ANN401
        inputs: dict[str, str] | None = None,
        *,
        of_runs: bool = False,
    ) -> None:
        """Open or continue a run: `config` is a dataclass, `inputs` maps each input's name to its fingerprint.

        A folder with an unfinished or finished run of another fingerprint is cleared first. A run `of_runs` only loses
        its result then: the runs inside it know themselves whether they still fit.
        """
        self.directory = directory
        self.fingerprint = fingerprint(config, inputs or {})
        require_writable(directory)
        self._lock = _lock(directory)
        try:
            recorded = recorded_fingerprint(directory)
            clear_temporaries(directory)
            if recorded not in (None, self.fingerprint) and of_runs:
                remove(directory / "result.json")
            elif recorded not in (None, self.fingerprint):
                logger.info("%s holds a run of another config or input; it is started afresh.", directory)
                clear(directory)
            self.provenance = provenance() | {"fingerprint": self.fingerprint, "inputs": inputs or {}}
            write_json(directory / "provenance.json", self.provenance)  # first: it marks the folder as a run's
            write_json(directory / "config.json", encode(config))
            for name in (METRICS, SAMPLES):
                _drop_cut_line(directory / name)
            self._followers: list[Follower] = []
            self._metrics = open(directory / METRICS, "a", encoding="utf-8")  # noqa: SIM115 - for __exit__
            self._log: logging.Handler = log_to_file(directory / "log.txt")
        except BaseException:
            os.close(self._lock)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        logging.getLogger("groundup").removeHandler(self._log)
        for file in (self._metrics, self._log):
            with suppress(OSError):  # each line was flushed when it was written, and a full disk was reported then
                file.close()
        os.close(self._lock)

    def log(self, step: int, metrics: dict[str, Any]) -> None:
        """Append one line to `metrics.jsonl`; flushed, so a reader sees it at once."""
        try:
            self._metrics.write(json.dumps({"step": step, **metrics}) + "\n")
            self._metrics.flush()
        except OSError as error:
            raise _unwritable(self.directory / METRICS, error) from error
        for follower in self._followers:
            follower.log(step, metrics)

    def log_sample(self, step: int, prompt: str, text: str) -> None:
        """Append one line to `samples.jsonl`."""
        sample = {"prompt": prompt, "text": text}
        try:
            with open(self.directory / SAMPLES, "a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **sample}) + "\n")
        except OSError as error:
            raise _unwritable(self.directory / SAMPLES, error) from error
        for follower in self._followers:
            follower.log(step, sample)

    def rewind(self, step: int) -> None:
        """Forget metrics and samples after `step`: a resumed run logs them again."""
        self._metrics.close()
        metrics = _rewind(self.directory / METRICS, step)
        self._metrics = open(self.directory / METRICS, "a", encoding="utf-8")  # noqa: SIM115
        if (self.directory / SAMPLES).exists():
            _rewind(self.directory / SAMPLES, step)
        for follower in self._followers:
            follower.rewind(step, metrics)

    @contextmanager
    def followed_by(self, follower: Follower) -> Iterator[None]:
        """Inside the block, tell the follower of each line and each rewind."""
        self._followers.append(follower)
        try:
            yield
        finally:
            self._followers.remove(follower)

    def add_provenance(self, **facts: Any) -> None:  # noqa: ANN401
        """Record more facts, such as the kernels chosen."""
        self.provenance |= facts
        write_json(self.directory / "provenance.json", self.provenance)

    def finish(self, result: dict[str, Any]) -> dict[str, Any]:
        """Write `result.json`, which makes the run whole; returns what was written."""
        assert "fingerprint" not in result, "the fingerprint is the run's to write"
        result = {"fingerprint": self.fingerprint, **result}
        os.fsync(self._metrics.fileno())
        write_json(self.directory / "result.json", result)
        return result


def finished(directory: Path, config: Any, inputs: dict[str, str] | None = None) -> dict[str, Any] | None:  # noqa: ANN401
    """The result of a whole run of this config and these inputs in this folder, or None."""
    path = directory / "result.json"
    if not path.exists():
        return None
    result = read_json(path)
    known = result.get("fingerprint") if isinstance(result, dict) else None
    return result if known == fingerprint(config, inputs or {}) else None


def clear(directory: Path) -> None:
    """Empty a run's folder. Refuses a folder that no run was written to."""
    if recorded_fingerprint(directory) is None:
        return
    mark = directory / "provenance.json"
    remove(directory / "result.json")  # first, so that a kill in between leaves no false result
    for entry in directory.iterdir():
        if entry != mark:
            remove(entry)
    remove(mark)  # last, so that a kill in between leaves a folder that is still known as a run's


def recorded_fingerprint(directory: Path) -> str | None:
    """The fingerprint of the run in a folder, None where the folder is empty or missing; other content is refused."""
    mark = directory / "provenance.json"
    recorded = read_json(mark) if mark.exists() else {}
    known = recorded.get("fingerprint") if isinstance(recorded, dict) else None
    entries = directory.iterdir() if directory.exists() else ()
    if known is None and not all(entry.name.startswith(TEMPORARY_PREFIX) for entry in entries):
        raise OutputError(f"{directory} holds files that are not a run's; choose another folder or empty it yourself.")
    return known


def read_metrics(directory: Path) -> list[dict[str, Any]]:
    """The logged steps; a last line cut by a kill is left out."""
    return read_lines(directory / METRICS)


def read_samples(directory: Path) -> list[dict[str, Any]]:
    """What the model wrote on the way: `step`, `prompt` and `text`; a last line cut by a kill is left out."""
    return read_lines(directory / SAMPLES)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file of lines, none where it is missing; a last line cut by a kill is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    values = []
    for number, line in enumerate(lines, 1):
        try:
            values.append(json.loads(line))
        except ValueError as error:
            if number < len(lines):
                raise InputError(f"{path} line {number} is not JSON ({error}); repair or delete the file.") from error
    return values


@dataclass(frozen=True)
class RunSummary:
    """One row of `groundup runs`."""

    name: str
    directory: Path
    stages: tuple[str, ...]  # those that are done, in the order in which they were
    finished: bool
    modified: float


def list_runs(root: Path) -> Iterator[RunSummary]:
    """The runs directly under a folder, newest first."""
    found = [entry for entry in root.iterdir() if (entry / "config.json").exists()] if root.is_dir() else []
    for entry in sorted(found, key=lambda path: (path / "config.json").stat().st_mtime, reverse=True):
        results = sorted(entry.glob("*/result.json"), key=lambda path: path.stat().st_mtime)
        stages = tuple(path.parent.name for path in results)
        whole = (entry / "result.json").exists()
        yield RunSummary(entry.name, entry, stages, whole, (entry / "config.json").stat().st_mtime)


def _lock(directory: Path) -> int:
    """Take the folder for this process: a descriptor to close; a killed process gives it back by dying."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise OutputError(f"{directory} is being written by another process; wait for it or stop it.") from None
    except OSError as error:  # some network file systems have no locks
        logger.warning("%s cannot be locked (%s); do not write to it from two processes.", directory, error.strerror)
    return descriptor


def _rewind(path: Path, step: int) -> list[dict[str, Any]]:
    """Cut a file of lines back to those up to a step; returns them."""
    kept = [line for line in read_lines(path) if line["step"] <= step]
    write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
    return kept


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(f"Cannot write {path}: {(error.strerror or str(error)).lower()}.")


def _drop_cut_line(path: Path) -> None:
    """Cut off a last line without its end, which a kill left: the next line must not be glued to it."""
    if path.exists() and not (data := path.read_bytes()).endswith(b"\n"):
        os.truncate(path, data.rfind(b"\n") + 1)
