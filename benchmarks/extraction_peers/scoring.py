"""F1 of extracted texts as article-extraction-benchmark defines it (Scrapinghub 2020), from its description.

A text is the multiset of its 4-grams of words (\\w+; a shorter text is one shingle). For each page

    tp = sum of min(true, found), fp = sum of max(0, found - true), fn = sum of max(0, true - found)

precision = tp / (tp + fp) and recall = tp / (tp + fn) are averaged over the pages, so that a long page counts no
more than a short one; where nothing is found and nothing was to be found both are 1. F1 is the harmonic mean of
the two means.
"""

import gzip
import json
import re
import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

WORD = re.compile(r"\w+")
SHINGLE = 4


class Score(NamedTuple):
    """Means over the pages."""

    f1: float
    precision: float
    recall: float


def shingles(text: str) -> Counter[tuple[str, ...]]:
    """The 4-grams of a text's words."""
    words = WORD.findall(text)
    return Counter(tuple(words[start : start + SHINGLE]) for start in range(max(1, len(words) - SHINGLE + 1)) if words)


def page_score(true: str, found: str) -> tuple[float, float]:
    """(precision, recall) of one page."""
    expected, given = shingles(true), shingles(found)
    shared = (expected & given).total()
    extra, lost = given.total() - shared, expected.total() - shared
    if not extra and not lost:
        return 1.0, 1.0
    return (shared / (shared + extra) if given else 0.0), (shared / (shared + lost) if expected else 0.0)


def score(pages: Sequence[tuple[str, str]]) -> Score:
    """The score of (true, found) texts."""
    each = [page_score(true, found) for true, found in pages]
    precision, recall = (statistics.mean(values) for values in zip(*each, strict=True))
    return Score(2 * precision * recall / (precision + recall) if precision + recall else 0.0, precision, recall)


def labelled_pages(folder: Path) -> list[tuple[str, bytes, str]]:
    """(name, HTML, true text) of each page of the benchmark's data, in the order of names."""
    truth = json.loads((folder / "ground-truth.json").read_text())
    return [
        (name, gzip.decompress((folder / "html" / f"{name}.html.gz").read_bytes()), truth[name]["articleBody"])
        for name in sorted(truth)
    ]
