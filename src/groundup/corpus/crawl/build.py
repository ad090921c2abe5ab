"""A crawl to a corpus, job after job; each passes over what an earlier start has finished.

    documents                     read, extract, filter and mask each page by itself        (most of the time)
    address_keys, url_duplicates  one page of each address
    text_keys, exact_duplicates   one document of each text
    segment_keys ...              lines that occur again cut out, where that is asked for
    bands ... near_duplicates     one of each cluster of near copies
    positions ... train           held out or to be trained on, decontaminated

The stages and their results are those of `corpus/pipeline.py`, which does the same to documents in memory.
"""

import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from groundup.core.config import encode
from groundup.core.errors import InputError
from groundup.core.files import new_file, remove
from groundup.corpus.config import CorpusConfig
from groundup.corpus.crawl.inputs import input_units
from groundup.corpus.crawl.jobs import CUT, DOCUMENTS, Jobs, Lines, unit_folders
from groundup.corpus.crawl.shuffle import partition_bits
from groundup.corpus.crawl.splits import HELDOUT, OVERLAPS, RANGE, TRAIN, drop_reason
from groundup.corpus.dedup.config import SegmentConfig
from groundup.corpus.funnel import Stage, add_rows
from groundup.corpus.pipeline import COPIES, require_documents
from groundup.corpus.sources import hash_files

LEAST_BYTES_OF_A_PIECE = 20  # a mean, for the number of partitions
SEGMENT_JOBS = ("segment_keys", "segment_copies", CUT)
COUNTS = ("cleaning", "pii", "languages", "decoding", "passed_over", "quarantined", "damage")


def build_crawl(config: CorpusConfig, jobs: Jobs) -> dict[str, Any]:
    """Run all jobs; returns the funnel and the counts for `result.json`."""
    lines = jobs.run(DOCUMENTS, "documents:make_documents", _of_documents(config), input_units(config.inputs))
    funnel = add_rows(line["counts"]["funnel"] for line in lines)
    require_documents(funnel)
    pieces = funnel[-1]["bytes"] // LEAST_BYTES_OF_A_PIECE if config.segments.enabled else 0
    jobs.partition_bits = partition_bits(max(funnel[-1]["documents"] * config.deduplication.bands, pieces))
    masks = _deduplicate(config, jobs)
    below, cut = _split(config, jobs, masks)
    split = {"masks": masks, "below": below, "cut": cut, "ngram": config.decontamination.ngram}
    heldout = jobs.map("heldout", "splits:map_heldout", split, (DOCUMENTS, *masks, "positions"))
    files = {"files": [str(path) for path in config.evaluation_files], "ngram": config.decontamination.ngram}
    also = hash_files(config.evaluation_files)
    evaluation = jobs.one("evaluation", "splits:join_evaluation", files, ("heldout",), also)
    split |= {"decontamination": encode(config.decontamination)}
    train = jobs.map("train", "splits:map_train", split, (DOCUMENTS, *masks, "positions", "evaluation"))
    sets: dict[str, Any] = {}
    if config.evaluation_files:
        sets = jobs.one("report", "splits:report_evaluation", files, ("evaluation", "train"), also)[0]["counts"]
    splits = {"train": _sizes(train), "heldout": _sizes(heldout)}
    segments = _sum(line["counts"] for line in jobs.lines.get(CUT, ()))
    funnel = _whole_funnel(funnel, train, splits, segments)
    require_documents(funnel)
    counts = {name: _sum(line["counts"][name] for line in lines) for name in COUNTS}
    return {
        "funnel": funnel,
        "splits": splits,
        **counts,
        "segments": segments,
        "damaged": [one for line in lines for one in line["counts"]["damaged"]][:100],
        "decontamination": _decontamination(config, train, splits, evaluation[0]["counts"]["documents"])
        | {"evaluation_sets": sets},
    }


def join_outputs(jobs: Jobs, out: Path) -> None:
    """The parts that the units wrote, in order, as the files of a corpus."""
    for job, name in (("train", TRAIN), ("heldout", HELDOUT), ("train", OVERLAPS)):
        with new_file(out / name) as joined:
            for folder in unit_folders(jobs.folder, job):
                with open(folder / name, "rb") as part:
                    shutil.copyfileobj(part, joined, 1 << 20)


def _of_documents(config: CorpusConfig) -> dict[str, Any]:
    """The config without what only later jobs read, so that changing that leaves the documents as they are."""
    kept = CorpusConfig(source="files", inputs=config.inputs)
    named = ("seed", "extractor", "addresses", "cleaning", "language", "heuristics")
    named += ("bad_words", "perplexity", "quality", "toxicity", "mask_pii")
    return encode(kept) | {"inputs": ["-"]} | {name: encode(getattr(config, name)) for name in named}


