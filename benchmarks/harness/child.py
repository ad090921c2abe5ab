"""A job's own process: pinned, its answer in a file. Only the standard library: imports here are memory of the job."""

import json
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
    pin(int(job.get("cores", 1)))
    try:
        result = run(job)
    except Exception as error:  # noqa: BLE001 - whatever a peer raises is reported, and the benchmark goes on
        result = {"missing": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"}
    answer.write_text(json.dumps(result))


def pin(cores: int) -> None:
    """Keep this process on the last `cores` of its cores (the first one serves most interrupts); Linux only."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-cores:])


def peak_bytes() -> int:
    """Peak resident memory of this process.

    VmHWM belongs to this program's own memory. `ru_maxrss`, the fallback, also counts what the parent held at the fork.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
