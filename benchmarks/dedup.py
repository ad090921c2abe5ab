"""MinHash signatures against datasketch, rensa and datatrove: speed from strings, and the error of the estimate.

`make bench-dedup` runs it. Prints one JSON object per claim on stdout (BENCHMARKS.md explains it) and a table on
stderr. 128 values, word 5-grams, one core, every library in a process of its own, in turns.

    speed       5,000 characters of real text per document, as Python strings in memory
    error       root mean square error of the Jaccard similarity on pairs spread evenly over (0, 1), by length of text:
                k independent hash functions have sqrt(mean J (1 - J) / k) = sqrt(1 / (6 k)), k draws without
                replacement from the f n-grams of both texts sqrt((1 / k - 1 / f) / 6). A limit of .036 is kept by
                128 values (the default of datasketch) for f up to 27,000, by 112 for f up to 870
"""

import argparse
from pathlib import Path

from harness.measure import Claim, compare, console, interleave, machine, missing, samples, show, version
from harness.real_text import assemble

WORKER = "dedup_peers.worker"
OURS = "groundup"
TARGETS = {"datasketch": 10.0, "datasketch with xxHash": None, "rensa": 5.0, "datatrove": None}
LARGEST_ERROR = 0.036
LENGTHS = (100, 400, 800, 1600)  # words


def speed(arguments: argparse.Namespace, text: Path) -> list[Claim]:
    """Documents per second."""
    shared = {"do": "speed", "text": str(text), "characters": 5000}
    jobs = {
        name: {**shared, "library": name, "documents": arguments.documents, "passes": 1 if name in TARGETS else 5}
        for name in (OURS, *TARGETS)
    }
    jobs["datatrove"]["documents"] = max(50, arguments.documents // 10)
    results = interleave(WORKER, jobs, arguments.runs, what="signatures")
    claims = []
    for name, target in TARGETS.items():
        if reason := missing(results[name]):
            console.print(f"- {name}: not measured ({reason})", highlight=False)
            continue
        ours, theirs = samples(results[OURS], "rate"), samples(results[name], "rate")
        claims.append(claim("signatures of 5 kB documents", name, ours, theirs, "documents/s", target=target))
    return claims


def error(arguments: argparse.Namespace) -> list[Claim]:
    """The estimate's error, against the limit, against independent hash functions and against the peers."""
    claims = []
    for words in LENGTHS:
        shared = {"do": "accuracy", "documents": arguments.pairs, "words": words}
        jobs = {name: {**shared, "library": name} for name in (OURS, "datasketch", "rensa")}
        results = interleave(WORKER, jobs, 1, what=f"error, {words} words")
        ours = samples(results[OURS], "rmse")
        what = f"RMSE of Jaccard, {words} words"
        claims.append(claim(what, "the limit", ours, [LARGEST_ERROR], "", target=1.0, lower_is_better=True))
        independent = samples(results[OURS], "independent")
        claims.append(claim(what, "independent hashes", ours, independent, "", lower_is_better=True))
        for name in ("datasketch", "rensa"):
            if theirs := samples(results[name], "rmse"):
                claims.append(claim(what, name, ours, theirs, "", lower_is_better=True))
    return claims


def claim(
    what: str,
    peer: str,
    ours: list[float],
    theirs: list[float],
    unit: str,
    *,
    target: float | None = None,
    lower_is_better: bool = False,
) -> Claim:
    """A claim with the versions of both sides."""
    if not ours:
        raise SystemExit(f"{OURS} has no result for: {what}.")
    versions = {name: version(name) for name in (OURS, "numba", peer.split()[0]) if version(name) != "absent"}
    return compare(what, peer, ours, theirs, unit, target=target, lower_is_better=lower_is_better, versions=versions)


def main() -> None:
    """Measure and print the claims."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--runs", type=int, default=5, help="rounds of interleaved processes (default: %(default)s)")
    parser.add_argument("--documents", type=int, default=4000, help="documents to sign (default: %(default)s)")
    parser.add_argument("--pairs", type=int, default=4000, help="pairs to estimate (default: %(default)s)")
    parser.add_argument("--megabytes", type=int, default=105, help="size of the real text (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="one round of few documents: does it run at all?")
    parser.add_argument("--json", type=Path, help="also write the claims to this file, one JSON object per line")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.runs, arguments.documents, arguments.pairs, arguments.megabytes = 1, 400, 400, 3
    text = assemble(arguments.megabytes)
    console.print(machine(), *text.lines(), sep="\n", highlight=False)
    claims = [*speed(arguments, text.whole), *error(arguments)]
    for each in claims:
        print(each.json(), flush=True)
    if arguments.json:
        arguments.json.write_text("".join(each.json() + "\n" for each in claims))
    show(claims, f"Deduplication, medians of {arguments.runs}")
    console.print(f"{len(claims)} claims, {sum(each.met is False for each in claims)} below target.", highlight=False)


if __name__ == "__main__":
    main()
