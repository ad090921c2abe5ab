"""House rules that a machine can check: size of files and functions, names, docstrings, prints, traces of a machine."""

import ast
import os
import re
import socket
import tempfile
from pathlib import Path

import pytest
from sources import ROOT, SOURCE, named, parsed, project_files, source_files

MAX_FILE_LINES, MAX_FUNCTION_LINES = 400, 60
# Files and functions over budget, as "src/groundup/x.py" or "src/groundup/x.py:function". These lists may only shrink.
LONG_FILES: frozenset[str] = frozenset()
LONG_FUNCTIONS: frozenset[str] = frozenset()

BANNED_FILE_NAMES = re.compile(r"(^|_)(utils?|common|helpers?|misc)(_|$)")
BANNED_CLASS_NAMES = re.compile(r"^_?Base[A-Z]|Base$|Manager$|Helpers?$|Utils?$")
HOMES = ("/home/", "/Users/", "/root/", "C:\\Users")


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(parsed(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def test_files_fit_a_sitting() -> None:
    long = {named(path) for path in source_files() if len(path.read_text().splitlines()) > MAX_FILE_LINES}
    assert long == LONG_FILES, "split the file by concept; a name that left the list's reality is taken off the list"


def test_functions_fit_a_screen() -> None:
    long = {
        f"{named(path)}:{function.name}"
        for path in source_files()
        for function in functions(path)
        if (function.end_lineno or 0) - function.lineno + 1 > MAX_FUNCTION_LINES
    }
    assert long == LONG_FUNCTIONS, "split the function; a name that left the list's reality is taken off the list"


def test_every_module_says_what_it_is() -> None:
    silent = [named(path) for path in source_files() if len((ast.get_docstring(parsed(path)) or "").split()) < 3]
    assert silent == []


def test_only_the_command_line_prints() -> None:
    printing = [
        f"{named(path)}:{node.lineno}"
        for path in source_files()
        if path.parent != SOURCE / "cli"
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("print", "pprint")
    ]
    assert printing == []


def test_names_say_what_a_thing_is() -> None:
    files = [named(path) for path in source_files() for part in (path.stem, path.parent.name) if _is_vague(part)]
    classes = [
        f"{named(path)}:{node.name}"
        for path in source_files()
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.ClassDef) and BANNED_CLASS_NAMES.search(node.name)
    ]
    assert files + classes == []


def _is_vague(name: str) -> bool:
    return BANNED_FILE_NAMES.search(name) is not None


@pytest.mark.parametrize(
    ("name", "vague"), [("utils", True), ("text_helpers", True), ("common", True), ("runs", False)]
)
def test_the_rule_on_names_finds_what_it_is_for(name: str, vague: bool) -> None:
    assert _is_vague(name) == vague


def test_nothing_is_left_to_do_later() -> None:
    later = re.compile(r"#\s*(TODO|FIXME|XXX|HACK)\b")
    found = [
        f"{named(path)}:{number}"
        for path in source_files()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if later.search(line)
    ]
    assert found == []


def test_no_file_carries_a_trace_of_the_machine_it_was_made_on() -> None:
    host = socket.gethostname()
    words = [*HOMES, f"{ROOT}/", f"{Path.home()}/"] + ([host] if len(host) > 5 else [])
    if ROOT.parent not in (Path("/"), Path(tempfile.gettempdir())):
        words.append(f"{ROOT.parent}/")
    if wheels := os.environ.get("PIP_FIND_LINKS"):
        words.append(wheels)
    index = re.compile(r"(--(extra-)?index-url|--find-links|https?://[^\s\"')>]*(/simple\b|\.whl\b))")
    found = []
    for path in project_files():
        if path == Path(__file__) or path.suffix in (".png", ".gz"):
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if any(word in line for word in words) or index.search(line):
                found.append(f"{named(path)}:{number}: {line.strip()[:100]}")
    assert found == []
