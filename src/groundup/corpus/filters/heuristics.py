"""Rules on the look of a text: Gopher's, C4's and FineWeb's, measured in one pass and judged from the numbers.

    statistics = measure(texts)          one record of counts per document (`statistics.py`)
    judge(statistics, config)            every rule that each document breaks; no text is needed
    faults(texts, config)                both

Sources: Gopher, arXiv:2112.11446, appendix A1.1 and table A1; C4, arXiv:1910.10683, section 2.2; FineWeb,
arXiv:2406.17557, section 3. A word is what stands between white space. On the same words the decisions are those of
datatrove's filters, document by document; datatrove itself asks a tokenizer for words, which makes punctuation words of
its own. A rule's name begins with its family.

Every threshold is a field of the configs (`config.py`), so another one is tried on the statistics, without the text. In
other languages than English Gopher's stop words are those of the language, and without a list of them the rule does not
apply. In languages written without spaces (`statistics.UNSPACED`) a word is taken to be two letters, and the rules on
the length of words, on stop words and on n-grams of words do not apply. C4's phrases are English.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from groundup.corpus.filters.c4 import LETTERS_PER_WORD
from groundup.corpus.filters.config import FAMILIES, C4Config, FineWebConfig, GopherConfig, HeuristicsConfig
from groundup.corpus.filters.repetition import DUPLICATE, TOP
from groundup.corpus.filters.statistics import Statistics, measure

Mask = NDArray[np.bool_]
Values = NDArray[np.float64]


def faults(
    texts: Sequence[str], config: HeuristicsConfig | None = None, languages: Sequence[str | None] | None = None
) -> list[tuple[str, ...]]:
    """For each text every rule that it breaks, in the order of the families and of the rules in them."""
    config = config or HeuristicsConfig()
    if not config.enabled:
        return [()] * len(texts)
    return judge(measure(texts, languages, config.counting), config)


def judge(statistics: Statistics, config: HeuristicsConfig) -> list[tuple[str, ...]]:
    """As `faults`, from the statistics alone."""
    masks = fault_masks(statistics, config)
    broken: list[list[str]] = [[] for _ in statistics]
    for name, mask in masks.items():
        for document in np.flatnonzero(mask):
            broken[document].append(name)
    return [tuple(names) for names in broken]


def fault_masks(statistics: Statistics, config: HeuristicsConfig) -> dict[str, Mask]:
    """For each rule, by name, which documents break it."""
    rules = {
        "gopher": lambda: (*_gopher(statistics, config.gopher), *_repetition(statistics, config.gopher)),
        "c4": lambda: _c4(statistics, config.c4),
        "fineweb": lambda: _fineweb(statistics, config.fineweb),
    }
    families = config.families if config.enabled else ()
    return {f"{family}_{name}": mask for family in FAMILIES if family in families for name, mask in rules[family]()}


def _gopher(s: Statistics, config: GopherConfig) -> Iterator[tuple[str, Mask]]:
    spaced = s["unspaced"] == 0
    words, content = _words(s), np.where(spaced, s["content_words"], _words(s))
    length = _share(s["content_characters"], s["content_words"])
    yield "too_few_words", content < config.min_words
    yield "too_many_words", content > config.max_words
    yield "short_words", spaced & (length < config.min_mean_word_length)
    yield "long_words", spaced & (length > config.max_mean_word_length)
    yield "hashes", _share(s["hashes"], words) > config.max_symbol_to_word_ratio
    yield "ellipses", _share(s["ellipses"], words) > config.max_symbol_to_word_ratio
    yield "bullet_lines", _share(s["bullet_lines"], s["lines"]) > config.max_bullet_line_fraction
    yield "ellipsis_lines", _share(s["ellipsis_lines"], s["lines"]) > config.max_ellipsis_line_fraction
    alphabetic = _share(s["alphabetic_words"], s["words"])
    yield "too_few_alphabetic_words", alphabetic < config.min_alphabetic_word_fraction
    yield "too_few_stop_words", spaced & (s["stop_words"] >= 0) & (s["stop_words"] < config.min_stop_words)


def _repetition(s: Statistics, config: GopherConfig) -> Iterator[tuple[str, Mask]]:
    characters, spaced = s["characters"], s["unspaced"] == 0
    paragraphs = _share(s["duplicate_paragraphs"], s["paragraphs"])
    yield "duplicate_paragraphs", paragraphs > config.max_duplicate_paragraph_fraction
    paragraphs = _share(s["duplicate_paragraph_characters"], characters)
    yield "duplicate_paragraph_characters", paragraphs > config.max_duplicate_paragraph_character_fraction
    lines = _share(s["duplicate_lines"], s["line_parts"])
    yield "duplicate_lines", lines > config.max_duplicate_line_fraction
    lines = _share(s["duplicate_line_characters"], characters)
    yield "duplicate_line_characters", lines > config.max_duplicate_line_character_fraction
    for n, limit in zip(TOP, config.max_top_ngram_character_fraction, strict=True):
        yield f"top_{n}gram", spaced & (_share(s[f"top_{n}gram_characters"], characters) > limit)
    for n, limit in zip(DUPLICATE, config.max_duplicate_ngram_character_fraction, strict=True):
        yield f"duplicate_{n}grams", spaced & (_share(s[f"duplicate_{n}gram_characters"], characters) > limit)


def _c4(s: Statistics, config: C4Config) -> Iterator[tuple[str, Mask]]:
    yield "lorem_ipsum", (s["c4_lorem_lines"] > 0) & config.forbid_lorem_ipsum
    yield "curly_brace", (s["c4_brace_lines"] > 0) & config.forbid_curly_brace
    yield "too_few_sentences", s["c4_sentences"] < config.min_sentences


def _fineweb(s: Statistics, config: FineWebConfig) -> Iterator[tuple[str, Mask]]:
    full = s["full_lines"]
    yield "empty", full == 0
    yield "unpunctuated_lines", (full > 0) & (_share(s["punctuated_lines"], full) < config.min_punctuated_line_fraction)
    yield "short_lines", _share(s["short_lines"], full) > config.max_short_line_fraction
    duplicates = _share(s["duplicate_full_line_characters"], s["characters"] - s["newlines"])
    yield "duplicate_characters", duplicates > config.max_duplicate_character_fraction
    yield "newlines", (full > 0) & (_share(s["newlines"], _words(s)) > config.max_newlines_per_word)


def _words(s: Statistics) -> Values:
    return np.where(s["unspaced"] == 0, s["words"], s["letters"] / LETTERS_PER_WORD)


def _share(part: NDArray[np.int64], whole: Values | NDArray[np.int64]) -> Values:
    """part / whole, 0 of nothing; with numbers this small the quotient is Python's, to the last bit."""
    return part / np.maximum(whole, 1)
