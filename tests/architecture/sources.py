"""The project's own files, for the architecture tests."""

import ast
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "groundup"
FOLDERS = ("src", "tests", "benchmarks", "scripts", "docs", ".ci")


@cache
def source_files() -> tuple[Path, ...]:
    """The Python files of the package."""
    return tuple(sorted(SOURCE.rglob("*.py")))


@cache
def parsed(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def named(path: Path) -> str:
    """A file's name from the root of the project, for messages."""
    return path.relative_to(ROOT).as_posix()


def project_files() -> list[Path]:
    """The files that belong to the project: those that git tracks or would track, else the known folders."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        names = subprocess.run(command, capture_output=True, check=True).stdout.decode().split("\0")
    except (OSError, subprocess.CalledProcessError):  # an unpacked source archive
        names = [str(path.relative_to(ROOT)) for folder in FOLDERS for path in (ROOT / folder).rglob("*")]
        names += [path.name for path in ROOT.iterdir()]
    return [path for name in sorted({*names} - {""}) if (path := ROOT / name).is_file() and path.suffix != ".pyc"]
