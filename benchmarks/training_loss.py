"""Loss after the same time: the quickstart's pretraining beside what is usual. `make bench-training_loss` runs it.

Prints one JSON object per claim on stdout (BENCHMARKS.md explains it) and tables on stderr. The same text and held-out
documents, the same tokenizer of 4,096 tokens, the same seconds, the same number of threads; several seeds.

    recipe        the quickstart's pretraining as it stands, its steps decided by a budget of so many seconds
    GPT-2 style   what nanoGPT's documentation gives for a CPU (training_peers/gpt2_recipe.py), compiled or not:
                  the variant with the lower loss counts
    --before      another pretraining config of ours

The clock runs from the first weights to the end; compilation, checkpoints and the evaluations on the way count. Scored
are whole held-out documents, in windows of each model's own context: bits per byte, lower is better.

The sides of a seed run one after the other with all threads; ours is first, and where it took longer than planned, the
others get as long. With --together they run at the same time, each on a core of its own, ours once beside each group of
others, so that a machine whose speed varies does so for all. A pair in which ours had 5 % more time is left out.

Finished runs are kept in benchmarks/.cache until the last one is done: after a stop, the same command continues.
"""

import argparse
import hashlib
import json
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from harness.child import Job, Result
from harness.measure import BENCHMARKS, Claim, compare, console, cores, machine, progress_bar, run_child, show, version
from harness.real_text import cache_folder
from rich.table import Table

import groundup
from groundup.core.config import encode, fingerprint, load
from groundup.core.errors import GroundupError, InputError
from groundup.core.files import write_text
from groundup.core.logging import log_to_console
from groundup.corpus.documents import read_texts
from groundup.corpus.sources import is_corpus
from groundup.evaluation.statistics import mean_of_few
from groundup.models.presets import llama
from groundup.recipes.quickstart import quickstart
from groundup.stages.config import PretrainConfig
from groundup.stages.corpus import run_corpus
from groundup.stages.texts import text_fingerprint
from groundup.stages.tokenizer import run_tokenizer

WORKER = "training_peers.loss_worker"
OURS = "recipe"
GPT2 = {"GPT-2 style in fp32, not compiled": False, "GPT-2 style in fp32, compiled": True}
VOCABULARY = 4096
TARGET = 1.0  # least ratio to the GPT-2 style: ours has the lower loss
LONGER = 1.05  # times the other side's seconds that ours may have taken


class Run(NamedTuple):
    """One training; `group` numbers those of one seed that run at the same time."""

    side: str
    seed: int
    group: int


@dataclass(frozen=True)
class LossClaim(Claim):
    """A claim of lower loss, and what stands behind it. The difference is theirs - ours in bits per byte between runs
    of one seed: its mean and Student's 95 % interval over the seeds, which one seed has not."""

    difference: dict[str, float | None] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    tokens: dict[str, float] = field(default_factory=dict)


@dataclass
class Session:
    """What a run of the benchmark knows and has found so far. A side is a config of ours, or whether the GPT-2 style is
    compiled; `at_once` of them run at the same time."""

    sides: dict[str, PretrainConfig | bool]
    seconds: float
    seeds: int
    threads: int
    at_once: int
    corpus: Path
    tokenizer: Path
    results: dict[Run, Result] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    claims: list[LossClaim] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    void: list[str] = field(default_factory=list)

    def settings(self) -> str:
        """What runs must have in common to be of one session."""
        inputs = text_fingerprint(self.corpus), text_fingerprint(self.tokenizer)
        speeds = [self.seconds, self.threads, self.at_once, machine(), version("torch")]
        return fingerprint(self.sides, *inputs, speeds)

    def heats(self) -> list[list[Run]]:
        """The runs, those of one list at the same time, in order; ours is the first of each seed and group."""
        others = [name for name in self.sides if name != OURS]
        if self.at_once == 1:
            return [[Run(name, seed, 0)] for seed in range(self.seeds) for name in (OURS, *others)]
        size = self.at_once - 1  # beside ours
        groups = [others[first : first + size] for first in range(0, len(others), size)]
        return [
            [Run(name, seed, number) for name in (OURS, *group)]
            for seed in range(self.seeds)
            for number, group in enumerate(groups)
        ]

    def job(self, run: Run, place: int) -> Job:
        """What a run's process is asked for."""
        seconds, side = self.seconds, self.sides[run.side]
        if self.at_once == 1 and run.side != OURS:
            seconds = max(seconds, self.results[run._replace(side=OURS)]["seconds"])
        paths = {"corpus": str(self.corpus), "tokenizer": str(self.tokenizer)}
        job = {**paths, "seconds": seconds, "seed": run.seed, "cores": self.threads, "place": place}
        if isinstance(side, bool):
            return {**job, "side": "gpt2_style", "compiled": side}
        config = replace(
            side,
            budget=f"{seconds:.3f}s",
            seed=side.seed + run.seed,
            compute=replace(side.compute, threads=self.threads),
            dashboard=False,
            log_to=(),
        )
        return {**job, "side": "groundup", "config": encode(config)}


