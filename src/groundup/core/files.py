"""Files that are either whole or not there: every write goes to a temporary sibling, is flushed to disk, then renamed.

A process killed at any point leaves the old file, or the new one, and at most a temporary whose name starts with
`.tmp-`; `clear_temporaries` removes those.
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from groundup.core.errors import InputError, MissingError, OutputError

TEMPORARY_PREFIX = ".tmp-"


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically (temporary sibling, fsync, rename); parent folders are made."""
    make_directory(path.parent)
    temporary = _temporary_beside(path)
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _unwritable(path, error) from error


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401 - anything that json takes
    write_bytes(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> Any:  # noqa: ANN401
    """Parse a JSON file; a missing or broken one is an error that names it."""
    require_file(path)
    try:
        return json.loads(path.read_bytes())
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid JSON ({error}); repair or delete it.") from error


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """Fill a temporary folder inside the block; on success it takes the name `path`, replacing an old folder."""
    make_directory(path.parent)
    temporary = _temporary_beside(path)
    try:
        temporary.mkdir()
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                _fsync(file)
        _fsync(temporary)
        old = _temporary_beside(path)
        if path.exists():
            os.replace(path, old)
        os.replace(temporary, path)
        _fsync(path.parent)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        if isinstance(error, (MissingError, OutputError)):
            raise
        raise _unwritable(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def clear_temporaries(directory: Path) -> None:
    """Remove what a killed process left behind in a folder."""
    for leftover in directory.glob(f"{TEMPORARY_PREFIX}*"):
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink(missing_ok=True)


def make_directory(path: Path) -> Path:
    """Make a folder and its parents; an unwritable or impossible place is an error that names it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error
    return path


def require_writable(directory: Path) -> Path:
    """Make sure, before work starts, that files can be created in a folder."""
    make_directory(directory)
    probe = _temporary_beside(directory / "probe")
    try:
        probe.write_bytes(b"x" * 4096)
    except OSError as error:
        raise _unwritable(directory, error) from error
    finally:
        probe.unlink(missing_ok=True)
    return directory


def require_file(path: Path) -> Path:
    """Make sure that a file exists, is a file and can be read."""
    if path.is_dir():
        raise InputError(f"{path} is a folder; a file is needed here.")
    if not path.exists():
        near = f" (the folder {path.parent} does not exist either)" if not path.parent.exists() else ""
        raise MissingError(f"There is no file {path}{near}; check the path.")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path} cannot be read; check its permissions.")
    return path


def sha256_file(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _temporary_beside(path: Path) -> Path:
    return path.parent / f"{TEMPORARY_PREFIX}{uuid.uuid4().hex[:12]}-{path.name}"


def _unwritable(path: Path, error: OSError) -> OutputError:
    reason = (error.strerror or str(error)).lower()
    return OutputError(f"Cannot write {path}: {reason}. Choose another place, or free space or permissions there.")


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
