"""HTML to text against other extractors: F1 on labelled pages, and speed. `make bench-extraction` runs it.

Prints one JSON object per claim on stdout (BENCHMARKS.md explains it) and a table on stderr. All sides run in processes
of their own, interleaved, pinned to one core, on the same pages in memory, from bytes to text. The score is that of
article-extraction-benchmark (`extraction_peers/scoring.py`); its data is not part of this project: --data names a
folder with ground-truth.json and html/ID.html.gz, as in https://github.com/scrapinghub/article-extraction-benchmark.
"""

import argparse
import os
from pathlib import Path

from extraction_peers.worker import EXTRACTORS
from harness.measure import Claim, compare, console, interleave, machine, missing, samples, show, version

WORKER = "extraction_peers.worker"
OURS = "groundup"
F1_TARGET = 0.95
SPEED_TARGETS = {"trafilatura fast": 4.0}
DISTRIBUTIONS = {"trafilatura fast": "trafilatura"}


def measure(data: Path, runs: int, limit: int) -> tuple[list[Claim], list[str]]:
    """(claims, notes)."""
    slow = {name: 1 for name in EXTRACTORS if name not in (OURS, "resiliparse")}
    jobs = {
        name: {"library": name, "pages": str(data), "passes": slow.get(name, 3), "limit": limit} for name in EXTRACTORS
    }
    results = interleave(WORKER, jobs, runs, what="extraction")
    claims, notes = [], []
    if reason := missing(results[OURS]):
        return [], [f"{OURS}: not measured ({reason})"]
    ours = results[OURS]
    notes.append(f"{ours[0]['pages']} pages of {ours[0]['kilobytes']:.0f} kB in the mean")
    versions = {name: version(name) for name in (OURS, "selectolax", "numba") if version(name) != "absent"}
    f1 = samples(ours, "f1")
    claims.append(compare("F1 of main content", f"a limit of {F1_TARGET}", f1, [F1_TARGET] * len(f1), "F1", target=1.0))
    for name, found in results.items():
        if reason := missing(found):
            notes.append(f"{name}: not measured ({reason})")
            continue
        notes.append(
            f"{name}: F1 {found[0]['f1']:.3f}, precision {found[0]['precision']:.3f}, recall {found[0]['recall']:.3f}"
        )
        if name == OURS:
            continue
        peer = DISTRIBUTIONS.get(name, name)
        known = {**versions, peer: version(peer)}
        claims.append(compare("F1 of main content", name, f1, samples(found, "f1"), "F1", versions=known))
        rates = samples(ours, "rate"), samples(found, "rate")
        target = SPEED_TARGETS.get(name)
        claims.append(compare("extraction", name, *rates, "pages/s", target=target, versions=known))
    return claims, notes


def arguments() -> argparse.Namespace:
    """The command line."""
    shared = os.environ.get("GROUNDUP_SHARED_DATA")
    default = Path(shared) / "article_extraction" if shared else None
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--data", type=Path, default=default, help="the labelled pages (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="rounds of interleaved processes (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="20 pages, one round: does it run at all?")
    parser.add_argument("--json", type=Path, help="also write the claims to this file, one JSON object per line")
    chosen = parser.parse_args()
    if chosen.data is None or not (chosen.data / "ground-truth.json").exists():
        parser.error("there are no labelled pages: name their folder with --data, or set GROUNDUP_SHARED_DATA")
    if chosen.quick:
        chosen.runs = 1
    return chosen


def main() -> int:
    """Measure, print the claims; returns the exit code."""
    chosen = arguments()
    console.print(machine(), highlight=False)
    claims, notes = measure(chosen.data.resolve(), chosen.runs, 20 if chosen.quick else 0)
    for claim in claims:
        print(claim.json(), flush=True)
    if chosen.json:
        chosen.json.write_text("".join(claim.json() + "\n" for claim in claims))
    show(claims, f"Extraction, medians of {chosen.runs}")
    for note in notes:
        console.print(f"- {note}", highlight=False)
    below = sum(claim.met is False for claim in claims)
    console.print(f"{len(claims)} claims, {below} below target.", highlight=False)
    return 0 if claims else 1


if __name__ == "__main__":
    raise SystemExit(main())
