"""Functions that work units of the execution tests run in other processes, found there as `execution_units:...`."""

import os
import signal
import time
from pathlib import Path

from groundup.corpus.execution.isolation import Isolation, Quarantined


def shout(task):
    """A unit that writes its words in capitals, after what its inputs ask for."""
    mark = task.inputs.get("once")
    if mark and not Path(mark).exists():
        Path(mark).touch()
        if task.inputs.get("hang"):
            time.sleep(60)
        os.kill(os.getpid(), signal.SIGKILL)
    (task.folder / "words.txt").write_text(task.config["mark"].join(task.inputs["words"]).upper())
    (task.folder / "deep").mkdir()
    (task.folder / "deep" / "count.txt").write_text(str(len(task.inputs["words"])))
    return {"words": len(task.inputs["words"])}


def fail(task):
    raise ZeroDivisionError(task.inputs["words"][0])


def isolated(task):
    """A unit whose records are worked on by `treat` in batches of 8."""
    records = task.inputs["words"]
    isolation = Isolation("execution_units:treat", task.config, task.limits)
    lines = []
    for _, results in isolation.map(records[start : start + 8] for start in range(0, len(records), 8)):
        lines += [f"quarantined {r.reason}" if isinstance(r, Quarantined) else r for r in results]
    isolation.close()
    (task.folder / "results.txt").write_text("\n".join(lines))
    return {"quarantined": sum(line.startswith("quarantined") for line in lines)}


def treat(config, records):
    for record in records:
        if record == "hang":
            time.sleep(60)
        if record == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if record == "exit":
            os._exit(3)
        if record == "memory":
            bytearray(10**11)
        if record == "error":
            raise KeyError(record)
        if record == "killed once" and not Path(config["mark"]).exists():
            Path(config["mark"]).touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return [record.upper() for record in records]