def measure(session: Session, store: Path) -> None:
    """Run what the store does not have, and keep it there; a side that fails is left out, and ours ends it."""
    settings, code = session.settings(), code_hash()
    session.results = kept_runs(store, settings)
    if session.results:
        session.notes.append(f"{len(session.results)} finished runs of an earlier start were taken over")
    heats = [heat for heat in session.heats() if not all(run in session.results for run in heat)]
    with progress_bar() as bar:
        task = bar.add_task("seconds of training", total=len(heats) * session.seconds, now="")
        for number, heat in enumerate(heats):
            runs = [run for run in heat if run.side not in session.faults]
            if not runs or (len(heat) > 1 and len(runs) == 1):  # nothing, or ours with nobody beside it
                continue
            bar.update(task, now=f"seed {runs[0].seed}: {' | '.join(run.side for run in runs)}")
            began, before = time.monotonic(), number * session.seconds

            def tick(began: float = began, before: float = before) -> None:
                bar.update(task, completed=before + min(session.seconds, time.monotonic() - began))

            found = at_the_same_time([session.job(run, place) for place, run in enumerate(runs)], tick)
            bar.update(task, completed=before + session.seconds)
            whole = {run: each | {"code": code} for run, each in zip(runs, found, strict=True) if "missing" not in each}
            session.results |= whole
            append(store, [{"settings": settings, "run": run, "result": each} for run, each in whole.items()])
            session.faults |= {
                run.side: each["missing"] for run, each in zip(runs, found, strict=True) if "missing" in each
            }
            if OURS in session.faults:
                session.void.append(f"{OURS}: {session.faults[OURS]}")
                return
    append(store, [{"settings": settings, "finished": True}])


def at_the_same_time(jobs: Sequence[Job], tick: Callable[[], None]) -> list[Result]:
    """The results of processes that run beside each other; `tick` is called each second."""
    with ThreadPoolExecutor(len(jobs)) as pool:
        running = [pool.submit(run_child, WORKER, job) for job in jobs]
        while wait(running, timeout=1).not_done:
            tick()
    return [each.result() for each in running]


def kept_runs(store: Path, settings: str) -> dict[Run, Result]:
    """The runs of these settings since a session of them was last finished."""
    found: dict[Run, Result] = {}
    for line in store.read_text().splitlines() if store.exists() else ():
        record = json.loads(line)
        if record["settings"] != settings:
            continue
        if "finished" in record:
            found.clear()
        else:
            found[Run(*record["run"])] = record["result"]
    return found


def append(store: Path, records: Sequence[dict[str, Any]]) -> None:
    """Add lines to the store; a kill leaves it as it was or as it becomes."""
    lines = "".join(json.dumps(record) + "\n" for record in records)
    write_text(store, (store.read_text() if store.exists() else "") + lines)


def code_hash() -> str:
    """What identifies the code of both sides, for a note where it changed between runs."""
    folders = Path(groundup.__file__).parent, BENCHMARKS / "training_peers"
    paths = [path for folder in folders for path in sorted(folder.rglob("*.py"))]
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in paths)).hexdigest()[:12]


def report(session: Session) -> None:
    """The claims: against the better variant of the GPT-2 style, and against each other side."""
    pairs = {name: comparable_pairs(session, name) for name in session.sides if name != OURS}
    variants = {name: bits(each, 1) for name, each in pairs.items() if name in GPT2 and each}
    if len(variants) > 1:
        shown = "; ".join(f"{name}: {statistics.fmean(values):.4f}" for name, values in variants.items())
        session.notes.append(f"mean bits per byte of the variants, of which the lower one counts: {shown}")
    best = min(variants, key=lambda name: statistics.fmean(variants[name]), default=None)
    for name, each in pairs.items():
        if each and (name not in GPT2 or name == best):
            session.claims.append(loss_claim(session, name, each))
    for name, fault in session.faults.items():
        session.notes.append(f"{name}: left out ({fault})")
    if len({each["code"] for each in session.results.values()}) > 1:
        session.notes.append("the code changed between these runs")


