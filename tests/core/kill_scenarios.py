"""Run as a script by the tests of files and runs: kill a process before each line of `core`, then check what is left.

For each line that an action runs in given modules, a forked child counts lines by a trace function and sends itself
SIGKILL before that line, so that no `except` or `finally` runs. The parent then checks the invariant. The script is
a process of its own because forking a test session full of threads is unsafe.
"""

import itertools
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from groundup.core import files, runs

OLD, NEW = b"old " * 5000, b"new " * 6000


def killed_before_each_line(modules: list[ModuleType], action: Callable[[], None]) -> Iterator[int]:
    """Yield after each kill, and once more after the action ran whole."""
    for number in itertools.count(1):
        child = os.fork()
        if child == 0:
            _act_and_die({module.__file__ for module in modules}, action, number)
        _, status = os.waitpid(child, 0)
        yield number
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0, "the action itself failed"
            assert number > 5, "hardly a line was traced"
            return
        assert os.WTERMSIG(status) == signal.SIGKILL


def _act_and_die(sources: set[str | None], action: Callable[[], None], countdown: int) -> None:
    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal countdown
        if frame.f_code.co_filename not in sources:
            return None
        countdown -= event == "line"
        if countdown == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
    try:
        action()
    finally:
        os._exit(0 if sys.exc_info()[0] is None else 1)


def write_a_file(place: Path) -> None:
    path = place / "file"

    def prepare() -> None:
        shutil.rmtree(place)
        place.mkdir()
        path.write_bytes(OLD)

    prepare()
    seen = set()
    for _ in killed_before_each_line([files], lambda: files.write_bytes(path, NEW)):
        seen.add(path.read_bytes())
        files.clear_temporaries(place)
        assert os.listdir(place) == ["file"]
        prepare()
    assert seen == {OLD, NEW}


def replace_a_folder(place: Path) -> None:
    _replace_a_folder(place, at_every_point=True)


def replace_a_folder_by_two_renames(place: Path) -> None:
    files._exchange = lambda first, second: False  # what a system without an exchange of names does
    _replace_a_folder(place, at_every_point=False)


def _replace_a_folder(place: Path, at_every_point: bool) -> None:
    """A reader meets the whole old or the whole new folder: at every point, or after `clear_temporaries`."""
    path = place / "folder"
    old, new = {"a": OLD, "b/c": OLD}, {"a": NEW, "b/d": NEW}

    def read() -> dict[str, bytes]:
        return {str(one.relative_to(path)): one.read_bytes() for one in path.rglob("*") if one.is_file()}

    def fill(folder: Path, content: dict[str, bytes]) -> None:
        for name, data in content.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)

    def replace() -> None:
        with files.new_directory(path) as folder:
            fill(folder, new)

    seen = []
    fill(path, old)
    for _ in killed_before_each_line([files], replace):
        if at_every_point:
            assert read() in (old, new)
        files.clear_temporaries(place)
        assert os.listdir(place) == ["folder"]
        seen.append(read())
        assert seen[-1] in (old, new)
        shutil.rmtree(path)
        fill(path, old)
    assert old in seen
    assert new in seen


def make_a_folder(place: Path) -> None:
    path = place / "folder"

    def make() -> None:
        with files.new_directory(path) as folder:
            (folder / "a").write_bytes(NEW)

    for _ in killed_before_each_line([files], make):
        assert not path.exists() or (path / "a").read_bytes() == NEW
        files.clear_temporaries(place)
        shutil.rmtree(path, ignore_errors=True)
        assert os.listdir(place) == []


def resume_a_run(place: Path) -> None:
    """A run that takes the folder of another config, killed anywhere, ends as an unbroken one when run again."""
    runs.provenance = lambda: {"argv": ["test"]}  # asks git and the machine; not what is tested here
    directory = place / "run"

    def work(size: int, steps: int) -> None:
        if runs.finished(directory, {"size": size}):
            return
        with runs.Run(directory, {"size": size}) as run:
            logged = runs.read_metrics(directory)
            start = logged[-1]["step"] if logged else 0
            run.rewind(start)
            for step in range(start + 1, steps + 1):
                run.log(step, {"loss": 1 / step})
            files.write_text(directory / "model", f"model of size {size}")
            run.finish({"seconds": 1})

    def artifacts() -> dict[str, bytes]:
        files_there = [one for one in directory.rglob("*") if one.is_file() and one.name != "log.txt"]
        return {str(one.relative_to(directory)): one.read_bytes() for one in files_there}

    whole = {}
    for size, steps in ((2, 4), (1, 3)):
        work(size, steps)
        whole[size] = artifacts()
    for _ in killed_before_each_line([runs, files], lambda: work(2, 4)):
        for size, content in whole.items():
            if runs.finished(directory, {"size": size}):
                assert artifacts().items() >= content.items(), "where the result is, the run is whole"
        work(2, 4)
        assert artifacts() == whole[2]
        work(1, 3)  # the next attempt finds the folder of another config
    shutil.rmtree(directory)
    for _ in killed_before_each_line([runs, files], lambda: work(2, 4)):
        work(2, 4)
        assert artifacts() == whole[2]
        shutil.rmtree(directory)  # the next attempt starts from nothing


if __name__ == "__main__":
    os.fsync = lambda descriptor: None  # slow, and a kill loses nothing that was written; a power cut would
    globals()[sys.argv[1]](Path(sys.argv[2]))
