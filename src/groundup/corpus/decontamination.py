"""Decontamination: how much of a training document stands word for word in the texts that will be evaluated on.

A training n-gram of words (13 by default, as in GPT-3, arXiv:2005.14165, appendix C) is a match when it occurs anywhere
in an evaluation text, after normalisation (`corpus/shingles.py`). The share

    overlap = matching n-grams / n-grams

is reported for every training document, zero included, so that an empty report cannot pass for a clean one; documents
above `max_overlap` are dropped from training. Documents shorter than n words have no n-gram and overlap 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from groundup.core.errors import ConfigError
from groundup.corpus.documents import Document
from groundup.corpus.shingles import word_ngrams


@dataclass(frozen=True)
class DecontaminationConfig:
    """Size of the n-grams and the largest share of them that a training document may have in common."""

    ngram: int = 13
    max_overlap: float = 0.1

    def __post_init__(self) -> None:
        if self.ngram < 1:
            raise ConfigError(f"decontamination.ngram is {self.ngram}; it must be at least 1.")
        if not 0 <= self.max_overlap <= 1:
            raise ConfigError(f"decontamination.max_overlap is {self.max_overlap}; it must be between 0 and 1.")


@dataclass(frozen=True)
class Overlap:
    """One training document: how many of its n-grams stand in the evaluation texts."""

    id: str
    ngrams: int
    matches: int

    @property
    def fraction(self) -> float:
        return self.matches / self.ngrams if self.ngrams else 0.0


def overlaps(training: Sequence[Document], evaluation: Sequence[str], config: DecontaminationConfig) -> list[Overlap]:
    """One entry for each training document, in order."""
    nothing = np.zeros(0, np.uint64)
    known = np.unique(np.concatenate([nothing, *(word_ngrams(text, config.ngram) for text in evaluation)]))
    found = []
    for document in training:
        ngrams = word_ngrams(document.text, config.ngram)
        found.append(Overlap(document.id, len(ngrams), _count_known(ngrams, known)))
    return found


def _count_known(ngrams: NDArray[np.uint64], known: NDArray[np.uint64]) -> int:
    """How many stand in a sorted array; a search costs less than `np.isin`, which sorts both each time."""
    if not len(known):
        return 0
    place = np.minimum(np.searchsorted(known, ngrams), len(known) - 1)
    return int((known[place] == ngrams).sum())
