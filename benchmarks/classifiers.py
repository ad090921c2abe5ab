"""Text classifiers against fastText: training, prediction, language identification. `make bench-classifiers` runs it.

Texts are pages of two Debian manuals in some 30 languages, tags stripped: cut into pieces of 80 words to train a
classifier of their language on four fifths and measure it on the rest; whole to identify their language by lid.176.
One thread on both sides, processes of their own, interleaved. Labels that differ from fastText's with the same model
make a claim of speed void. (The file is not called fasttext.py: it would hide the peer's module.)
"""

import argparse
import random
import sys
from pathlib import Path

from harness.debian_pages import Page, pages_of, unpacked
from harness.measure import Claim, compare, console, interleave, machine, missing, samples, show, version
from harness.real_text import cache_folder, strip_tags

from groundup.corpus.fasttext.language_model import cache_folder as models_folder
from groundup.corpus.fetching.corpora import fetch_language_model

WORKER = "classifier_peers.worker"
OURS = "groundup"
PEER = "fasttext-numpy2-wheel"
PACKAGES = ("installation-guide-amd64", "debian-handbook")
PIECE_WORDS = 80
BASE = {"dim": 100, "lr": 0.5, "epoch": 5, "bucket": 2_000_000}
TRAINING = {
    "words": {**BASE, "wordNgrams": 1},
    "word bigrams": {**BASE, "wordNgrams": 2},
    "word bigrams, hierarchical softmax": {**BASE, "wordNgrams": 2, "loss": "hs"},
    "subwords of 3 to 5": {**BASE, "wordNgrams": 1, "minn": 3, "maxn": 5, "lr": 1.0},
}
LEAST_PROMISED = 1.0  # of the speed of training
ACCURACY_POINT = 0.01
PREDICTION = 1.0
LEAST_LANGUAGES = 0.92  # of the installation guide's pages; some of them nobody has translated yet


def main() -> int:
    """Measure, print the claims; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--runs", type=int, default=5, help="rounds of interleaved processes (default: %(default)s)")
    parser.add_argument("--pages", type=int, default=4000, help="at most so many pages (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="300 pages, one round: does it run at all?")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.pages, chosen.runs = 300, 1
    console.print(machine(), highlight=False)
    train, test, pages = write_texts(chosen.pages)
    claims: list[Claim] = []
    void: list[str] = []
    for name, options in TRAINING.items():
        jobs = {
            library: {"do": "train", "library": library, "train": str(train), "test": str(test), "options": options}
            for library in (OURS, PEER)
        }
        found = interleave(WORKER, jobs, chosen.runs, what=f"train, {name}")
        if told := missing(found[OURS]) or missing(found[PEER]):
            void.append(f"train, {name}: {told}")
            continue
        claims.append(claim(f"train, {name}", found, "rate", "M words/s", LEAST_PROMISED))
        claims.append(claim(f"accuracy, {name}", found, "accuracy", "share"))
        if claims[-1].ours < claims[-1].theirs - ACCURACY_POINT:
            void.append(f"train, {name}: the accuracy is more than a point below")
    model = fetch_language_model(models_folder())
    jobs = {
        library: {"do": "predict", "library": library, "model": str(model), "test": str(pages), "passes": 3}
        for library in (OURS, PEER)
    }
    found = interleave(WORKER, jobs, chosen.runs, what="language identification")
    told = missing(found[OURS]) or missing(found[PEER])
    if told or len({result["digest"] for results in found.values() for result in results}) > 1:
        void.append(f"language identification: {told or 'labels differ'}")
    else:
        claims.append(claim("language of a page of the guide, lid.176", found, "rate", "pages/s", PREDICTION))
        claims.append(claim("its folder's language is named", found, "accuracy", "share"))
        if claims[-1].ours < LEAST_LANGUAGES:
            void.append(f"language identification: fewer than {LEAST_LANGUAGES:.0%} of the pages are right")
    for one in claims:
        print(one.json(), flush=True)
    show(claims, f"Classifiers, medians of {chosen.runs}")
    for reason in void:
        console.print(f"VOID {reason}", style="red", highlight=False)
    return 1 if void else 0


def claim(name: str, found: dict, key: str, unit: str, target: float | None = None) -> Claim:
    """A claim from the results of both sides."""
    versions = {library: version(library) for library in (OURS, "numba", PEER)}
    ours, theirs = samples(found[OURS], key), samples(found[PEER], key)
    return compare(name, PEER, ours, theirs, unit, target=target, versions=versions)


def write_texts(most_pages: int) -> tuple[Path, Path, Path]:
    """The files of pieces to train on and to measure with, of both manuals, and of the installation guide's pages."""
    guide, handbook = (texts_of(name) for name in PACKAGES)
    pages = [pair for _, pair in sorted(guide + handbook)[:most_pages]]
    pieces = []
    for language, text in pages:
        words = text.split(" ")
        pieces += [(language, " ".join(words[i : i + PIECE_WORDS])) for i in range(0, len(words), PIECE_WORDS)]
    random.Random(0).shuffle(pieces)
    cut = len(pieces) * 4 // 5
    whole = [pair for _, pair in guide[:most_pages]]
    paths = tuple(cache_folder() / f"classifier-{name}.txt" for name in ("train", "test", "pages"))
    for path, lines in zip(paths, (pieces[:cut], pieces[cut:], whole), strict=True):
        path.write_text("".join(f"__label__{language} {text}\n" for language, text in lines))
    languages = len({language for language, _ in pages})
    console.print(f"{len(pages):,} pages in {languages} languages, {len(pieces):,} pieces", highlight=False)
    return paths


def texts_of(package: str) -> list[tuple[bytes, tuple[str, str]]]:
    """(order, (language, text)) of the pages of a package, in their order; the language is what their folder says."""
    found: list[Page] = sorted(pages_of(package, unpacked(package)), key=lambda page: page.order)
    texts = (" ".join(strip_tags(page.body.decode(errors="replace")).replace("\0", " ").split()) for page in found)
    return [
        (page.order, (page.language, text)) for page, text in zip(found, texts, strict=True) if page.language and text
    ]


if __name__ == "__main__":
    sys.exit(main())
