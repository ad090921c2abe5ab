"""Tokenization against its peers: encoding, decoding, training, threads, start-up. `make bench-tokenization` runs it.

Prints one JSON object per claim on stdout (BENCHMARKS.md explains it) and a table on stderr. Both sides run in
processes of their own, interleaved, pinned to one core, on the same text; reading the file counts on both sides.

    cold   the first pass over the text, libraries loaded and vocabulary built
    warm   the best of the later passes in the same process; over the processes the median is taken

A library's ids are compared with tiktoken's before its numbers are used. Where ours differ the claim is void: it is
not printed, and the command ends with code 1. What cannot be measured is named at the end.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.child import Job, Result
from harness.measure import (
    Claim,
    compare,
    console,
    interleave,
    machine,
    missing,
    run_child,
    samples,
    show,
    version,
)
from harness.real_text import Text, assemble
from tokenization_peers.encoders import ARRAY_CALLS
from tokenization_peers.vocabularies import fetch_vocabularies

WORKER = "tokenization_peers.worker"
OURS = "groundup"
# Least ratio to each peer, (cold, warm): what the project promises.
GPT2_TARGETS = {"gigatoken": (1.3, 1.3), "fastokens": (1.3, 1.3), "tiktoken": (15, 30), "tokenizers": (100, 100)}
TRAINING_TARGETS = {"gigabpe": 2.0, "gigatoken": 2.0, "rustbpe": 6.0, "tokenizers": 20.0}
MEMORY_TARGET = 0.5  # at most twice gigabpe's peak
STARTUP_SECONDS = 0.8
SLOW = {"tokenizers": 2, "tiktoken": 3}  # rounds of those that take a minute each


@dataclass
class Session:
    """What a run of the benchmark knows and has found so far."""

    text: Text
    runs: int
    passes: int
    vocab_size: int
    claims: list[Claim] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    void: list[str] = field(default_factory=list)

    def add(
        self, claim: str, peer: str, ours: Sequence[float], theirs: Sequence[float], unit: str, **options: object
    ) -> None:
        """Record a claim where both sides have samples."""
        if ours and theirs:
            versions = {name: version(name) for name in (OURS, "numba", peer) if version(name) != "absent"}
            self.claims.append(compare(claim, peer, ours, theirs, unit, versions=versions, **options))  # type: ignore[arg-type]

    def usable(self, what: str, library: str, results: Sequence[Result], right: str | None) -> list[Result]:
        """The results that count: those that are there and, ours, those that are right."""
        if reason := missing(results):
            self.notes.append(f"{what}, {library}: not measured ({reason})")
            return []
        if right is not None and any(result["digest"] != right for result in results):
            if library == OURS:
                self.void.append(f"{what}: the result of {library} differs from tiktoken's")
                return []
            self.notes.append(f"{what}, {library}: its result differs from tiktoken's; it is measured all the same")
        return list(results)


def encoding(session: Session, name: str, text: Path, what: str, targets: dict[str, tuple[float, float]]) -> None:
    """A file to an array of ids, one thread, against each library in `targets`."""
    right = reference(session, name, text)
    jobs = {
        f"{library} {call}": encode_job(session, library, call, name, text)
        for library in (OURS, *targets)
        for call in ARRAY_CALLS[library]
    }
    fewer = {job: rounds for job in jobs for library, rounds in SLOW.items() if job.startswith(library)}
    results = interleave(WORKER, jobs, session.runs, what=what, fewer=fewer)
    usable = {job: session.usable(what, job.split()[0], found, right) for job, found in results.items()}
    for library, goals in targets.items():
        for phase, target in zip(("cold", "warm"), goals, strict=True):
            session.add(
                f"{what}, {phase}",
                library,
                fastest(usable, OURS, phase),
                fastest(usable, library, phase),
                "MB/s",
                target=target,
            )


def fastest(results: dict[str, list[Result]], library: str, phase: str) -> list[float]:
    """The samples of a library's call with the best median."""
    of_calls = [samples(found, phase) for job, found in results.items() if job.split()[0] == library]
    return max((found for found in of_calls if found), key=statistics.median, default=[])


