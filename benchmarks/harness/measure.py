"""Measuring side by side: jobs in processes of their own, interleaved, medians, claims.

    job (a dict) -> child process, pinned to its cores -> result (a dict) with its samples
    rounds:  A B C  A B C  A B C ...        one median per job over the rounds
    claim:   ratio = ours / theirs where higher is better, theirs / ours where lower is; above 1, ours is better

A process of its own per job and round: its first pass over the text is then cold (no cache of an earlier pass), its
peak memory is its own, and no library's threads or allocator meet another's. Interleaving spreads a slow minute of the
machine over all sides; the median drops it.

A child that fails does not end the benchmark: its result has the one key "missing", which says why.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from harness.child import Job, Result

# Every library's own switch for its number of threads. Pinning alone would let them start threads that share one core.
THREAD_SWITCHES = (
    "RAYON_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
BENCHMARKS = Path(__file__).resolve().parents[1]  # where jobs run, so that they find their modules
console = Console(stderr=True, width=None if sys.stderr.isatty() else 140)


@dataclass(frozen=True)
class Claim:
    """One measured comparison; `target` is the least ratio that was promised, None where nothing was."""

    claim: str
    peer: str
    ours: float
    theirs: float
    unit: str
    ratio: float
    target: float | None
    runs: int
    versions: dict[str, str] = field(default_factory=dict)

    def json(self) -> str:
        """The claim as one line of JSON, numbers to four significant digits."""
        values = asdict(self)
        for name in ("ours", "theirs", "ratio"):
            values[name] = float(f"{values[name]:.4g}")
        return json.dumps(values)

    @property
    def met(self) -> bool | None:
        """Whether the ratio reaches its target; None without a target."""
        return None if self.target is None else self.ratio >= self.target


def compare(
    claim: str,
    peer: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    unit: str,
    *,
    lower_is_better: bool = False,
    target: float | None = None,
    versions: Mapping[str, str] | None = None,
) -> Claim:
    """A claim from the samples of both sides: the medians and their ratio."""
    our_median, their_median = statistics.median(ours), statistics.median(theirs)
    ratio = their_median / our_median if lower_is_better else our_median / their_median
    runs = min(len(ours), len(theirs))
    return Claim(claim, peer, our_median, their_median, unit, ratio, target, runs, dict(versions or {}))


def interleave(
    module: str, jobs: Mapping[str, Job], runs: int, *, what: str, fewer: Mapping[str, int] | None = None
) -> dict[str, list[Result]]:
    """Run every job `runs` times, all jobs once per round; returns the results by job, in order of rounds.

    `fewer` gives slow jobs a smaller number of rounds. A job that is missing once is not asked again.
    """
    rounds = {name: min(runs, (fewer or {}).get(name, runs)) for name in jobs}
    results: dict[str, list[Result]] = {name: [] for name in jobs}
    with progress_bar() as bar:
        task = bar.add_task(what, total=sum(rounds.values()), now="")
        for number in range(runs):
            for name, job in jobs.items():
                if number >= rounds[name]:
                    continue
                if not any("missing" in result for result in results[name]):
                    bar.update(task, now=name)
                    results[name].append(run_child(module, job))
                bar.advance(task)
    return results


def progress_bar() -> Progress:
    """A bar with an estimate of the end and, in the field `now`, what is being measured."""
    columns = (
        TextColumn("{task.description:<22}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("eta"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[now]}"),
    )
    return Progress(*columns, console=console)


def run_child(module: str, job: Job, environment: Mapping[str, str] | None = None) -> Result:
    """Run `python -m module job.json result.json` in the benchmarks' folder, pinned to `job["cores"]` cores (1)."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        question, answer = Path(folder) / "job.json", Path(folder) / "result.json"
        question.write_text(json.dumps(dict(job)))
        done = subprocess.run(
            [sys.executable, "-m", module, str(question), str(answer)],
            cwd=BENCHMARKS,
            env={**child_environment(job), **(environment or {})},
            stdout=subprocess.PIPE,  # some peers report their progress there
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        if answer.exists():
            return json.loads(answer.read_text())
        tail = (done.stdout.strip().splitlines() or ["it said nothing"])[-1]
        return {"missing": f"the process ended with code {done.returncode}: {tail[:200]}"}


def child_environment(job: Job) -> dict[str, str]:
    """This environment, with as many threads as the job has cores."""
    cores = int(job.get("cores", 1))
    settings = {name: str(cores) for name in THREAD_SWITCHES}
    return {**os.environ, **settings, "TOKENIZERS_PARALLELISM": "false" if cores == 1 else "true"}


def samples(results: Sequence[Result], key: str) -> list[float]:
    """One value per result, those of missing results left out."""
    return [float(result[key]) for result in results if "missing" not in result and result.get(key) is not None]


def missing(results: Sequence[Result]) -> str | None:
    """Why a job has no results; None where it has some."""
    return next((result["missing"] for result in results if "missing" in result), None)


def version(distribution: str) -> str:
    """The installed version of a distribution, or "absent"."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "absent"


def machine() -> str:
    """Processor, cores and Python, on one line."""
    information = Path("/proc/cpuinfo")
    names = [
        line.split(":", 1)[1].strip()
        for line in (information.read_text().splitlines() if information.exists() else [])
        if line.startswith("model name")
    ]
    processor = names[0] if names else platform.processor() or platform.machine()
    return f"{processor}, {cores()} cores, Python {platform.python_version()}"


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def show(claims: Sequence[Claim], title: str) -> None:
    """The claims as a table on stderr, those below their target in red."""
    table = Table(title=title, title_justify="left")
    for name in ("claim", "peer"):
        table.add_column(name)
    for name in ("ours", "theirs", "unit", "ratio", "target", "runs"):
        table.add_column(name, justify="left" if name == "unit" else "right")
    for claim in claims:
        style = {True: "green", False: "red", None: ""}[claim.met]
        target = "–" if claim.target is None else f"{claim.target:g}"
        row = (claim.claim, claim.peer, number(claim.ours), number(claim.theirs), claim.unit)
        table.add_row(
            *row, f"[{style}]{claim.ratio:.2f}[/]" if style else f"{claim.ratio:.2f}", target, str(claim.runs)
        )
    console.print(table)


def number(value: float) -> str:
    """Four significant digits, without an exponent where it is large."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
