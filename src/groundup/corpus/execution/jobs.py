"""A job: one function over many work units, each of whose outputs appears whole or not at all.

    <job>/job.json                   function, config, limits, units: all that a worker on another machine needs
          units/<name>/...           what the function wrote for the unit, and unit.json: its line of the manifest
          manifest.jsonl             those lines, in the order of the units, once all are there

    {"unit", "hash", "input_bytes", "outputs": {file: {"bytes", "sha256"}}, "counts"}

A unit's hash covers the code of `groundup.corpus`, the function, its config, and what the unit's inputs are (sizes and
times of files, hashes of earlier outputs). A unit is written to a temporary folder, flushed to disk, and renamed
together with its line, so a kill at any point leaves a whole unit or none; a resumed job passes over those, and only
those, whose hash is equal and whose files still have the recorded SHA-256. Nothing in them tells the time or the
machine, so the bytes are the same however often the job was killed and whoever ran it.
"""

import faulthandler
import hashlib
import json
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import groundup.corpus
from groundup.core.config import decode, encode, fingerprint
from groundup.core.errors import InputError
from groundup.core.files import make_directory, new_directory, read_json, sha256_file, write_bytes, write_json
from groundup.corpus.execution.child import named
from groundup.corpus.execution.isolation import Limits

LINE = "unit.json"
STANDARD_ERROR = 2


@dataclass(frozen=True)
class Unit:
    """One piece of a job's work; `inputs` are JSON values for its function, `fingerprint` stands for what they name."""

    name: str
    inputs: dict[str, Any]
    fingerprint: str
    bytes: int = 0


@dataclass(frozen=True)
class Job:
    """`function` is `module:function`, called with a `Task`; `config` is JSON; `code` identifies the sources."""

    directory: Path
    function: str
    config: dict[str, Any]
    units: tuple[Unit, ...]
    limits: Limits
    code: str = field(default_factory=lambda: code_fingerprint())

    def folder(self, unit: Unit) -> Path:
        return self.directory / "units" / unit.name

    def hash(self, unit: Unit) -> str:
        return fingerprint(self.code, self.function, self.config, unit.inputs, unit.fingerprint)


@dataclass(frozen=True)
class Task:
    """What a unit's function gets: its inputs, the job's config and limits, an empty folder to fill, and the folder
    that holds all the jobs' folders, where it finds the outputs of earlier ones."""

    inputs: dict[str, Any]
    config: dict[str, Any]
    limits: Limits
    folder: Path
    jobs: Path


@cache
def code_fingerprint() -> str:
    """A hash of the source files of `groundup.corpus`."""
    root = Path(groundup.corpus.__file__).parent
    digest = hashlib.blake2b(digest_size=12)
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def save_job(job: Job) -> None:
    """Write `job.json`, from which `run_unit` works."""
    write_json(job.directory / "job.json", encode(job) | {"directory": "."})


@lru_cache(maxsize=8)
def load_job(directory: Path, stamp: int = 0) -> Job:
    """The job of a folder; `stamp` is the time of its file, so that a changed one is read again."""
    return decode(Job, read_json(directory / "job.json") | {"directory": str(directory)}, str(directory))


def run_unit(directory: Path, index: int) -> dict[str, Any]:
    """Run one unit of the job in a folder, in this process; returns its line. Beyond its time limit the process ends,
    with a traceback on standard error: a thread of the interpreter sees to that, even if the main one hangs in C."""
    job = load_job(directory, (directory / "job.json").stat().st_mtime_ns)
    if job.code != code_fingerprint():
        raise InputError(f"The code of groundup changed since the job in {directory} was started; start it again.")
    unit = job.units[index]
    faulthandler.dump_traceback_later(job.limits.unit_seconds, exit=True, file=STANDARD_ERROR)
    try:
        with new_directory(make_directory(directory / "units") / unit.name) as folder:
            counts = named(job.function)(Task(unit.inputs, job.config, job.limits, folder, directory.parent))
            outputs = {
                path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
                for path in sorted(folder.rglob("*"))
                if path.is_file()
            }
            line = {"unit": unit.name, "hash": job.hash(unit), "input_bytes": unit.bytes, "outputs": outputs}
            line |= {"counts": counts}
            write_bytes(folder / LINE, _json(line))
    finally:
        faulthandler.cancel_dump_traceback_later()
    return line


def finished_line(job: Job, unit: Unit) -> dict[str, Any] | None:
    """The line of a unit that is whole, of this hash, and undamaged; None where it has to be run."""
    folder = job.folder(unit)
    try:
        line = json.loads((folder / LINE).read_bytes())
        if line["hash"] != job.hash(unit):
            return None
        whole = all(
            (folder / name).stat().st_size == output["bytes"] and sha256_file(folder / name) == output["sha256"]
            for name, output in line["outputs"].items()
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return line if whole else None


def write_manifest(job: Job, lines: list[dict[str, Any]]) -> None:
    """All lines in the order of the units."""
    write_bytes(job.directory / "manifest.jsonl", b"".join(map(_json, lines)))


def read_manifest(directory: Path) -> list[dict[str, Any]]:
    """The lines of a finished job."""
    return [json.loads(line) for line in (directory / "manifest.jsonl").read_bytes().splitlines()]


def outputs_fingerprint(lines: list[dict[str, Any]]) -> str:
    """What identifies everything that a job wrote, for the units of the jobs that read it."""
    return fingerprint([(line["unit"], line["outputs"]) for line in lines])


def _json(line: dict[str, Any]) -> bytes:
    return (json.dumps(line, ensure_ascii=False, sort_keys=True) + "\n").encode()
