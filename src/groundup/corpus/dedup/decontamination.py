"""Decontamination: how much of a training document stands word for word in the texts that will be evaluated on.

A training n-gram of words (13 by default, as in GPT-3, arXiv:2005.14165, appendix C) is a match when it occurs anywhere
in an evaluation text, after normalisation (`normalisation.py`). The share

    overlap = matching n-grams / n-grams

is reported for every training document, zero included, so that an empty report cannot pass for a clean one; documents
above `max_overlap` are dropped from training. Documents shorter than n words have no n-gram and overlap 0.

The other side is reported too (`EvaluationIndex.report`): of each evaluation set how many items have an n-gram that
training has seen, and how many are too short to be checked at all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundup.corpus.dedup.config import DecontaminationConfig
from groundup.corpus.dedup.hashing import Hashes
from groundup.corpus.dedup.words import ngrams_of_texts
from groundup.corpus.documents import Document

BATCH = 1000  # documents whose n-grams are in memory at once


@dataclass(frozen=True)
class Overlap:
    """One training document: how many of its n-grams stand in the evaluation texts."""

    id: str
    ngrams: int
    matches: int

    @property
    def fraction(self) -> float:
        return self.matches / self.ngrams if self.ngrams else 0.0

    def entry(self) -> dict[str, Any]:
        """As it stands in a report."""
        return vars(self) | {"fraction": round(self.fraction, 6)}


@dataclass(frozen=True)
class SetReport:
    """One evaluation set: its items, those shorter than n words, and those of which training has an n-gram."""

    items: int
    too_short: int
    matched: int


class EvaluationIndex:
    """The n-grams of all evaluation sets; `seen` marks those that training texts had, in whatever order they came."""

    def __init__(self, sets: Mapping[str, Sequence[str]], ngram: int) -> None:
        self.ngram = ngram
        self.items = {name: ngrams_of_texts(texts, ngram) for name, texts in sets.items()}
        nothing = np.zeros(0, np.uint64)
        self.known = np.unique(np.concatenate([nothing, *(hashes for hashes, _ in self.items.values())]))
        self.seen = np.zeros(len(self.known), np.bool_)

    def match(self, documents: Sequence[Document]) -> list[Overlap]:
        """One entry for each training document, in order."""
        ngrams, starts = ngrams_of_texts([document.text for document in documents], self.ngram)
        place, found = find_known(ngrams, self.known)
        self.seen[place[found]] = True
        matches = np.concatenate([[0], np.cumsum(found)])
        return [
            Overlap(document.id, int(end - start), int(matches[end] - matches[start]))
            for document, (start, end) in zip(documents, pairwise(starts), strict=True)
        ]

    def report(self) -> dict[str, SetReport]:
        """What the training texts matched so far had of each evaluation set; sets without a match are there too."""
        return {name: self._report(*item) for name, item in self.items.items()}

    def _report(self, ngrams: Hashes, starts: NDArray[np.int64]) -> SetReport:
        place, _ = find_known(ngrams, self.known)
        seen = np.concatenate([[0], np.cumsum(self.seen[place])])
        matched = int((seen[starts[1:]] > seen[starts[:-1]]).sum())
        return SetReport(len(starts) - 1, int((np.diff(starts) == 0).sum()), matched)


def overlaps(training: Sequence[Document], evaluation: Sequence[str], config: DecontaminationConfig) -> list[Overlap]:
    """One entry for each training document, in order."""
    index = EvaluationIndex({"evaluation": evaluation}, config.ngram)
    return [
        overlap for start in range(0, len(training), BATCH) for overlap in index.match(training[start : start + BATCH])
    ]


def count_known(ngrams: Hashes, known: Hashes) -> int:
    """How many stand in a sorted array."""
    return int(find_known(ngrams, known)[1].sum())


def find_known(ngrams: Hashes, known: Hashes) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Where each would stand in a sorted array, and whether it does: cheaper than `np.isin`, which sorts both."""
    if not len(known):
        return np.zeros(len(ngrams), np.intp), np.zeros(len(ngrams), np.bool_)
    place = np.minimum(np.searchsorted(known, ngrams), len(known) - 1)
    return place, known[place] == ngrams
