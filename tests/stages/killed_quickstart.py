"""Run as a script by the tests: kill the tiny quickstart again and again, and compare what it ends with.

usage: killed_quickstart.py FOLDER SEED KILLS

Each attempt is a forked child that counts the lines it runs in the stages, GRPO's loop, the checkpoints and `core`,
and sends itself SIGKILL before a random one of them: no `except` or `finally` runs, and kills fall inside saves too. An
attempt continues what the last one left. After that many kills one attempt is left alone, and its folder must equal
that of a run that nobody killed, but for times. The script is a process of its own because forking a test session full
of threads is unsafe; it computes nothing itself before it forks, so the children's torch is fresh.
"""

import functools
import json
import os
import random
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import torch._dynamo  # noqa: F401 - the first optimizer imports it, which would take each child a second
from tiny_quickstart import tiny_config, write_notes

import groundup
from groundup.stages import compute
from groundup.stages.quickstart import run_quickstart

TRACED = ("core/files.py", "core/runs.py", "checkpoint/store.py", "alignment/grpo.py", "stages/")
WITH_TIMES = ("log.txt", "provenance.json", "report.html", "COMPLETE")  # the last one hashes a file with times
MEASURED = ("peak_flops", "peak_flops_per_second", "memory_bytes")
TIMES = ("seconds", "tokens_per_second", "mfu", "total_seconds", *MEASURED)
SOURCE = str(Path(groundup.__file__).parent) + "/"


def main(place: Path, seed: int, kills: int) -> None:
    compute.measured_matmul_flops = lambda dtype: 1e10
    config = tiny_config(write_notes(place / "notes"))
    unbroken, killed = place / "unbroken" / "run", place / "killed" / "run"
    os.fsync = lambda descriptor: None  # slow, and a kill loses nothing that was written; a power cut would
    lines = attempt(lambda: run_quickstart(config, unbroken), None)
    generator = random.Random(seed)
    left, done = lines, 0
    while done < kills:
        countdown = generator.randrange(1, max(2, left // (kills - done)))  # within an equal share of what is left
        if attempt(lambda: run_quickstart(config, killed), countdown) is not None:
            say(f"finished after {done} kills")
            break
        done += 1
        left -= countdown
    else:
        assert attempt(lambda: run_quickstart(config, killed), None) is not None, "the last attempt failed"
    assert done >= min(kills, 2), "hardly a kill fell into the run"
    expected, found = artifacts(unbroken), artifacts(killed)
    assert expected.keys() == found.keys(), expected.keys() ^ found.keys()
    different = [name for name in expected if expected[name] != found[name]]
    assert not different, f"seed {seed}: after {done} kills these differ: {different}"
    assert not [path for path in killed.rglob("*") if path.name.startswith((".tmp-", ".old-"))]
    say(f"{done} kills, {len(expected)} files equal")


def attempt(action: Callable[[], object], countdown: int | None) -> int | None:
    """Run the action in a child; the number of lines it ran, or None where it was killed before line `countdown`."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        ran = [0]
        trace = tracer(ran, countdown)
        threading.settrace(trace)  # pretraining saves in a thread
        sys.settrace(trace)
        status = 1
        try:
            action()
            status = 0
        finally:
            if status:
                sys.excepthook(*sys.exc_info())
            os.write(writer, str(ran[0]).encode())
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return None
    assert os.WEXITSTATUS(status) == 0, "the quickstart itself failed"
    return int(told)


def tracer(ran: list[int], countdown: int | None) -> Callable[[FrameType, str, Any], Any]:
    traced = functools.cache(lambda name: name.startswith(tuple(SOURCE + each for each in TRACED)))

    def trace(frame: FrameType, event: str, _: object) -> object:
        if not traced(frame.f_code.co_filename):
            return None
        if event == "line":
            ran[0] += 1
            if ran[0] == countdown:
                say(f"killed at {frame.f_code.co_filename.removeprefix(SOURCE)}:{frame.f_lineno}")
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    return trace


def artifacts(out: Path) -> dict[str, object]:
    """Every file of a run by name, without what tells the time or the place."""
    found: dict[str, object] = {}
    for path in sorted(one for one in out.rglob("*") if one.is_file()):
        name = str(path.relative_to(out))
        if path.name in WITH_TIMES:
            continue
        if path.suffix in (".json", ".jsonl"):
            lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
            found[name] = [timeless(json.loads(line.replace(str(out), "RUN"))) for line in lines]
        else:
            found[name] = path.read_bytes()
    return found


def timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: timeless(inner) for key, inner in value.items() if key not in TIMES}
    return [timeless(inner) for inner in value] if isinstance(value, list) else value


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