def encode_job(session: Session, library: str, call: str, name: str, text: Path, cores: int = 1) -> Job:
    """The job of one library's call."""
    passes = {"do": "encode", "library": library, "call": call, "passes": session.passes, "cores": cores}
    return {**passes, "vocabulary": name, "text": str(text)}


def reference(session: Session, name: str, text: Path) -> str | None:
    """The digest of tiktoken's ids of a text."""
    job = encode_job(session, "tiktoken", "encode_ordinary", name, text)
    result = run_child(WORKER, {**job, "passes": 1})
    if "missing" in result:
        session.notes.append(f"{name}: tiktoken gave no ids to compare with ({result['missing']})")
    return result.get("digest")


def encode_gpt2(session: Session) -> None:
    """GPT-2's vocabulary on the whole text."""
    encoding(session, "gpt2", session.text.whole, "encode to an array, gpt2", GPT2_TARGETS)


def encode_more(session: Session) -> None:
    """Two larger vocabularies, and two languages in which every character takes several bytes."""
    gigatoken = {"gigatoken": (1.0, 1.0)}
    encoding(session, "cl100k", session.text.whole, "encode to an array, cl100k", gigatoken)
    encoding(session, "o200k", session.text.whole, "encode to an array, o200k", gigatoken)
    for name in ("gpt2", "cl100k", "o200k"):
        encoding(session, name, session.text.russian, f"encode to an array, {name}, Russian", gigatoken)
        encoding(session, name, session.text.chinese, f"encode to an array, {name}, Chinese", gigatoken)


def encode_lists(session: Session) -> None:
    """Documents of 3,000 characters to Python lists."""
    sample = beginning(session.text.whole, 30_000_000)
    task = {"do": "lists", "vocabulary": "gpt2", "text": str(sample), "characters": 3_000, "passes": session.passes}
    found = side_by_side(session, "encode to lists, gpt2", task, ("tiktoken", "gigatoken"))
    for phase in ("cold", "warm"):
        session.add(f"encode to lists, {phase}", "tiktoken", *both(found, "tiktoken", phase), "MB/s", target=8.0)
        session.add(f"encode to lists, {phase}", "gigatoken", *both(found, "gigatoken", phase), "MB/s")


def encode_short(session: Session) -> None:
    """One string of 40 characters per call."""
    task = {"do": "short", "vocabulary": "gpt2", "text": str(session.text.whole), "passes": 5}
    found = side_by_side(session, "40 characters to a list", task, ("tiktoken",))
    ours, theirs = both(found, "tiktoken", "nanoseconds")
    session.add("40 characters to a list", "tiktoken", ours, theirs, "ns", lower_is_better=True, target=1.0)


def decoding(session: Session) -> None:
    """Ids to bytes, ids to text."""
    sample = beginning(session.text.whole, 10_000_000)
    for call, peer in (("array to bytes", "gigatoken"), ("list to str", "tiktoken")):
        task = {"do": "decode", "call": call, "vocabulary": "gpt2", "text": str(sample), "passes": session.passes}
        found = side_by_side(session, f"decode, {call}", task, (peer,), right="the text")
        session.add(f"decode, {call}", peer, *both(found, peer, "warm"), "MB/s", target=1.0)


