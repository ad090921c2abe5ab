"""A run is a folder: what was asked, what it ran on, what happened, and the result when it is done.

    runs/<name>/config.json       the resolved config; any run can be started again from it
                provenance.json   code, command, machine, libraries, kernels, parent artifacts
                metrics.jsonl     one object per logged step: the truth that plots and reports are drawn from
                log.txt           what was said
                result.json       written last, {"fingerprint", "seconds", ...}; where it is, the run is whole

The fingerprint hashes the config and the fingerprints of the inputs, so a finished run is reused exactly when it would
come out the same again, and an unfinished one of the same fingerprint is continued.
"""

import json
import logging
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from groundup.core.config import encode, fingerprint
from groundup.core.errors import InputError, OutputError
from groundup.core.files import clear_temporaries, read_json, require_writable, write_json
from groundup.core.logging import log_to_file
from groundup.core.provenance import provenance


class Run:
    """An open run folder; use as a context manager. State: the folder and the open metrics and log files."""

    def __init__(self, directory: Path, config: Any, inputs: dict[str, str] | None = None) -> None:  # noqa: ANN401
        """Open or continue a run: `config` is a dataclass, `inputs` maps each input's name to its fingerprint.

        A folder with an unfinished or finished run of another fingerprint is cleared first.
        """
        self.directory = directory
        self.fingerprint = fingerprint(config, inputs or {})
        require_writable(directory)
        clear_temporaries(directory)
        if _recorded_fingerprint(directory) not in (None, self.fingerprint):
            clear(directory)
        write_json(directory / "config.json", encode(config))
        self.provenance = provenance() | {"fingerprint": self.fingerprint, "inputs": inputs or {}}
        write_json(directory / "provenance.json", self.provenance)
        self._log: logging.Handler = log_to_file(directory / "log.txt")
        self._metrics = open(directory / "metrics.jsonl", "a", encoding="utf-8")  # noqa: SIM115 - closed in __exit__

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._metrics.close()
        logging.getLogger("groundup").removeHandler(self._log)
        self._log.close()

    def log(self, step: int, metrics: dict[str, Any]) -> None:
        """Append one line to `metrics.jsonl`; flushed, so a reader sees it at once."""
        try:
            self._metrics.write(json.dumps({"step": step, **metrics}) + "\n")
            self._metrics.flush()
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise OutputError(f"Cannot write {self.directory / 'metrics.jsonl'}: {reason}.") from error

    def rewind(self, step: int) -> None:
        """Forget metrics after `step`: a resumed run logs them again."""
        self._metrics.close()
        kept = [line for line in read_metrics(self.directory) if line["step"] <= step]
        path = self.directory / "metrics.jsonl"
        temporary = path.with_name(".tmp-metrics.jsonl")
        temporary.write_text("".join(json.dumps(line) + "\n" for line in kept))
        os.replace(temporary, path)
        self._metrics = open(path, "a", encoding="utf-8")  # noqa: SIM115

    def add_provenance(self, **facts: Any) -> None:  # noqa: ANN401
        """Record more facts, such as the kernels chosen."""
        self.provenance |= facts
        write_json(self.directory / "provenance.json", self.provenance)

    def finish(self, result: dict[str, Any]) -> dict[str, Any]:
        """Write `result.json`, which makes the run whole; returns what was written."""
        result = {"fingerprint": self.fingerprint, **result}
        write_json(self.directory / "result.json", result)
        return result


def finished(directory: Path, config: Any, inputs: dict[str, str] | None = None) -> dict[str, Any] | None:  # noqa: ANN401
    """The result of a whole run of this config and these inputs in this folder, or None."""
    path = directory / "result.json"
    if not path.exists():
        return None
    result = read_json(path)
    return result if result.get("fingerprint") == fingerprint(config, inputs or {}) else None


def clear(directory: Path) -> None:
    """Empty a run's folder. Refuses a folder that no run was written to."""
    if not directory.exists():
        return
    if any(directory.iterdir()) and not (directory / "provenance.json").exists():
        raise OutputError(f"{directory} holds files that are not a run's; choose another folder or empty it yourself.")
    (directory / "result.json").unlink(missing_ok=True)  # first, so that a kill in between leaves no false result
    for entry in directory.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def read_metrics(directory: Path) -> list[dict[str, Any]]:
    """The logged steps; a last line cut by a kill is left out."""
    path = directory / "metrics.jsonl"
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    metrics = []
    for number, line in enumerate(lines, 1):
        try:
            metrics.append(json.loads(line))
        except ValueError as error:
            if number < len(lines):
                raise InputError(f"{path} line {number} is not JSON ({error}); repair or delete the file.") from error
    return metrics


@dataclass(frozen=True)
class RunSummary:
    """One row of `groundup runs`."""

    name: str
    directory: Path
    stages: tuple[str, ...]
    finished: bool
    modified: float


def list_runs(root: Path) -> Iterator[RunSummary]:
    """The runs directly under a folder, newest first."""
    found = [entry for entry in root.iterdir() if (entry / "config.json").exists()] if root.is_dir() else []
    for entry in sorted(found, key=lambda path: (path / "config.json").stat().st_mtime, reverse=True):
        stages = tuple(sorted(inner.parent.name for inner in entry.glob("*/result.json")))
        whole = (entry / "result.json").exists()
        yield RunSummary(entry.name, entry, stages, whole, (entry / "config.json").stat().st_mtime)


def _recorded_fingerprint(directory: Path) -> str | None:
    path = directory / "provenance.json"
    return read_json(path).get("fingerprint") if path.exists() else None
