"""The process that times one side on one batch of texts: `python -m heuristics_peers.worker job.json result.json`.

    {"library": "groundup" | "datatrove", "words": "white space" | "spaCy", "texts": file, "limit": ..., "passes": ...}

Libraries are imported, compiled and warmed before the clock starts; the texts are in memory. The answer carries a
digest of every decision and of every text that C4's rules edited, so a fast wrong answer shows. For equal words
datatrove gets ours: what stands between white space, and our sentences.
"""

import hashlib
import json
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from harness.child import Result, child_main

FILTERS = ("gopher quality", "gopher repetition", "c4", "fineweb")
Decisions = list[tuple[bool, bool, bool, bool, str]]  # of each text: dropped by these four, and what C4 leaves of it
REPETITION = ("gopher_duplicate_", "gopher_top_")


def groundup(texts: list[str]) -> tuple[Decisions, dict[str, float]]:
    """Every rule of the three families on every text, and C4's edited texts."""
    from groundup.corpus.filters.config import FAMILIES, HeuristicsConfig
    from groundup.corpus.filters.heuristics import judge
    from groundup.corpus.filters.statistics import measure_and_edit

    start = time.process_time()
    statistics, edited = measure_and_edit(texts)
    broken = judge(statistics, HeuristicsConfig(families=FAMILIES))
    seconds = time.process_time() - start
    decisions = []
    for faults, text in zip(broken, edited, strict=True):
        gopher = [fault for fault in faults if fault.startswith("gopher_")]
        repetition = [fault for fault in gopher if fault.startswith(REPETITION)]
        c4 = any(fault.startswith("c4_") for fault in faults)
        fineweb = any(fault.startswith("fineweb_") for fault in faults)
        quality = len(gopher) > len(repetition)
        decisions.append((quality, bool(repetition), c4, fineweb, "" if c4 else text))
    return decisions, {"all": seconds}


def datatrove(texts: list[str]) -> tuple[Decisions, dict[str, float]]:
    """datatrove's four filters with the thresholds of the papers, each on every text."""
    from datatrove.data import Document
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
    )

    c4 = C4QualityFilter(min_num_sentences=3, min_words_per_line=5)
    filters = (GopherQualityFilter(), GopherRepetitionFilter(), c4, FineWebQualityFilter())
    dropped: dict[str, list[bool]] = {}
    edited: list[str] = []
    seconds: dict[str, float] = {}
    for name, rule in zip(FILTERS, filters, strict=True):
        documents = [Document(text=text, id=str(number)) for number, text in enumerate(texts)]
        start = time.process_time()
        dropped[name] = [rule.filter(document) is not True for document in documents]
        seconds[name] = time.process_time() - start
        if rule is c4:
            edited = ["" if out else document.text for document, out in zip(documents, dropped[name], strict=True)]
    seconds["all"] = sum(seconds.values())
    return list(zip(*(dropped[name] for name in FILTERS), edited, strict=True)), seconds


def share_words() -> None:
    """Give datatrove's filters our words and sentences, remembered for the last texts as it remembers its own."""
    from datatrove.pipeline.filters import (
        c4_filters,
        fineweb_quality_filter,
        gopher_quality_filter,
        gopher_repetition_filter,
    )

    from groundup.corpus.filters.c4 import split_sentences

    words = lru_cache(5)(lambda text, language="en": text.split())
    sentences = lru_cache(5)(lambda text, language="en": split_sentences(text))
    for module in (gopher_quality_filter, gopher_repetition_filter, fineweb_quality_filter):
        module.split_into_words = words
    c4_filters.split_into_sentences = sentences


SIDES: dict[str, Callable[[list[str]], tuple[Decisions, dict[str, float]]]] = {
    "groundup": groundup,
    "datatrove": datatrove,
}


def run(job: Result) -> Result:
    """Best of the passes, in documents per second; the digest of the decisions."""
    texts = json.loads(Path(job["texts"]).read_text())[: job["limit"]]
    side = SIDES[job["library"]]
    if job["library"] == "datatrove" and job["words"] == "white space":
        share_words()
    side(texts[:3])
    best: dict[str, float] = {}
    decisions: Decisions = []
    for _ in range(job["passes"]):
        decisions, seconds = side(texts)
        best = {name: min(best.get(name, value), value) for name, value in seconds.items()}
    return {
        "rate": len(texts) / best["all"],
        "rates": {name: len(texts) / value for name, value in best.items()},
        "digest": hashlib.blake2b(json.dumps(decisions).encode(), digest_size=16).hexdigest(),
        "decisions": [[*map(int, decision[:4])] for decision in decisions],
        "megabytes": sum(len(text.encode()) for text in texts) / 1e6,
    }


if __name__ == "__main__":
    child_main(run)