def training(session: Session) -> None:
    """A vocabulary from a file: processor seconds, wall seconds, peak memory; the tokens checked by a slow trainer."""
    what = f"train {session.vocab_size:,} tokens"
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        base = {"text": str(session.text.whole), "vocab_size": session.vocab_size}
        names = (OURS, *TRAINING_TARGETS)
        jobs = {name: {**base, "do": "train", "library": name, "tokens": f"{folder}/{name}"} for name in names}
        results = interleave(WORKER, jobs, session.runs, what=what, fewer={"tokenizers": 2})
        usable = {name: session.usable(what, name, found, None) for name, found in results.items()}
        tokens = {name: read_tokens(Path(folder) / name) for name in names if usable[name]}
        if OURS in tokens:
            console.print("Checking our merges with the slow exact trainer (some minutes for 100 MB) ...")
            answer = run_child(WORKER, {**base, "do": "exact", "tokens": f"{folder}/exact"})
            if "missing" in answer:
                session.notes.append(f"{what}: not checked by the exact trainer ({answer['missing']})")
            elif read_tokens(Path(folder) / "exact") != tokens[OURS]:
                session.void.append(f"{what}: the merges of {OURS} are not those of the exact trainer")
                return
    for name, target in TRAINING_TARGETS.items():
        ours, theirs = usable[OURS], usable[name]
        for quantity, key, goal in (("processor time", "processor", target), ("wall time", "wall", None)):
            session.add(
                f"{what}, {quantity}",
                name,
                samples(ours, key),
                samples(theirs, key),
                "s",
                lower_is_better=True,
                target=goal,
            )
        goal = MEMORY_TARGET if name == "gigabpe" else None
        session.add(
            f"{what}, peak memory",
            name,
            samples(ours, "peak"),
            samples(theirs, "peak"),
            "MB",
            lower_is_better=True,
            target=goal,
        )
        if OURS in tokens and name in tokens:
            shared = len(set(tokens[OURS]) & set(tokens[name])) / len(set(tokens[OURS]))
            session.notes.append(f"{what}: {name} shares {shared:.1%} of our tokens (ties and line ends differ)")


def threads(session: Session) -> None:
    """Two threads on two cores, against one thread and against gigatoken's two."""
    text = session.text.whole
    jobs = {
        f"{library} {call} {cores}": encode_job(session, library, call, "gpt2", text, cores)
        for library in (OURS, "gigatoken")
        for call in ARRAY_CALLS[library]
        if call != "encode"  # gigatoken's has no parallel form
        for cores in (1, 2)
    }
    right = reference(session, "gpt2", text)
    results = interleave(WORKER, jobs, session.runs, what="two threads")
    usable = {job: session.usable("two threads", job.split()[0], found, right) for job, found in results.items()}
    for phase in ("cold", "warm"):
        rates = {
            (library, cores): fastest(
                {job: found for job, found in usable.items() if job.endswith(cores)}, library, phase
            )
            for library in (OURS, "gigatoken")
            for cores in ("1", "2")
        }
        session.add(
            f"two threads against one, {phase}", f"{OURS}, one thread", rates[OURS, "2"], rates[OURS, "1"], "MB/s"
        )
        session.add(f"two threads, {phase}", "gigatoken", rates[OURS, "2"], rates["gigatoken", "2"], "MB/s")
        if all(rates.values()):
            gain = {
                library: statistics.median(rates[library, "2"]) / statistics.median(rates[library, "1"])
                for library in (OURS, "gigatoken")
            }
            session.add(f"gain from a second thread, {phase}", "gigatoken", [gain[OURS]], [gain["gigatoken"]], "times")


def startup(session: Session) -> None:
    """Import to the first megabyte encoded, in a fresh process: compiled code from the cache, and compiled anew."""
    task = {"do": "startup", "vocabulary": "gpt2", "text": str(session.text.whole)}
    run_child(WORKER, {**task, "library": OURS})  # fills the cache of compiled code where it is empty
    found = side_by_side(session, "start-up", task, ("tiktoken",))
    ours, theirs = both(found, "tiktoken", "seconds")
    what = "start-up: import, vocabulary, first MB"
    limit = f"a limit of {STARTUP_SECONDS} s"
    session.add(what, limit, ours, [STARTUP_SECONDS] * len(ours), "s", lower_is_better=True, target=1.0)
    session.add(what, "tiktoken", ours, theirs, "s", lower_is_better=True)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        first = run_child(WORKER, {**task, "library": OURS}, environment={"NUMBA_CACHE_DIR": folder})
    if ours and "missing" not in first:
        session.add(
            "start-up that compiles the kernels",
            f"{OURS}, compiled before",
            [first["seconds"]],
            ours,
            "s",
            lower_is_better=True,
        )


