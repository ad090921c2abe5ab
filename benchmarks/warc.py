"""Reading WARC files against fastwarc and warcio: pages per second, and what each makes of damage. `make bench-warc`.

Prints one JSON object per claim on stdout (BENCHMARKS.md explains it) and tables on stderr. The pages are those of
`harness/debian_pages.py`. On sound files the bodies of all libraries must be equal, else the claim is void and the
command ends with code 1. Each library runs in a process of its own, pinned to one core; they take turns.

    sound      pages per second of processor time; ours is to be at least .8 of fastwarc. As Common Crawl packs pages,
               with their requests and metadata, and the responses alone: of small records the cost is in Python
    damaged    252 records, of which one file each has 400 corrupted bytes, garbage in front, a lying length, a cut tail
"""

import argparse
import random
import re
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from harness.debian_pages import gzip_member, warc_files
from harness.measure import Claim, compare, console, interleave, machine, missing, run_child, samples, show, version
from harness.real_text import CACHE
from rich.table import Table

WORKER = "warc_peers.worker"
LIBRARIES = ("groundup", "fastwarc", "warcio")
TARGETS = {"fastwarc": 0.8, "warcio": None}
RECORDS, CORRUPTED = 252, 400


def sound(options: argparse.Namespace, files: list[Path], what: str) -> list[Claim]:
    """The rates of all libraries on the same files."""
    jobs = {name: {"library": name, "files": list(map(str, files)), "passes": options.passes} for name in LIBRARIES}
    results = interleave(WORKER, jobs, options.runs, what="reading")
    for name in LIBRARIES:
        if reason := missing(results[name]):
            raise SystemExit(f"{name} was not measured: {reason}")
    if len({result["digest"] for found in results.values() for result in found}) != 1:
        raise SystemExit("The libraries do not give the same bodies; no claim is made.")
    versions = {name: version(name) for name in (*LIBRARIES, "isal")}
    rates = {name: samples(results[name], "pages_per_second") for name in LIBRARIES}
    pages = results["groundup"][0]["pages"]
    name, ours = f"WARC, {pages:,} pages, {what}", rates["groundup"]
    return [
        compare(name, peer, ours, rates[peer], "pages/s", target=target, versions=versions)
        for peer, target in TARGETS.items()
    ]


def damaged(folder: Path) -> Table:
    """How many of the records each library gives of damaged files, and what it says."""
    table = Table("file", *(f"{name}: pages, told" for name in LIBRARIES), title=f"{RECORDS} records, damaged")
    for name, data in damaged_files().items():
        path = folder / f"{name.replace(' ', '-')}.warc.gz"
        path.write_bytes(data)
        cells = []
        for library in LIBRARIES:
            result = run_child(WORKER, {"library": library, "files": [str(path)], "passes": 1})
            told = ", ".join(f"{reason} ({count})" for reason, count in result.get("told", {}).items())
            cells.append(result.get("missing") or f"{result['pages']}; {told or 'nothing'}")
        table.add_row(name, *cells)
    return table


def damaged_files() -> dict[str, bytes]:
    """The same records in damaged files."""
    members = list(islice(responses(warc_files()[0].read_bytes()), RECORDS))
    whole = b"".join(members)
    generator = random.Random(7)
    corrupted = bytearray(whole)
    corrupted[len(whole) // 2 : len(whole) // 2 + CORRUPTED] = generator.randbytes(CORRUPTED)
    half = RECORDS // 2
    record = zlib.decompress(members[half], 31)
    lying = gzip_member(re.sub(rb"(Content-Length: )\d+", rb"\g<1>99", record, count=1))
    return {
        f"{CORRUPTED} corrupted bytes": bytes(corrupted),
        "garbage in front": generator.randbytes(5000) + whole,
        "lying length": b"".join((*members[:half], lying, *members[half + 1 :])),
        "cut tail": whole[:-300],
    }


def responses(data: bytes) -> Iterator[bytes]:
    """The members of a file that are responses."""
    position = 0
    while position < len(data):
        decoder, start, head = zlib.decompressobj(31), position, b""
        while not decoder.eof:
            piece = data[position : position + (64 << 10)]
            head = (head + decoder.decompress(piece))[:200]
            position += len(piece) - len(decoder.unused_data)
        if b"WARC-Type: response" in head:
            yield data[start:position]


def responses_alone(folder: Path) -> list[Path]:
    """The same pages without their requests and metadata."""
    written = []
    for path in warc_files():
        written.append(folder / f"responses-{path.name}")
        written[-1].write_bytes(b"".join(responses(path.read_bytes())))
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--passes", type=int, default=5)
    options = parser.parse_args()
    console.print(machine())
    folder = CACHE / "warc"
    folder.mkdir(parents=True, exist_ok=True)
    claims = sound(options, warc_files(), "with requests and metadata")
    claims += sound(options, responses_alone(folder), "responses alone")
    show(claims, "Reading WARC files")
    console.print(damaged(folder))
    for claim in claims:
        print(claim.json())


if __name__ == "__main__":
    main()
