"""What deduplication and decontamination are asked to do; a file of its own, so that `--help` loads no kernels."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from groundup.core.errors import ConfigError


@dataclass(frozen=True)
class DeduplicationConfig:
    """`keep_near` leaves near copies in the corpus; the split still keeps each cluster on one side."""

    ngram: int = 5
    bands: int = 20
    rows: int = 6
    threshold: float = 0.8
    keep_near: bool = False

    def __post_init__(self) -> None:
        for name in ("ngram", "bands", "rows"):
            if getattr(self, name) < 1:
                raise ConfigError(f"deduplication.{name} is {getattr(self, name)}; it must be at least 1.")
        if not 0 < self.threshold <= 1:
            raise ConfigError(f"deduplication.threshold is {self.threshold}; it must be above 0 and at most 1.")


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
class SegmentConfig:
    """What is compared, what stays of several, whether blank lines count, and the length of a span."""

    unit: Literal["line", "paragraph", "sentences"] = "line"
    keep: Literal["one", "none"] = "one"
    blank: bool = False
    span: int = 3

    def __post_init__(self) -> None:
        if self.span < 1:
            raise ConfigError(f"segments.span is {self.span}; it must be at least 1.")


@dataclass(frozen=True)
class SubstringConfig:
    """How long a stretch of text must be to be cut where it occurs again, and what stays of several."""

    length: int = 200
    """bytes; about the 50 tokens of arXiv:2107.06499"""
    keep: Literal["one", "none"] = "one"

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ConfigError(f"substrings.length is {self.length}; it must be at least 1.")


@dataclass(frozen=True)
class SeenConfig:
    """A Bloom filter of the texts of earlier runs, and one to write that has those of this run too."""

    read: Path | None = None
    """what it has is dropped; without it the filter begins empty"""
    write: Path | None = None
    items: int = 10_000_000
    """how many texts a new filter is for"""
    false_positives: float = 1e-6
    """how often it may take a new text for one that was seen, once it has as many"""

    def __post_init__(self) -> None:
        if self.read is not None and self.read == self.write:
            raise ConfigError(
                f"seen.read and seen.write are both {self.read}; the same command again would then drop what it kept. "
                "Give the new filter another name."
            )
