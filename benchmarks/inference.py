"""Generation and reading of prompts against peers, in tokens per second. `make bench-inference` runs it.

Prints one JSON object per claim on stdout (BENCHMARKS.md explains it) and a table on stderr. The same Llama shapes with
the same random weights, prompts and number of threads, greedy, a process for each side, pinned to as many cores. All
sides of a size load first, then take turns (`harness/turns.py`); the median of the ratios counts.

    ours           our engine as a server runs it: compiled decoding, paged keys and values; bf16, int8 and int4 weights
    transformers   `generate` in bf16, PyTorch's attention or its own, whichever is faster
    llama.cpp      by llama-cpp-python, from GGUF files that our exporter wrote: bf16 and q8_0. Optional, see
                   requirements-inference-llama.txt; one prompt at a time

    decode 1       tokens behind one prompt of 16: what a reader waits for
    decode 32      tokens behind 32 prompts at once
    prefill 512    tokens of one prompt, until its next token is known

Sides with bf16 weights must agree on the first token of most prompts, else they are not measured; if ours do not agree
with any peer, nothing is claimed about them.
"""

import argparse
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from harness.measure import Claim, console, cores, machine, progress_bar, show, version
from harness.turns import Side, fastest, paired, spread, take_turns
from inference_peers.shapes import SHAPES, write_models

WORKER = "inference_peers.worker"
TASKS = ("decode 1", "decode 32", "prefill 512")
AGREEING = 0.75  # of first tokens; near ties of random weights fall on either side in bf16


class Kind(NamedTuple):
    """A side: its name in the worker, weights, distribution, and ways to run it, of which the fastest counts."""

    side: str
    weights: str
    distribution: str
    variants: Mapping[str, Mapping[str, Any]] = {"": {}}


OURS = {name: Kind("groundup", name, "groundup") for name in ("bf16", "int8", "int4")}
PEERS = {
    "transformers bf16": Kind(
        "transformers", "bf16", "transformers", {each: {"attention": each} for each in ("sdpa", "eager")}
    ),
    "llama.cpp bf16": Kind("llama.cpp", "bf16", "llama-cpp-python"),
    "llama.cpp q8_0": Kind("llama.cpp", "q8_0", "llama-cpp-python"),
}


class Task(NamedTuple):
    """What is asked of the sides, and the least ratio of ours with some weights to each peer (None: no promise)."""

    rows: int
    length: int
    tokens: int
    pairs: Mapping[tuple[str, str], float | None]


def tasks(size: str) -> dict[str, Task]:
    """The comparisons at a size."""
    hf, llama, llama8 = PEERS
    if size != "124M":
        return {"decode 1": Task(1, 16, 96, {("bf16", hf): 5.0 if size == "quickstart" else None})}
    one = {("bf16", hf): 3.0, ("bf16", llama): 1.1, ("int8", llama8): 1.0, ("int4", llama8): None}
    return {
        "decode 1": Task(1, 16, 64, one),
        "decode 32": Task(32, 16, 32, {("bf16", hf): 1.5, ("int8", hf): None}),
        "prefill 512": Task(1, 512, 0, {("bf16", hf): 1.0, ("bf16", llama): None, ("int8", llama8): None}),
    }


@dataclass
class Session:
    """What a run of the benchmark knows and has found so far."""

    peers: list[str]
    tasks: list[str]
    runs: int
    threads: int
    folder: Path
    claims: list[Claim] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    void: list[str] = field(default_factory=list)


def measure(session: Session, size: str) -> None:
    """One size: write the weights, load the sides, take turns at each task."""
    console.print(f"{size}: writing the weights ...", highlight=False)
    write_models(SHAPES[size], session.folder / size)
    wanted = {name: task for name, task in tasks(size).items() if name in session.tasks}
    with ExitStack() as stack:
        sides: dict[str, Side] = {}
        needed = [pair for task in wanted.values() for pair in task.pairs if pair[1] in session.peers]
        for name in dict.fromkeys(["bf16"] * bool(needed) + [ours for ours, _ in needed]):
            side = load(session, stack, size, f"groundup {name}", OURS[name], wanted)
            if side is None:
                session.void.append(f"{size}: groundup {name} does not run")
                return
            sides[name] = side
        for name in dict.fromkeys(peer for _, peer in needed):
            side = load(session, stack, size, name, PEERS[name], wanted)
            if side is not None and agrees(session, size, name, sides["bf16"], side):
                sides[name] = side
        for what, task in wanted.items():
            for weights in dict.fromkeys(ours for ours, _ in task.pairs):
                compete(session, size, what, task, weights, sides)


def load(
    session: Session, stack: ExitStack, size: str, name: str, kind: Kind, wanted: Mapping[str, Task]
) -> Side | None:
    """The fastest way to run a side, loaded; None, said in the notes, if none works."""
    loaded: dict[str, Side] = {}
    for variant, options in kind.variants.items():
        console.print(f"{size}: loading {name} {variant} ...", highlight=False)
        job = {
            "side": kind.side,
            "options": dict(options),
            "weights": kind.weights,
            "shape": size,
            "folder": str(session.folder / size),
            "cores": session.threads,
        }
        side = stack.enter_context(Side(WORKER, job))
        if "missing" in side.ready:
            session.notes.append(f"{size}, {name} {variant}: left out ({side.ready['missing']})")
        else:
            loaded[variant] = side
    if len(loaded) > 1:
        best, found = fastest(loaded, 2, lambda side: rate(side, next(iter(wanted.values()))))
        session.notes.append(f"{size}, {name}: measured with {best}; tokens/s in the trial: {found}")
        return None if best is None else loaded[best]
    return next(iter(loaded.values()), None)