def side_by_side(
    session: Session, what: str, task: Job, peers: Iterable[str], right: str | None = None
) -> dict[str, list[Result]]:
    """Ours and peers on one task; what is computed is compared with tiktoken's where it takes part, or with `right`."""
    results = interleave(WORKER, {name: {**task, "library": name} for name in (OURS, *peers)}, session.runs, what=what)
    digests = [result.get("digest") for result in results.get("tiktoken", [])]
    expected = right or (digests[0] if digests else None)
    return {name: session.usable(what, name, found, expected) for name, found in results.items()}


def both(found: dict[str, list[Result]], peer: str, key: str) -> tuple[list[float], list[float]]:
    """The samples of both sides."""
    return samples(found[OURS], key), samples(found[peer], key)


def beginning(text: Path, size: int) -> Path:
    """The first documents of a text as a file of their own beside it: a sample, since the order is a hash's."""
    sample = text.with_name(f"first-{size}.txt")
    data = text.read_bytes()[:size]
    sample.write_bytes(data[: data.rfind(b"\n") + 1])
    return sample


def read_tokens(path: Path) -> list[str]:
    """The tokens that a trainer wrote, in hexadecimal."""
    return path.read_text().split("\n")


SECTIONS: dict[str, Callable[[Session], None]] = {
    "encode": encode_gpt2,
    "vocabularies": encode_more,
    "lists": encode_lists,
    "short": encode_short,
    "decode": decoding,
    "training": training,
    "threads": threads,
    "startup": startup,
}


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, comma-separated (default: %(default)s)")
    parser.add_argument("--megabytes", type=int, default=105, help="size of the text (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=5, help="rounds of interleaved processes (default: %(default)s)")
    parser.add_argument("--vocab-size", type=int, default=32_000, help="tokens to train (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="3 MB, one round, 2,000 tokens: does it run at all?")
    parser.add_argument("--json", type=Path, help="also write the claims to this file, one JSON object per line")
    chosen = parser.parse_args()
    unknown = [name for name in chosen.only.split(",") if name not in SECTIONS]
    if unknown:
        parser.error(f"there is no section {unknown[0]!r}; the sections are {', '.join(SECTIONS)}")
    if chosen.quick:
        chosen.megabytes, chosen.runs, chosen.vocab_size = 3, 1, 2_000
    return chosen


def main() -> int:
    """Run the sections, print the claims; returns the exit code."""
    chosen = arguments()
    source = fetch_vocabularies()
    text = assemble(chosen.megabytes)
    console.print(machine(), f"vocabularies from {source}", *text.lines(), sep="\n", highlight=False)
    session = Session(text, chosen.runs, passes=2 if chosen.quick else 5, vocab_size=chosen.vocab_size)
    for name in chosen.only.split(","):
        before = len(session.claims)
        SECTIONS[name](session)
        for claim in session.claims[before:]:
            print(claim.json(), flush=True)
    if chosen.json:
        chosen.json.write_text("".join(claim.json() + "\n" for claim in session.claims))
    show(session.claims, f"Tokenization, {chosen.megabytes} MB, medians of {chosen.runs}")
    for note in dict.fromkeys(session.notes):
        console.print(f"- {note}", highlight=False)
    for reason in session.void:
        console.print(f"VOID {reason}", style="red", highlight=False)
    below = sum(claim.met is False for claim in session.claims)
    console.print(f"{len(session.claims)} claims, {below} below target, {len(session.void)} void.", highlight=False)
    return 1 if session.void else 0


if __name__ == "__main__":
    raise SystemExit(main())