def _deduplicate(config: CorpusConfig, jobs: Jobs) -> list[str]:
    """Addresses, then texts, then near copies; returns the jobs that dropped documents, in order."""
    masks: list[str] = []
    for of, keys, name in (("url", "address_keys", "url_duplicates"), ("text", "text_keys", "exact_duplicates")):
        settings = {"of": of, "seed": config.seed, "masks": list(masks)}
        jobs.map(keys, "copies:map_keys", settings, (DOCUMENTS, *masks))
        jobs.reduce(name, "copies:reduce_copies", {"keys": keys}, (keys,))
        masks.append(name)
    if config.segments.enabled:
        masks += _cut_segments(config, jobs, masks)
    else:  # of another config
        for name in SEGMENT_JOBS:
            remove(jobs.folder / name)
    settings = {"deduplication": encode(config.deduplication), "seed": config.seed, "masks": list(masks)}
    jobs.map("bands", "near:map_bands", settings, (DOCUMENTS, *masks))
    jobs.reduce("buckets", "near:reduce_buckets", {}, ("bands",))
    jobs.map("shingles", "near:map_shingles", settings, (jobs.tables, "buckets"))
    jobs.reduce("linked", "near:link_partition", settings, ("buckets", "shingles"))
    jobs.one("near_duplicates", "near:join_clusters", settings, ("linked", "shingles"))
    return [*masks, "near_duplicates"]


def _cut_segments(config: CorpusConfig, jobs: Jobs, masks: Sequence[str]) -> list[str]:
    """After it the tables are without the lines, paragraphs or spans that occur again."""
    segments = {field.name: getattr(config.segments, field.name) for field in fields(SegmentConfig)}
    settings = {"segments": segments, "seed": config.seed, "masks": list(masks)}
    keys, copies, cut = SEGMENT_JOBS
    jobs.map(keys, "segments:map_segments", settings, (DOCUMENTS, *masks))
    jobs.reduce(copies, "segments:reduce_segments", settings, (keys,))
    jobs.map(cut, "segments:cut_segments", settings, (DOCUMENTS, *masks, copies))
    jobs.tables = CUT
    return [CUT]


def _split(config: CorpusConfig, jobs: Jobs, masks: Sequence[str]) -> tuple[int, float]:
    """(the position below which a document is held out, the fraction to cut off the only one there is or 0)."""
    settings = {"seed": config.seed, "masks": masks}
    lines = jobs.map("positions", "splits:map_positions", settings, (DOCUMENTS, *masks))
    counts = [line["counts"] for line in lines]
    documents = sum(count["documents"] for count in counts)
    least, most = min(count["least"] for count in counts), max(count["most"] for count in counts)
    fraction = config.held_out_fraction
    if fraction == 0 or documents <= 1:
        return 0, fraction if documents == 1 else 0.0
    if least == most:
        raise InputError(
            f"All {documents} documents are near copies of each other, so none can be held out; "
            "keep one of them, or set the held-out fraction to 0."
        )
    below = int(fraction * RANGE)
    return (below if least < below <= most else least + 1), 0.0


def _whole_funnel(funnel: Lines, train: Lines, splits: dict[str, dict[str, int]], segments: dict[str, int]) -> Lines:
    """With the stages over the whole crawl; what each of them dropped is counted where it was written."""
    documents, size = funnel[-1]["documents"], funnel[-1]["bytes"]
    for stage in (*COPIES, "split", "decontaminate"):
        gone = Counter(_sum(line["counts"]["dropped"].get(stage, {}) for line in train))
        documents, size = documents - gone["documents"], size - gone["bytes"]
        if stage == CUT:
            size -= segments.get("bytes", 0)
        funnel.append(Stage(documents, size, +Counter({drop_reason(stage): gone["documents"]})).row(stage))
    assert documents == splits["train"]["documents"] + splits["heldout"]["documents"], "every document is accounted for"
    return funnel


def _decontamination(
    config: CorpusConfig, train: Sequence[dict[str, Any]], splits: dict[str, dict[str, int]], files: int
) -> dict[str, Any]:
    counts = [line["counts"] for line in train]
    return {
        "ngram": config.decontamination.ngram,
        "max_overlap": config.decontamination.max_overlap,
        "evaluation_documents": splits["heldout"]["documents"] + files,
        "documents_checked": sum(count["checked"] for count in counts),
        "ngrams_checked": sum(count["ngrams"] for count in counts),
        "documents_with_matches": sum(count["with_matches"] for count in counts),
        "matching_ngrams": sum(count["matches"] for count in counts),
        "documents_dropped": sum(count["dropped"]["decontaminate"]["documents"] for count in counts),
    }


def _sizes(lines: Iterable[dict[str, Any]]) -> dict[str, int]:
    return _sum({name: line["counts"][name] for name in ("documents", "bytes")} for line in lines)


def _sum(parts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for part in parts:
        for name, count in part.items():
            total[name] += count
    return dict(total)
