"""Corpus building against its peers, in documents per second. `make bench-corpus` runs it.

Prints one JSON object per claim on stdout (BENCHMARKS.md explains it) and a table on stderr. The pages are those of
`harness/debian_pages.py`: real documentation in some thirty languages, packed as Common Crawl packs its pages.

    end to end    WARC to deduplicated documents at two workers: ours with each extractor, datatrove's FineWeb pipeline

Both sides have the same steps and thresholds: the blocklist that datatrove brings along, extraction, English by lid.176
above .65, the rules of Gopher, C4 and FineWeb, MinHash of word 5-grams in 14 bands of 8, masks for personal data. Ours
also removes copies of addresses and of whole texts, verifies near copies, holds documents out and decontaminates.
trafilatura runs as FineWeb's example has it (its precise mode), and once more in the fast mode that ours asks for.
Sides take turns; the median counts. How many documents each keeps is printed: extractors and word splitters differ.
"""

import argparse
import json
from itertools import islice
from pathlib import Path
from typing import Any

from harness.debian_pages import PACKAGES, pages_of, unpacked, warc_files, write_warcs
from harness.measure import Claim, compare, console, cores, interleave, machine, missing, samples, show, version
from harness.real_text import CACHE

WARM_UP_PAGES = 40
WORKER = "corpus_peers.worker"
TARGETS = {"groundup": 10.0, "resiliparse": None, "trafilatura": 2.0}
PEERS = {"datatrove, FineWeb": False, "datatrove, FineWeb, fast trafilatura": True}
"""name: whether trafilatura is asked for its fast mode"""
VERSIONS = ("groundup", "datatrove", "trafilatura", "resiliparse", "selectolax", "spacy", "numba")


def end_to_end(arguments: argparse.Namespace) -> list[Claim]:
    """Everything from the archives to the documents that are kept."""
    from corpus_peers.datatrove_fineweb import blocklists

    archives = (
        warc_files(arguments.files) if arguments.pages is None else some_archives(arguments.pages, arguments.files)
    )
    facts = json.loads((archives[0].parent / "facts.json").read_text())
    pages = facts["pages"]
    (warm_up,) = warm_up_archive()
    shared: dict[str, Any] = {"warcs": [str(path) for path in archives], "pages": pages, "cores": min(2, cores())}
    shared |= {"warm_up": str(warm_up), "blocklists": list(map(str, blocklists()))}
    jobs = {f"groundup, {name}": {"do": "build", "extractor": name, **shared} for name in TARGETS}
    jobs |= {name: {"do": "fineweb", "fast": fast, **shared} for name, fast in PEERS.items()}
    fewer = dict.fromkeys(PEERS, arguments.peer_runs)
    results = interleave(WORKER, jobs, arguments.runs, what="end to end", fewer=fewer)
    console.print(f"{pages:,} pages, {facts['bytes'] / 1e6:.0f} MB of HTML in {len(facts['languages'])} languages")
    for name, found in results.items():
        console.print(f"{name}: {missing(found) or found[0]}", highlight=False)
    versions = {name: version(name) for name in VERSIONS}
    claims = []
    for name, target in TARGETS.items():
        ours = samples(results[f"groundup, {name}"], "documents_per_second")
        for peer, fast in PEERS.items():
            theirs = samples(results[peer], "documents_per_second")
            if ours and theirs:
                what = f"{pages:,} pages end to end, {shared['cores']} workers, {name}"
                goal = None if fast else target
                claims.append(compare(what, peer, ours, theirs, "documents/s", target=goal, versions=versions))
    return claims


def some_archives(pages: int, number: int) -> list[Path]:
    """The first pages of all, in the order of their hash: a sample of every package and language."""
    every = (page for name in PACKAGES for page in pages_of(name, unpacked(name)))
    return write_warcs(sorted(every, key=lambda page: page.order)[:pages], CACHE / f"pages-first-{pages}", number)


def warm_up_archive() -> list[Path]:
    """A few pages, for what every side does at its first use only."""
    name = "postgresql-doc-15"  # English, so that later stages have something to do
    return write_warcs(islice(pages_of(name, unpacked(name)), WARM_UP_PAGES), CACHE / "pages-warm-up", 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--peer-runs", type=int, default=1, help="of datatrove, which takes minutes")
    parser.add_argument("--files", type=int, default=2, help="archives to divide the pages into: a task each")
    parser.add_argument("--pages", type=int, help="only so many of them, to try it out")
    arguments = parser.parse_args()
    console.print(machine())
    claims = end_to_end(arguments)
    show(claims, "corpus building")
    for claim in claims:
        print(claim.json())


if __name__ == "__main__":
    main()
