"""Training throughput against its peers, in tokens per second. `make bench-training` runs it.

Prints one JSON object per claim on stdout (BENCHMARKS.md explains it) and a table on stderr. The same shapes, the same
random token ids, the same number of threads, a process for each side, pinned to as many cores. All sides of a size
load and compile first, then take turns in stretches of some seconds (`harness/turns.py`); the median of the ratios
counts.

    ours           our training loop, compiled, AdamW for all
    transformers   Llama in bf16, PyTorch's fused AdamW; compiled or not, PyTorch's attention or its own: the fastest
    litgpt         the same shape in bf16, compiled, with its own loss or one compiled with the model: the faster
    gpt2-style     LayerNorm, GELU, learned positions, tied embeddings, fp32, not compiled
    muon           our training loop with Muon for the matrices: what it costs beside AdamW
    matrix         FLOP/s of a large bf16 matrix product; of it training reaches a share, counting 6 FLOPs a parameter

A step is forward, backward, clipping and update. A side whose first loss is not near that of a uniform guess, whose
parameters are not as many as ours, or whose loss does not fall is not measured; if that is ours, its claims are void
and the command ends with code 1.
"""

import argparse
import math
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from harness.child import Result
from harness.measure import Claim, console, cores, machine, progress_bar, show, version
from harness.turns import Pair, Side, fastest, paired, spread, take_turns
from training_peers.shapes import BATCHES, SHAPES, Shape

WORKER = "training_peers.worker"
OURS = "groundup"


class Kind(NamedTuple):
    """What a side is: the worker's name for it, its distribution (None: nothing but torch), its name in claims, and the
    ways to run it, of which the fastest is taken."""

    side: str
    distribution: str | None
    label: str
    variants: dict[str, dict[str, Any]]


ADAMW = Kind("groundup", OURS, "groundup, AdamW", {"AdamW, compiled": {"optimizer": "adamw", "compiled": True}})
TRANSFORMERS_VARIANTS = {
    f"{attention} attention, {'compiled' if compiled else 'not compiled'}": {
        "attention": attention,
        "compiled": compiled,
    }
    for attention in ("sdpa", "eager")
    for compiled in (True, False)
}
LITGPT_VARIANTS = {
    "compiled, its own loss": {"loss_compiled": False},
    "compiled with the loss": {"loss_compiled": True},
}
PEERS = {
    "transformers": Kind("transformers", "transformers", "transformers, Llama in bf16", TRANSFORMERS_VARIANTS),
    "litgpt": Kind("litgpt", "litgpt", "litgpt in bf16, compiled", LITGPT_VARIANTS),
    "gpt2-style": Kind("gpt2_style", None, "GPT-2 style in fp32", {"not compiled": {}}),
    "muon": Kind(
        "groundup", OURS, "groundup, Muon", {"Muon and AdamW, compiled": {"optimizer": "muon", "compiled": True}}
    ),
    "matrix": Kind("matrix product", None, "matrix product in bf16", {"2,048 wide": {}}),
}
# Least ratio to each peer, by size: what the project promises.
TARGETS: dict[tuple[str, str], float] = {
    ("transformers", "5M"): 1.4,
    ("transformers", "19M"): 1.4,
    ("litgpt", "5M"): 1.25,
    ("litgpt", "19M"): 1.15,
    ("gpt2-style", "5M"): 3.5,
    ("gpt2-style", "19M"): 3.5,
    ("matrix", "19M"): 0.75,
}
TRIAL_ROUNDS = 3
NEAR = 0.5  # nats between the first loss and that of a uniform guess


@dataclass
class Session:
    """What a run of the benchmark knows and has found so far."""

    peers: list[str]
    runs: int
    threads: int
    stretch_seconds: float
    claims: list[Claim] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    void: list[str] = field(default_factory=list)

    def steps(self, side: Side) -> int:
        """How many steps fill a stretch; two at least."""
        return max(2, round(self.stretch_seconds / max(side.ready.get("step_seconds", 0.0), 1e-3)))

    def rate(self, side: Side) -> float | str:
        """Tokens per second in one stretch, or why there is none."""
        answer = side.ask({"steps": self.steps(side)})
        return answer["missing"] if "missing" in answer else float(answer["rate"])


def measure(session: Session, size: str) -> None:
    """One size: load and compile all sides, choose the fastest way to run each, take turns."""
    what = f"train {size}"
    with ExitStack() as stack:
        ours = load(session, stack, size, ADAMW)
        if ours is None:
            return
        chosen = {name: load(session, stack, size, PEERS[name]) for name in session.peers}
        others = {name: side for name, side in chosen.items() if side is not None}
        with progress_bar() as bar:
            task = bar.add_task(what, total=session.runs * (1 + 2 * len(others)), now="")

            def advance(now: str) -> None:
                bar.update(task, advance=1, now=now or OURS)

            pairs, dropped = take_turns(ours, others, session.runs, session.rate, advance)
        if fault := dropped.pop("", None) or untrained(ours):
            session.void.append(f"{what}: {fault}")
            return
        for name, side in others.items():
            if fault := dropped.get(name) or untrained(side):
                session.notes.append(f"{what}, {PEERS[name].label}: not counted ({fault})")
            else:
                report(session, size, name, pairs[name])


