"""Run as a script by the tests: kill a pretraining at random moments and inside its saves, and compare how it ends.

usage: killed_pretraining.py FOLDER DTYPE SEED POINTS

Each point is a run of its own that is killed by SIGKILL, resumed, killed again once or twice, and then left alone. Its
files must equal those of a run that nobody killed, but for times, and so must the batches that it read. Half of the
kills come after a random time; half when a save has made so many files in its temporary folder. The unbroken run and
the first point are processes as a shell starts them; the others are forks of this one, which has imported everything
and computed nothing, so that they start at once.
"""

import hashlib
import json
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from killed_quickstart import artifacts, say
from tiny_pretraining import command, tiny_pretraining, write_inputs

from groundup.batches.batch import Batch
from groundup.batches.prefetch import Prefetch
from groundup.checkpoint.store import checkpoint_folders, damage, step_of
from groundup.cli.main import main as groundup
from groundup.stages import compute, pretraining

PARTS = 9  # files and folders that a save makes
POLL_SECONDS = 0.0005
IMPORTS_SECONDS = 2


class Training(NamedTuple):
    """A pretraining under test: the words of its command, its place, and whether it is a process of its own."""

    words: list[str]
    place: Path
    apart: bool = False

    @property
    def out(self) -> Path:
        return self.place / "run"

    @property
    def checkpoints(self) -> Path:
        return self.out / "checkpoints"

    @property
    def step(self) -> int:
        """The newest checkpoint's, which no kill may have left in parts."""
        folders = checkpoint_folders(self.checkpoints)
        if folders:
            assert damage(folders[-1]) is None, f"{folders[-1]}: {damage(folders[-1])}"
        return step_of(folders[-1]) if folders else 0

    @property
    def begun(self) -> set[str]:
        """Names of saves that have begun and not ended."""
        there = os.listdir(self.checkpoints) if self.checkpoints.exists() else []
        return {name for name in there if name.startswith(".tmp-")}

    @property
    def told(self) -> Path:
        return self.place / "told.txt"

    @property
    def read(self) -> Path:
        """The hashes of the batches that it read."""
        return self.place / "batches.txt"


def main(place: Path, dtype: str, seed: int, points: int) -> None:
    compute.measured_matmul_flops = lambda dtype: 1e10
    write_inputs(place)
    config = tiny_pretraining(place, dtype)
    words = command(place, config)
    unbroken, forked = Training(words, place / "unbroken", apart=True), Training(words, place / "forked")
    finish(unbroken)
    began = time.perf_counter()
    finish(forked)
    seconds = time.perf_counter() - began
    expected, batches = artifacts(unbroken.out), batches_of(forked)
    assert_equal(expected, artifacts(forked.out), "the fork")
    lines = [json.loads(line) for line in (unbroken.out / "metrics.jsonl").read_text().splitlines()]
    skipped, rollbacks = sum(line.get("skipped", 0) for line in lines), unbroken.told.read_text().count("Going back")
    say(f"unbroken in {seconds:.2f} s: {skipped} updates skipped, {rollbacks} times back")
    assert skipped, "the guard has nothing to do"
    generator = random.Random(seed)
    kills = inside = 0
    for point in range(points):
        training = Training(words, place / f"point-{point}", apart=point == 0)
        where = [each for each in kill_some(training, generator, config.steps, seconds) if each]
        finish(training)
        say(f"point {point}: {'; '.join(where)}")
        assert_equal(expected, artifacts(training.out), f"point {point}")
        assert training.apart or batches_of(training) == batches
        kills += len(where)
        inside += sum("inside a save" in each for each in where)
    say(f"{points} points, {kills} kills, {inside} of them inside a save: {len(expected)} files equal")
    assert kills >= 1.5 * points, "too many runs ended before they were killed twice"
    assert inside >= points / 4, "hardly a kill fell into a save"


def kill_some(training: Training, generator: random.Random, steps: int, seconds: float) -> list[str]:
    """Kill it two or three times; where each kill found it."""
    where = []
    for remaining in range(generator.choice((2, 3)), 0, -1):
        before = training.begun
        process = start(training)
        left = (steps - training.step) / steps
        if generator.random() < 0.5:
            lasts = seconds * (1 + 2 * left / remaining) / 3  # a third of the unbroken one is the start
            time.sleep(generator.uniform(0, 0.8 * lasts) + (IMPORTS_SECONDS if training.apart else 0))
        else:
            saves = max(1, round(10 * left / remaining))
            wait_for_save(training, process, before, generator.randint(1, saves), generator.randint(1, PARTS))
        os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        if not os.WIFSIGNALED(status):
            assert os.WEXITSTATUS(status) == 0, training.told.read_text()
            return where
        found = f"step {training.step}"
        where.append(f"{found}, inside a save" if training.begun - before else found)
    return where


def wait_for_save(training: Training, process: int, before: set[str], number: int, parts: int) -> None:
    """Until save `number` from now on has made so many files and folders, or is done; or until the process ended."""
    seen: set[str] = set()
    while os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        begun = training.begun - before
        seen |= begun
        if len(seen) > number or (len(seen) == number and not begun):
            return
        if len(seen) == number and sum(1 for name in begun for _ in (training.checkpoints / name).rglob("*")) >= parts:
            return
        time.sleep(POLL_SECONDS)


def start(training: Training) -> int:
    """Begin or resume it in a process, whose number is returned."""
    assert threading.active_count() == 1, "the fork of a process with threads may hang"
    training.place.mkdir(exist_ok=True)
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        told = os.open(training.told, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(told, 1)
        os.dup2(told, 2)
        words = [*training.words, "--out", str(training.out)]
        if training.apart:
            os.execv(sys.executable, [sys.executable, "-m", "groundup.cli.main", *words])
        os.fsync = lambda descriptor: None  # slow, and a kill loses nothing that was written; a power cut would
        pretraining.Prefetch = recorded(training.read)
        status = groundup(words)
    finally:
        if sys.exc_info()[0] is not None:
            sys.excepthook(*sys.exc_info())
        os._exit(status)


def finish(training: Training) -> None:
    """Begin or resume it and leave it alone."""
    _, status = os.waitpid(start(training), 0)
    assert os.waitstatus_to_exitcode(status) == 0, training.told.read_text()


def recorded(path: Path) -> type[Prefetch]:
    """What hands batches to the training, writing down the hash of each."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    class Recorded(Prefetch):
        def batch(self, step: int, shard: int = 0, shards: int = 1) -> Batch:
            batch = super().batch(step, shard, shards)
            digest = hashlib.sha256()
            for tensor in batch:
                assert tensor is not None
                digest.update(tensor.numpy().tobytes())
            os.write(file, f"{step} {digest.hexdigest()}\n".encode())
            return batch

    return Recorded


def batches_of(training: Training) -> dict[int, str]:
    """The hash of each batch that it read; one that is read again after a resume must be the same."""
    found: dict[int, str] = {}
    for line in training.read.read_text().splitlines():
        step, digest = line.split()
        assert found.setdefault(int(step), digest) == digest, f"batch {step} is another one after a resume"
    return found


def assert_equal(expected: dict[str, Any], found: dict[str, Any], name: str) -> None:
    assert expected.keys() == found.keys(), expected.keys() ^ found.keys()
    different = [file for file in expected if expected[file] != found[file]]
    assert not different, f"{name}: these differ: {different}"


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
