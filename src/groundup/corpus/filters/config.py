"""What the heuristic rules count and where their thresholds lie; apart from the kernels, so that `--help` need not load
them. The rules are in `heuristics.py`, the counting in `statistics.py`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from groundup.core.errors import ConfigError

FAMILIES = ("gopher", "c4", "fineweb")
POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")


@dataclass(frozen=True)
class CountingConfig:
    """What is counted as what. A change here means measuring again; thresholds are the rules' (`heuristics.py`)."""

    bullets: str = "•-"
    """single characters that make a line an item of a list"""
    short_line_characters: int = 30
    c4_end_punctuation: bool = True
    """lines that do not end as a sentence go; FineWeb switches this off"""
    c4_min_words_per_line: int = 5
    c4_max_word_length: int = 1000
    """-1: no limit"""
    c4_cut_citations: bool = True
    c4_javascript: bool = True
    c4_policy: bool = True
    c4_policy_phrases: tuple[str, ...] = POLICY
    """in lower case; letters other than A to Z are compared as they stand"""

    def __post_init__(self) -> None:
        for phrase in self.c4_policy_phrases:
            if not any(character.isalpha() for character in phrase):
                raise ConfigError(f"counting.c4_policy_phrases has {phrase!r}; a phrase must have a letter in it.")


@dataclass(frozen=True)
class GopherConfig:
    """A document outside any of these is faulty; the shares of the second half are of all characters."""

    min_words: int = 50
    """words of punctuation alone not counted, here and in the mean length"""
    max_words: int = 100_000
    min_mean_word_length: float = 3
    max_mean_word_length: float = 10
    max_symbol_to_word_ratio: float = 0.1
    """`#` and ellipses, each per word"""
    max_bullet_line_fraction: float = 0.9
    max_ellipsis_line_fraction: float = 0.3
    min_alphabetic_word_fraction: float = 0.8
    min_stop_words: int = 2
    """different ones of the eight, as they stand: in lower case and without punctuation"""
    max_duplicate_line_fraction: float = 0.3
    max_duplicate_line_character_fraction: float = 0.2
    max_duplicate_paragraph_fraction: float = 0.3
    max_duplicate_paragraph_character_fraction: float = 0.2
    max_top_ngram_character_fraction: tuple[float, float, float] = (0.20, 0.18, 0.16)
    """for n = 2, 3, 4"""
    max_duplicate_ngram_character_fraction: tuple[float, float, float, float, float, float] = (
        0.15,
        0.14,
        0.13,
        0.12,
        0.11,
        0.10,
    )
    """for n = 5 to 10"""

    def __post_init__(self) -> None:
        for low, high in (("min_words", "max_words"), ("min_mean_word_length", "max_mean_word_length")):
            if not 0 <= getattr(self, low) <= getattr(self, high):
                raise ConfigError(
                    f"gopher: {low} = {getattr(self, low)} and {high} = {getattr(self, high)} leave no document; "
                    f"0 <= {low} <= {high} must hold."
                )


@dataclass(frozen=True)
class C4Config:
    """What condemns a page; the rules on its lines are `CountingConfig`'s."""

    remove_lines: bool = True
    """of a page that stays, the lines that those rules leave out"""
    min_sentences: int = 3
    """in the lines that stay"""
    forbid_lorem_ipsum: bool = True
    forbid_curly_brace: bool = True


@dataclass(frozen=True)
class FineWebConfig:
    """Shares of the lines that are not blank, and of the characters."""

    min_punctuated_line_fraction: float = 0.12
    max_short_line_fraction: float = 0.67
    max_duplicate_character_fraction: float = 0.01
    """of lines that occurred before, among all characters but line feeds"""
    max_newlines_per_word: float = 0.3


@dataclass(frozen=True)
class HeuristicsConfig:
    """Which families judge, with their thresholds, and what the statistics count."""

    enabled: bool = True
    families: tuple[Literal["gopher", "c4", "fineweb"], ...] = ("gopher",)
    """C4's and FineWeb's are for pages of the web: prose without full stops at line ends, or verse, breaks them"""
    gopher: GopherConfig = field(default_factory=GopherConfig)
    c4: C4Config = field(default_factory=C4Config)
    fineweb: FineWebConfig = field(default_factory=FineWebConfig)
    counting: CountingConfig = field(default_factory=CountingConfig)

    def __post_init__(self) -> None:
        for family in self.families:
            if family not in FAMILIES:
                raise ConfigError(f"heuristics.families has {family!r}; the families are {', '.join(FAMILIES)}.")


@dataclass(frozen=True)
class BadWordsConfig:
    """When a text has too many; C4's rule is no limit beyond the first."""

    enabled: bool = False
    file: Path | None = None
    """one entry per line; None: the default list"""
    max_count: int = 0
    max_rate: float = 0.0
    """hits per word; a text is dropped when it is above both"""

    def __post_init__(self) -> None:
        if self.max_count < 0 or self.max_rate < 0:
            raise ConfigError("bad_words: max_count and max_rate must be at least 0.")
