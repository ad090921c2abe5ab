"""A job's own process: pinned, its answer in a file, or one answer per question while it stays (`serve`).

Only the standard library: imports here are memory of the job.
"""

import json
import mmap
import os
import resource
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Job = Mapping[str, Any]
Result = dict[str, Any]


def child_main(run: Callable[[Result], Result]) -> None:
    """The main function of a job's process: pin, run, write the result; a fault becomes `missing`."""
    question, answer = Path(sys.argv[1]), Path(sys.argv[2])
    job = json.loads(question.read_text())
    pin(int(job.get("cores", 1)), int(job.get("place", 0)))
    try:
        result = run(job)
    except Exception as error:  # noqa: BLE001 - whatever a peer raises is reported, and the benchmark goes on
        result = fault(error)
    answer.write_text(json.dumps(result))


def serve(start: Callable[[Result], tuple[Result, Callable[[Result], Result]]]) -> None:
    """The main function of a process that stays: it loads, says so, and answers each question on its standard input.

    `start` returns the first answer and the function that gives the others. Questions and answers are JSON, a line
    each; a fault becomes `missing`. The process ends with its standard input, so also when its parent is gone. What
    libraries print to standard output goes to standard error, lest it pass for an answer.
    """
    job = json.loads(Path(sys.argv[1]).read_text())
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    pin(int(job.get("cores", 1)))

    def say(result: Result) -> None:
        print(json.dumps(result), file=answers, flush=True)

    try:
        first, answer = start(job)
    except Exception as error:  # noqa: BLE001 - as above
        say(fault(error))
        return
    say(first)
    for question in sys.stdin:
        try:
            say(answer(json.loads(question)))
        except Exception as error:  # noqa: BLE001 - as above
            say(fault(error))


def fault(error: Exception) -> Result:
    """The result of a job that failed."""
    return {"missing": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"}


def pin(cores: int, place: int = 0) -> None:
    """Keep this process on the last `cores` of its cores (the first one serves most interrupts), or on those before
    them: a `place` for each of several processes that run at the same time. Linux only."""
    if hasattr(os, "sched_setaffinity"):
        allowed = sorted(os.sched_getaffinity(0))[::-1]
        os.sched_setaffinity(0, allowed[place * cores : (place + 1) * cores])


def claim_memory(size: int = 1 << 29) -> None:
    """Use and free as much memory (at most half of the machine's), so that the system holds it when the clock runs.

    In a virtual machine memory that was free for some seconds may have gone back to the host, and its next first touch
    costs 2 ns a byte: as much as encoding a text, and more for whoever comes after a process that left much of it.
    """
    half = os.sysconf("SC_PHYS_PAGES") * mmap.PAGESIZE // 2
    size = min(size, half) // mmap.PAGESIZE * mmap.PAGESIZE
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        if hasattr(mmap, "MADV_HUGEPAGE"):
            memory.madvise(mmap.MADV_HUGEPAGE)
        memory[:: mmap.PAGESIZE] = bytes(size // mmap.PAGESIZE)


def peak_bytes() -> int:
    """Peak resident memory of this process.

    VmHWM belongs to this program's own memory. `ru_maxrss`, the fallback, also counts what the parent held at the fork.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
