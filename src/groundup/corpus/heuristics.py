"""Quality rules on the look of a text: Gopher's, and the part of its repetition rules that needs no long n-grams.

Source: Rae et al. 2021, "Scaling Language Models: Methods, Analysis & Insights from Training Gopher", arXiv:2112.11446,
appendix A1.1 and table A1. A word is what stands between white space. Every threshold is a field of `GopherConfig`; the
reason given is the first rule that fails. Where we deviate: the stop-word rule uses the eight most common function
words of the document's own language, which for English are Gopher's eight.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from groundup.core.errors import ConfigError
from groundup.corpus.language import FUNCTION_WORDS

ENGLISH_STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
BULLETS = ("•", "‣", "▶", "◀", "◦", "■", "□", "▪", "▫", "●", "○", "–", "-", "*")


@dataclass(frozen=True)
class GopherConfig:
    """Thresholds of the paper; a document outside any of them is dropped."""

    enabled: bool = True
    min_words: int = 50
    max_words: int = 100_000
    min_mean_word_length: float = 3
    max_mean_word_length: float = 10
    max_symbol_to_word_ratio: float = 0.1
    """`#` and ellipses, each per word"""
    max_bullet_line_fraction: float = 0.9
    max_ellipsis_line_fraction: float = 0.3
    min_alphabetic_word_fraction: float = 0.8
    min_stop_words: int = 2
    """different ones of the eight"""
    max_duplicate_line_fraction: float = 0.3
    max_duplicate_line_character_fraction: float = 0.2
    max_top_2gram_character_fraction: float = 0.20
    max_top_3gram_character_fraction: float = 0.18
    max_top_4gram_character_fraction: float = 0.16

    def __post_init__(self) -> None:
        for low, high in (("min_words", "max_words"), ("min_mean_word_length", "max_mean_word_length")):
            if not 0 <= getattr(self, low) <= getattr(self, high):
                raise ConfigError(
                    f"heuristics: {low} = {getattr(self, low)} and {high} = {getattr(self, high)} leave no document; "
                    f"0 <= {low} <= {high} must hold."
                )


def gopher_fault(text: str, config: GopherConfig, language: str = "en") -> str | None:
    """The first rule that the text breaks, or None."""
    if not config.enabled:
        return None
    words = text.split()
    if len(words) < config.min_words:
        return "too_few_words"
    if len(words) > config.max_words:
        return "too_many_words"
    return _word_fault(text, words, config, language) or _line_fault(text, config) or _repetition_fault(words, config)


def _word_fault(text: str, words: Sequence[str], config: GopherConfig, language: str) -> str | None:
    count = max(len(words), 1)
    mean_length = sum(map(len, words)) / count
    if not config.min_mean_word_length <= mean_length <= config.max_mean_word_length:
        return "mean_word_length"
    if text.count("#") / count > config.max_symbol_to_word_ratio:
        return "too_many_hashes"
    if (text.count("...") + text.count("…")) / count > config.max_symbol_to_word_ratio:
        return "too_many_ellipses"
    if sum(any(c.isalpha() for c in word) for word in words) / count < config.min_alphabetic_word_fraction:
        return "too_few_alphabetic_words"
    stop_words = ENGLISH_STOP_WORDS if language == "en" else FUNCTION_WORDS.get(language, [])[:8]
    if stop_words and len(_bare(words).intersection(stop_words)) < config.min_stop_words:
        return "too_few_stop_words"
    return None


def _line_fault(text: str, config: GopherConfig) -> str | None:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    count = max(len(lines), 1)
    if sum(line.startswith(BULLETS) for line in lines) / count > config.max_bullet_line_fraction:
        return "too_many_bullet_lines"
    if sum(line.endswith(("...", "…")) for line in lines) / count > config.max_ellipsis_line_fraction:
        return "too_many_ellipsis_lines"
    repeats = [line for line, times in Counter(lines).items() for _ in range(times - 1)]
    if len(repeats) / count > config.max_duplicate_line_fraction:
        return "duplicate_lines"
    if _characters(repeats) / max(_characters(lines), 1) > config.max_duplicate_line_character_fraction:
        return "duplicate_line_characters"
    return None


def _repetition_fault(words: Sequence[str], config: GopherConfig) -> str | None:
    """The most frequent n-gram of words may not make up too much of the text; one that occurs once is no repetition.

    n-grams get numbers: that of an n-gram is made from those of its first n-1 words and of its last, so sorting numbers
    counts them, five times faster than counting tuples.
    """
    total = max(_characters(words), 1)
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys(words))}
    numbers = np.fromiter((vocabulary[word] for word in words), np.int64, len(words))
    ngrams = numbers
    for n, limit in (
        (2, config.max_top_2gram_character_fraction),
        (3, config.max_top_3gram_character_fraction),
        (4, config.max_top_4gram_character_fraction),
    ):
        if len(words) < n:
            break
        pairs = ngrams[:-1] * len(vocabulary) + numbers[n - 1 :]
        _, place, ngrams, counts = np.unique(pairs, return_index=True, return_inverse=True, return_counts=True)
        top = counts.argmax()
        characters = counts[top] * _characters(words[place[top] : place[top] + n])
        if counts[top] > 1 and characters / total > limit:
            return f"top_{n}gram"
    return None


def _bare(words: Iterable[str]) -> set[str]:
    return {word.lower().strip("\"'.,;:!?()[]“”‘’") for word in set(words)}


def _characters(strings: Iterable[str]) -> int:
    return sum(map(len, strings))