def load(session: Session, stack: ExitStack, size: str, kind: Kind) -> Side | None:
    """The fastest way to run a side, loaded and warm, until `stack` ends; None, said in the notes, if none works."""
    what = f"train {size}, {kind.label}"
    loaded: dict[str, Side] = {}
    faults: dict[str, str] = {}
    for variant, options in kind.variants.items():
        console.print(f"{size}: loading {kind.label} ({variant}) ...", highlight=False)
        job = {"side": kind.side, "options": options, "shape": size, "cores": session.threads}
        side = stack.enter_context(Side(WORKER, job))
        fault = wrong(side.ready, SHAPES[size])
        if fault is None:
            loaded[variant] = side
        else:
            faults[variant] = fault
            side.close()
    best: str | None = next(iter(loaded), None)
    if len(loaded) > 1:
        best, found = fastest(loaded, TRIAL_ROUNDS, session.rate)
        rates = (
            f"{key} {value:,.0f}" if isinstance(value, float) else f"{key}: {value}" for key, value in found.items()
        )
        session.notes.append(f"{what}: tokens/s in the trial: {'; '.join(rates)}; measured: {best}")
        for variant, side in loaded.items():
            if variant != best:
                side.close()
    for variant, fault in faults.items():
        session.notes.append(f"{what}, {variant}: left out ({fault})")
    if best is None and kind is ADAMW:
        session.void.append(f"{what}: {'; '.join(faults.values())}")
    return None if best is None else loaded[best]


def wrong(ready: Result, shape: Shape) -> str | None:
    """Why a side that has loaded does not train what it should; None where it does."""
    if "missing" in ready:
        return ready["missing"]
    if "first_loss" not in ready:  # it trains nothing
        return None
    uniform = math.log(shape.vocabulary)
    if not abs(ready["first_loss"] - uniform) < NEAR:
        return f"its first loss is {ready['first_loss']:.3f} and a uniform guess has {uniform:.3f}"
    least, most = 0.95 * (shape.parameters - shape.vocabulary * shape.width), shape.parameters  # tied, or not
    if not least <= ready["parameters"] <= most:
        return f"it has {ready['parameters']:,} parameters and ours {shape.parameters:,}"
    return None


def untrained(side: Side) -> str | None:
    """Why a side's steps taught it nothing; None where they did, or where it trains nothing."""
    first, last = side.ready.get("first_loss"), side.last.get("loss")
    if first is None or last is None or last < first:
        return None
    return f"its loss did not fall: {first:.3f} at first, {last:.3f} at the end"


def report(session: Session, size: str, name: str, pairs: list[Pair]) -> None:
    """The claim against one side, from pairs of rates."""
    claim, peer, unit = f"train {size}", PEERS[name].label, "tokens/s"
    if name == "matrix":
        claim, unit = f"train {size}, 6 N a token: share of the matrix rate", "GFLOP/s"
        flops = SHAPES[size].flops_per_token
        pairs = [(ours * flops / 1e9, theirs / 1e9) for ours, theirs in pairs]
    elif name == "muon":  # both sides are ours
        claim, peer = f"train {size} with Muon", ADAMW.label
        pairs = [(muon, adamw) for adamw, muon in pairs]
    versions = {each: version(each) for each in (OURS, "torch", PEERS[name].distribution) if each is not None}
    session.claims.append(paired(claim, peer, pairs, unit, target=TARGETS.get((name, size)), versions=versions))
    session.notes.append(f"{claim}, against {peer}: ratios from {spread(pairs)}")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    sizes = [name for name in SHAPES if name != "tiny"]
    parser.add_argument("--only", default=",".join(sizes), help="sizes, comma-separated (default: %(default)s)")
    parser.add_argument("--peers", default=",".join(PEERS), help="what to compare with (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=7, help="rounds of interleaved stretches (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=cores(), help="of each side (default: all cores, %(default)s)")
    parser.add_argument("--stretch", type=float, default=4.0, help="seconds of a stretch (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="a tiny size and two short rounds: does it run at all?")
    parser.add_argument("--json", type=Path, help="also write the claims to this file, one JSON object per line")
    chosen = parser.parse_args()
    chosen.only, chosen.peers = chosen.only.split(","), chosen.peers.split(",")
    for given, known, what in ((chosen.only, SHAPES, "size"), (chosen.peers, PEERS, "peer")):
        for name in given:
            if name not in known:
                parser.error(f"there is no {what} {name!r}; choose from {', '.join(known)}")
    if not 1 <= chosen.threads <= cores():
        parser.error(f"--threads is {chosen.threads}; this process may use 1 to {cores()} cores")
    if chosen.runs < 1:
        parser.error(f"--runs is {chosen.runs}; it must be at least 1")
    if chosen.quick:
        chosen.only, chosen.runs, chosen.stretch = ["tiny"], 2, 0.2
    return chosen


def summarize(session: Session, title: str) -> None:
    """The table, the notes and the last line."""
    show(session.claims, title)
    for note in dict.fromkeys(session.notes):
        console.print(f"- {note}", highlight=False)
    for reason in session.void:
        console.print(f"VOID {reason}", style="red", highlight=False)
    below = sum(claim.met is False for claim in session.claims)
    console.print(f"{len(session.claims)} claims, {below} below target, {len(session.void)} void.", highlight=False)


def main() -> int:
    """Measure each size, print the claims; returns the exit code."""
    chosen = arguments()
    threads = f"{chosen.threads} thread{'s' if chosen.threads > 1 else ''}"
    console.print(machine(), f"{threads} a side, {BATCHES} batches of random ids", sep="\n", highlight=False)
    session = Session(chosen.peers, chosen.runs, chosen.threads, chosen.stretch)
    for size in chosen.only:
        before = len(session.claims)
        measure(session, size)
        for claim in session.claims[before:]:
            print(claim.json(), flush=True)
    if chosen.json:
        chosen.json.write_text("".join(claim.json() + "\n" for claim in session.claims))
    summarize(session, f"Training, {threads}, medians of {chosen.runs} rounds")
    return 1 if session.void else 0


if __name__ == "__main__":
    raise SystemExit(main())
