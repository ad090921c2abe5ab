"""Other thresholds, tried on the stored statistics: what the heuristic rules would drop, without reading a text.

    now    the documents that reached the heuristics, under the thresholds of the build
    then   the same documents under other thresholds

Bytes are those of the texts. What dropped a document before the heuristics stays dropped, and what the later stages
would make of a document that comes back is not known.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from groundup.core.config import nearest
from groundup.core.errors import ConfigError
from groundup.corpus.crawl.tables import STATISTICS
from groundup.corpus.filters.config import FAMILIES, HeuristicsConfig
from groundup.corpus.filters.heuristics import fault_masks
from groundup.corpus.filters.statistics import DTYPE, FIELDS, Statistics, measure
from groundup.corpus.inspection.documents import (
    corpus_config,
    is_crawl_folder,
    kept_tables,
    rejected_tables,
)

FACTORS = (0.5, 0.8, 1.0, 1.25, 2.0)  # of a threshold, in the table of all of them


@dataclass(frozen=True)
class Outcome:
    """What rules make of the documents: how many each one faults, and how many pass all."""

    documents: int
    kept: int
    kept_bytes: int
    by_rule: dict[str, int]
    """documents that break the rule, whatever else they break"""
    by_rule_alone: dict[str, int]
    """documents that break no other"""


def stored_statistics(folder: Path) -> Statistics:
    """The counts of every document that reached the heuristics; those of a corpus in memory are taken again."""
    if not is_crawl_folder(folder):
        return _measured_again(folder)
    parts = []
    for path in (*kept_tables(folder), *rejected_tables(folder)[: len(kept_tables(folder))]):
        table = pq.read_table(path, columns=list(STATISTICS), use_threads=False)
        table = table.filter(table[STATISTICS[0]].is_valid())
        part = np.zeros(len(table), DTYPE)
        for name, column in zip(FIELDS, STATISTICS, strict=True):
            part[name] = table[column].to_numpy()
        parts.append(part)
    return np.concatenate(parts)


def outcome(statistics: Statistics, config: HeuristicsConfig) -> Outcome:
    """The decisions of the rules on all documents."""
    masks = fault_masks(statistics, config)
    broken = np.sum(list(masks.values()), axis=0, dtype=np.int64) if masks else np.zeros(len(statistics))
    passed = broken == 0
    return Outcome(
        documents=len(statistics),
        kept=int(passed.sum()),
        kept_bytes=int(statistics["bytes"][passed].sum()),
        by_rule={name: int(mask.sum()) for name, mask in masks.items()},
        by_rule_alone={name: int((mask & (broken == 1)).sum()) for name, mask in masks.items()},
    )


def with_thresholds(config: HeuristicsConfig, changes: Sequence[str]) -> HeuristicsConfig:
    """The config with some thresholds changed, each given as `family.name=value`."""
    for change in changes:
        place, _, value = change.partition("=")
        family, _, name = place.partition(".")
        known = {f"{each}.{name}": kind for each in FAMILIES for name, _, kind in _thresholds(getattr(config, each))}
        if place not in known:
            raise ConfigError(f"There is no threshold {place!r}; {nearest(place, known)}")
        try:
            number = known[place](value)
        except ValueError:
            raise ConfigError(f"{value!r} is no {known[place].__name__} for {place}; write {place}=VALUE.") from None
        config = replace(config, **{family: replace(getattr(config, family), **{name: number})})
    return config


def sweep(statistics: Statistics, config: HeuristicsConfig) -> dict[str, dict[float, tuple[float, int]]]:
    """For every threshold, by its name, and each factor: (the threshold times the factor, documents kept)."""
    found: dict[str, dict[float, tuple[float, int]]] = {}
    for family in config.families:
        rules = getattr(config, family)
        for name, value, kind in _thresholds(rules):
            row = {}
            for factor in FACTORS:
                changed = round(value * factor) if kind is int else value * factor
                other = replace(config, **{family: replace(rules, **{name: changed})})
                row[factor] = changed, outcome(statistics, other).kept
            found[f"{family}.{name}"] = row
    return found


def _thresholds(rules: Any) -> Iterator[tuple[str, float, type]]:  # noqa: ANN401 - a config of any family
    """(name, value, int or float) of each field that is one number."""
    assert is_dataclass(rules)
    for field in fields(rules):
        if field.type in (int, float):
            yield field.name, getattr(rules, field.name), int if field.type is int else float


def _measured_again(folder: Path) -> Statistics:
    """From the texts as they are now, as the tables of a corpus in memory hold none."""
    from groundup.corpus.documents import read_jsonl
    from groundup.corpus.language import language_fault
    from groundup.corpus.pipeline import STAGES

    config = corpus_config(folder)
    texts = [document.text for name in ("train", "heldout") for document in read_jsonl(folder / f"{name}.jsonl")]
    reached = STAGES[STAGES.index("heuristics") :]
    texts += [document.text for document in read_jsonl(folder / "rejected.jsonl") if document.drop_stage in reached]
    languages = [language_fault(text, config.language)[1] for text in texts]
    return measure(texts, languages, config.heuristics.counting)
