"""Measuring side by side where loading and compiling take long: all sides stay alive and work in turns.

    load A, load B, load C          one after the other, each in a process of its own
    A B A C A   A B A C A   ...     short stretches; only one side works at a time, the others wait for a question

A rate of B is compared with the mean of A's before and after it, so that a machine whose speed drifts is at the same
place on both sides of the ratio. The median is taken over the rounds' ratios, not over rates of different minutes.

A side that fails drops out, with the reason; the others go on. If A fails, there is nothing to compare with.
"""

import json
import select
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType

from harness.child import Job, Result
from harness.measure import BENCHMARKS, Claim, child_environment

Pair = tuple[float, float]  # ours, theirs


class Side(AbstractContextManager["Side"]):
    """A process that has loaded its side and answers questions (`harness.child.serve`); `ready` is its first answer,
    `last` its latest.

    Once an answer is `missing`, the process is gone, and so are the answers to all further questions.
    """

    def __init__(
        self, module: str, job: Job, *, environment: Mapping[str, str] | None = None, seconds: float = 1800
    ) -> None:
        self.seconds = seconds
        self._folder = tempfile.TemporaryDirectory(prefix="bench-")
        question, self._log = Path(self._folder.name) / "job.json", Path(self._folder.name) / "log.txt"
        question.write_text(json.dumps(dict(job)))
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, str(question)],
                cwd=BENCHMARKS,
                env={**child_environment(job), **(environment or {})},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        self.ready = self.last = self._answer()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, question: Job) -> Result:
        """The answer to a question."""
        if self._process.stdin is None or self._process.stdin.closed:
            return {"missing": "the process has ended"}
        with suppress(OSError):  # the pipe is broken; why, `_answer` finds out
            self._process.stdin.write(json.dumps(dict(question)).encode() + b"\n")
            self._process.stdin.flush()
        self.last = self._answer()
        return self.last

    def close(self) -> None:
        """End the process, at once if it does not end by itself."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not pipe.closed:
                with suppress(OSError):  # an unsent question to a process that is gone
                    pipe.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()

    def _answer(self) -> Result:
        """The next line of the process, or why there is none."""
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], self.seconds)[0]:
            self._process.kill()
            result: Result = {"missing": f"no answer within {self.seconds:g} seconds"}
        elif line := self._process.stdout.readline():
            result = json.loads(line)
        else:
            code = self._process.wait()
            tail = (self._log.read_text(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
            result = {"missing": f"the process ended with code {code}: {tail[:200]}"}
        if "missing" in result:
            self.close()
        return result


def take_turns(
    ours: Side,
    others: Mapping[str, Side],
    rounds: int,
    rate: Callable[[Side], float | str],
    advance: Callable[[str], None] = lambda now: None,
) -> tuple[dict[str, list[Pair]], dict[str, str]]:
    """Pairs of rates by the other side's name, in order of rounds; and why a side dropped out ("" is ours).

    `rate` asks a side for its rate, or says why there is none; `advance` hears what is measured next.
    """
    pairs: dict[str, list[Pair]] = {name: [] for name in others}
    dropped: dict[str, str] = {}
    for _ in range(rounds):
        advance("")
        before = rate(ours)
        for name, other in others.items():
            if name in dropped:
                continue
            advance(name)
            theirs = rate(other)
            if isinstance(theirs, str):
                dropped[name] = theirs
                continue
            advance("")
            after = rate(ours)
            if isinstance(before, str) or isinstance(after, str):
                return pairs, dropped | {"": str(before if isinstance(before, str) else after)}
            pairs[name].append(((before + after) / 2, theirs))
            before = after
    return pairs, dropped


def fastest(sides: Mapping[str, Side], rounds: int, rate: Callable[[Side], float | str]) -> tuple[str | None, dict]:
    """The name of the side with the best median over interleaved rounds, and all medians or reasons for none."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    results: dict[str, float | str] = {}
    for _ in range(rounds):
        for name, side in sides.items():
            if name in results:
                continue
            value = rate(side)
            if isinstance(value, str):
                results[name] = value
            else:
                found[name].append(value)
    medians = {name: statistics.median(values) for name, values in found.items() if name not in results}
    return max(medians, key=lambda name: medians[name], default=None), {**results, **medians}


def paired(
    claim: str,
    peer: str,
    pairs: Sequence[Pair],
    unit: str,
    *,
    target: float | None = None,
    versions: Mapping[str, str] | None = None,
) -> Claim:
    """A claim from pairs of rates: the median of their ratios, and the median of either side's rates."""
    ours, theirs = (statistics.median(each) for each in zip(*pairs, strict=True))
    ratio = statistics.median(our / their for our, their in pairs)
    return Claim(claim, peer, ours, theirs, unit, ratio, target, len(pairs), dict(versions or {}))


def spread(pairs: Sequence[Pair]) -> str:
    """The least and the largest ratio, for people."""
    ratios = sorted(our / their for our, their in pairs)
    return f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