def agrees(session: Session, size: str, name: str, ours: Side, theirs: Side) -> bool:
    """Whether a peer runs the same model: most first tokens are ours."""
    pairs = list(zip(ours.ready["first"], theirs.ready["first"], strict=True))
    share = sum(our == their for our, their in pairs) / len(pairs)
    session.notes.append(f"{size}, {name}: {share:.0%} of first tokens are those of groundup bf16")
    if share < AGREEING and PEERS[name].weights == "bf16":
        session.void.append(f"{size}, {name}: another model, by its first tokens")
        return False
    return True


def compete(session: Session, size: str, what: str, task: Task, weights: str, sides: Mapping[str, Side]) -> None:
    """One task with one kind of our weights, against each peer in turn."""
    others = {peer: sides[peer] for ours, peer in task.pairs if ours == weights and peer in sides}
    if not others:
        return
    with progress_bar() as bar:
        bar_task = bar.add_task(f"{size} {what} {weights}", total=session.runs * (1 + 2 * len(others)), now="")

        def advance(now: str) -> None:
            bar.update(bar_task, advance=1, now=now or "groundup")

        pairs, dropped = take_turns(sides[weights], others, session.runs, lambda side: rate(side, task), advance)
    for peer in others:
        if not pairs[peer]:
            session.notes.append(f"{size} {what}, {peer}: not counted ({dropped.get(peer, dropped.get(''))})")
            continue
        versions = {each: version(each) for each in ("groundup", "torch", PEERS[peer].distribution)}
        target = task.pairs[weights, peer]
        claim = f"{size} {what}, {weights}"
        session.claims.append(paired(claim, peer, pairs[peer], "tokens/s", target=target, versions=versions))
        print(session.claims[-1].json(), flush=True)
        session.notes.append(f"{claim}, against {peer}: ratios from {spread(pairs[peer])}")


def rate(side: Side, task: Task) -> float | str:
    """Tokens per second of a side at a task, or why there are none."""
    answer = side.ask({"rows": task.rows, "length": task.length, "count": task.tokens})
    return answer["missing"] if "missing" in answer else float(answer["rate"])


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--only", default="124M,quickstart", help="sizes, comma-separated (default: %(default)s)")
    parser.add_argument("--peers", default=",".join(PEERS), help="what to compare with (default: %(default)s)")
    parser.add_argument("--tasks", default=",".join(TASKS), help="what to measure (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=5, help="rounds of interleaved runs (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=cores(), help="of each side (default: all cores, %(default)s)")
    parser.add_argument("--quick", action="store_true", help="a tiny size and two rounds: does it run at all?")
    parser.add_argument("--json", type=Path, help="also write the claims to this file, one JSON object per line")
    chosen = parser.parse_args()
    chosen.only, chosen.peers, chosen.tasks = (each.split(",") for each in (chosen.only, chosen.peers, chosen.tasks))
    named = ((chosen.only, SHAPES, "size"), (chosen.peers, PEERS, "peer"), (chosen.tasks, TASKS, "task"))
    for given, known, what in named:
        for name in given:
            if name not in known:
                parser.error(f"there is no {what} {name!r}; choose from {', '.join(known)}")
    if not 1 <= chosen.threads <= cores():
        parser.error(f"--threads is {chosen.threads}; this process may use 1 to {cores()} cores")
    if chosen.runs < 1:
        parser.error(f"--runs is {chosen.runs}; it must be at least 1")
    if chosen.quick:
        chosen.only, chosen.runs = ["tiny"], 2
    return chosen


def main() -> int:
    """Measure each size, print the claims; returns the exit code."""
    chosen = arguments()
    threads = f"{chosen.threads} thread{'s' if chosen.threads > 1 else ''}"
    console.print(machine(), f"{threads} a side, random weights and prompts, greedy", sep="\n", highlight=False)
    with tempfile.TemporaryDirectory(prefix="bench-models-") as folder:
        session = Session(chosen.peers, chosen.tasks, chosen.runs, chosen.threads, Path(folder))
        for size in chosen.only:
            measure(session, size)
    if chosen.json:
        chosen.json.write_text("".join(claim.json() + "\n" for claim in session.claims))
    show(session.claims, f"Inference, {threads}, medians of {chosen.runs} rounds")
    for note in dict.fromkeys(session.notes):
        console.print(f"- {note}", highlight=False)
    for reason in session.void:
        console.print(f"VOID {reason}", style="red", highlight=False)
    below = sum(claim.met is False for claim in session.claims)
    console.print(f"{len(session.claims)} claims, {below} below target, {len(session.void)} void.", highlight=False)
    return 1 if session.void else 0


if __name__ == "__main__":
    raise SystemExit(main())