def comparable_pairs(session: Session, side: str) -> list[tuple[Result, Result]]:
    """Ours and theirs of one seed and group, by seeds, but for those in which ours had more time."""
    pairs = []
    for run in sorted(run for run in session.results if run.side == side and run.side not in session.faults):
        ours, theirs = session.results[run._replace(side=OURS)], session.results[run]
        if ours["seconds"] <= LONGER * theirs["seconds"]:
            pairs.append((ours, theirs))
        else:
            took = f"ours took {ours['seconds']:.0f} s and it {theirs['seconds']:.0f} s"
            session.notes.append(f"{side}, seed {run.seed}: left out ({took})")
    return pairs


def loss_claim(session: Session, side: str, pairs: Sequence[tuple[Result, Result]]) -> LossClaim:
    """Medians over the seeds, their ratio, and the mean of the differences."""
    ours, theirs = bits(pairs, 0), bits(pairs, 1)
    claim = compare(
        f"bits per byte after {session.seconds:g} s",
        side,
        ours,
        theirs,
        "bits per byte",
        lower_is_better=True,
        target=TARGET if side in GPT2 else None,
        versions={name: version(name) for name in ("groundup", "torch")},
    )
    found = mean_of_few([their - our for our, their in zip(ours, theirs, strict=True)])
    low, high = (round(found.low, 5), round(found.high, 5)) if len(pairs) > 1 else (None, None)
    medians = {
        key: {
            name: round(statistics.median(pair[at][key] for pair in pairs), 1)
            for at, name in enumerate(("ours", "theirs"))
        }
        for key in ("seconds", "tokens")
    }
    return LossClaim(
        **vars(claim), difference={"estimate": round(found.estimate, 5), "low": low, "high": high}, **medians
    )


def bits(pairs: Sequence[tuple[Result, Result]], at: int) -> list[float]:
    """Bits per byte of one side of the pairs: 0 is ours, 1 theirs."""
    return [float(pair[at]["bits_per_byte"]) for pair in pairs]


