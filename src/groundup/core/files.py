"""Files that are either whole or not there: every write goes to a temporary sibling, is flushed to disk, then renamed.

A process killed at any point leaves the old file, or the new one, and at most a temporary whose name starts with
`.tmp-`; `clear_temporaries` removes those. A folder that replaces another one swaps names with it in one step where the
system can (Linux, `renameat2` with RENAME_EXCHANGE). Elsewhere two renames are needed; a kill between them leaves the
old folder as `.old-<name>`, and the next `new_directory` or `clear_temporaries` there gives it its name back.
"""

import ctypes
import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from groundup.core.errors import GroundupError, InputError, MissingError, OutputError

TEMPORARY_PREFIX = ".tmp-"
REPLACED_PREFIX = ".old-"
NO_PLACE_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO)
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically (temporary sibling, fsync, rename); parent folders are made."""
    with new_file(path) as file:
        file.write(data)


@contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """Write a file inside the block; on success it takes its name, after a fault the old one stays as it was."""
    make_directory(path.parent)
    temporary = _temporary_beside(path)
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _fsync(path.parent)
    except OSError as error:
        if isinstance(error, GroundupError) or not _is_about_writing(error, path.parent):
            raise
        raise _unwritable(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, as UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401 - anything that json takes
    """Write a value as readable JSON, atomically. A lone surrogate (a file name that is no UTF-8) becomes `\\udcff`."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    write_bytes(path, (text + "\n").encode(errors="backslashreplace"))


def read_json(path: Path) -> Any:  # noqa: ANN401
    """Parse a JSON file; a missing or broken one is an error that names it."""
    require_file(path)
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON ({error}); repair or delete it.") from error


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """Fill a temporary folder inside the block; on success it takes the name `path`, replacing an old folder.

    A fault inside the block leaves the old folder as it was.
    """
    make_directory(path.parent)
    temporary = _temporary_beside(path)
    try:
        _restore_replaced(path.with_name(REPLACED_PREFIX + path.name))
        temporary.mkdir()
        yield temporary
        for entry in (*temporary.rglob("*"), temporary):
            if not entry.is_symlink() and (entry.is_file() or entry.is_dir()):
                _fsync(entry)
        _take_name(temporary, path)
        _fsync(path.parent)
    except OSError as error:
        if isinstance(error, GroundupError) or not _is_about_writing(error, temporary):
            raise
        raise _unwritable(path, error) from error
    finally:
        with suppress(OSError):
            remove(temporary)


def clear_temporaries(directory: Path) -> None:
    """Remove what a killed process left behind in a folder; a folder whose replacement was cut off returns."""
    for leftover in directory.glob(f"{TEMPORARY_PREFIX}*"):
        remove(leftover)
    for replaced in directory.glob(f"{REPLACED_PREFIX}*"):
        _restore_replaced(replaced)


def remove(path: Path) -> None:
    """Delete a file, or a folder with all that is in it; a link is deleted, what it points to is not."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


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
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _temporary_beside(path: Path) -> Path:
    return path.parent / f"{TEMPORARY_PREFIX}{uuid.uuid4().hex[:12]}-{path.name}"


def _unwritable(path: Path, error: OSError) -> OutputError:
    reason = (error.strerror or str(error)).lower()
    return OutputError(f"Cannot write {path}: {reason}. Choose another place, or free space or permissions there.")


def _is_about_writing(error: OSError, directory: Path) -> bool:
    """Whether a fault in a block that fills `directory` is that of the place, not of what the block reads."""
    if error.errno in NO_PLACE_ERRNOS:
        return True
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, (str, bytes, Path))]
    return any(Path(name).is_relative_to(directory) for name in names)


def _take_name(temporary: Path, path: Path) -> None:
    """Give a filled folder its name; afterwards `temporary` is gone, or is the old folder."""
    if not os.path.lexists(path):
        os.replace(temporary, path)
    elif not _exchange(temporary, path):
        old = path.with_name(REPLACED_PREFIX + path.name)
        os.replace(path, old)
        os.replace(temporary, path)
        remove(old)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two names in one step; False where the system or the file system cannot."""
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)
    names = os.fsencode(first), os.fsencode(second)
    return renameat2 is not None and renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE) == 0


def _restore_replaced(old: Path) -> None:
    """Finish what a kill between two renames left: the old folder gets its name back, unless a new one has it."""
    path = old.with_name(old.name.removeprefix(REPLACED_PREFIX))
    if os.path.lexists(path):
        remove(old)
    elif old.is_dir():
        os.replace(old, path)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot sync a folder
            raise
    finally:
        os.close(descriptor)