def summarize(session: Session, title: str) -> None:
    """The runs, the claims, the notes and the last line."""
    table = Table(title="Runs", title_justify="left")
    for name in ("side", "seed", "bits per byte", "over documents", "seconds", "steps", "tokens", "parameters"):
        table.add_column(name, justify="left" if name == "side" else "right")
    for run, found in sorted(session.results.items(), key=lambda item: (item[0].seed, item[0].group)):
        numbers = (f"{found[name]:,.0f}" for name in ("seconds", "steps", "tokens", "parameters"))
        score = f"{found['bits_per_byte']:.4f}", f"{found['low']:.3f} to {found['high']:.3f}"
        table.add_row(run.side, str(run.seed), *score, *numbers)
    console.print(table)
    show(session.claims, title)
    for claim in session.claims:
        estimate, low, high = claim.difference.values()
        interval = "" if low is None else f" ({low:+.4f} to {high:+.4f})"
        console.print(f"- {claim.peer}: {estimate:+.4f} bits per byte above ours{interval}", highlight=False)
    for note in dict.fromkeys(session.notes):
        console.print(f"- {note}", highlight=False)
    for reason in session.void:
        console.print(f"VOID {reason}", style="red", highlight=False)
    below = sum(claim.met is False for claim in session.claims)
    console.print(f"{len(session.claims)} claims, {below} below target, {len(session.void)} void.", highlight=False)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n\n")[0],
        epilog="examples: make bench-training_loss     make bench-training_loss ARGS='--together --seeds 5'     "
        "make bench-training_loss ARGS='--before runs/quickstart/pretrain/config.json'",
    )
    parser.add_argument("--seconds", type=float, default=600, help="of each training (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="how many (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="of each side (default: all cores; 1 with --together)")
    parser.add_argument("--together", action="store_true", help="sides at the same time, each on cores of its own")
    parser.add_argument("--before", type=Path, metavar="CONFIG.json", help="a pretraining config to compare with, too")
    parser.add_argument("--corpus", type=Path, help="a built corpus folder (default: the quickstart's)")
    parser.add_argument("--fresh", action="store_true", help="do not continue an earlier start that was stopped")
    parser.add_argument("--quick", action="store_true", help="a tiny model, 5 seconds, one seed: does it run at all?")
    parser.add_argument("--json", type=Path, help="also write the claims to this file, one JSON object per line")
    chosen = parser.parse_args()
    chosen.threads = chosen.threads or (1 if chosen.together else cores())
    if chosen.quick:
        chosen.seconds, chosen.seeds = 5.0, 1
    if not 0 < chosen.seconds < float("inf"):
        parser.error(f"--seconds is {chosen.seconds}; it must be above 0")
    if chosen.seeds < 1:
        parser.error(f"--seeds is {chosen.seeds}; it must be at least 1")
    if not 1 <= chosen.threads <= cores():
        parser.error(f"--threads is {chosen.threads}; this process may use 1 to {cores()} cores")
    if chosen.together and cores() < 2 * chosen.threads:
        parser.error(f"--together needs {2 * chosen.threads} cores, and this process may use {cores()}")
    return chosen


def prepare(chosen: argparse.Namespace) -> Session:
    """The texts, the tokenizer and the sides."""
    recipe = quickstart()
    sides: dict[str, PretrainConfig | bool] = {OURS: tiny(recipe.pretrain) if chosen.quick else recipe.pretrain}
    sides |= {name: compiled for name, compiled in GPT2.items() if not (chosen.quick and compiled)}
    if chosen.before is not None:
        before = load(PretrainConfig, chosen.before)
        if before.start_from is not None or before.data.sources:
            raise InputError(f"{chosen.before} starts from weights or mixes sources; only the corpus is compared on.")
        sides[f"groundup, {chosen.before}"] = tiny(before) if chosen.quick else before
    folder = cache_folder() / "training_loss"
    corpus = (chosen.corpus or folder / "corpus").resolve()
    if chosen.corpus is None:
        run_corpus(recipe.corpus, corpus)
    if not is_corpus(corpus) or not any(read_texts(corpus, "heldout")):
        raise InputError(f"{corpus} is no corpus with a held-out part; build one with `groundup corpus build`.")
    tokenizer = folder / f"tokenizer-{text_fingerprint(corpus)}"
    run_tokenizer(replace(recipe.tokenizer, vocab_size=VOCABULARY), corpus, tokenizer)
    at_once = cores() // chosen.threads if chosen.together else 1
    return Session(sides, chosen.seconds, chosen.seeds, chosen.threads, at_once, corpus, tokenizer)


def tiny(config: PretrainConfig) -> PretrainConfig:
    """A config that gets somewhere in seconds."""
    model = llama(context_length=128, width=64, depth=2, num_heads=2, num_kv_heads=2, mlp_width=192)
    return replace(config, model=model, compute=replace(config.compute, compile=False), evaluate_windows=4)


def main() -> int:
    """Train all sides, print the claims; returns the exit code."""
    chosen = arguments()
    log_to_console()
    threads = f"{chosen.threads} thread{'s' if chosen.threads > 1 else ''} a side"
    console.print(machine(), f"{threads}, {chosen.seconds:g} s each", sep="\n", highlight=False)
    store = cache_folder() / "training_loss" / "runs.jsonl"
    try:
        session = prepare(chosen)
        if chosen.fresh:
            append(store, [{"settings": session.settings(), "finished": True}])
        minutes = len(session.heats()) * (session.seconds + 30) / 60
        console.print(f"{len(session.heats())} times, about {minutes:,.0f} minutes together", highlight=False)
        measure(session, store)
    except KeyboardInterrupt:
        console.print("Stopped; the same command continues behind the runs that are done.")
        return 130
    except GroundupError as error:
        console.print(str(error), style="red", highlight=False)
        return 1
    report(session)
    lines = [claim.json() + "\n" for claim in session.claims]
    print("".join(lines), end="", flush=True)
    if chosen.json:
        chosen.json.write_text("".join(lines))
    how = "at the same time" if chosen.together else "one after the other"
    summarize(session, f"Loss after {session.seconds:g} s, {threads}, {how}, medians of {session.seeds} seeds")
    return 1 if session.void else 0


if __name__ == "__main__":
    raise SystemExit(main())
