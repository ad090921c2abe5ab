"""The statistics of the heuristic rules in plain Python: what each count means, and the oracle of the compiled pass.

`statistics_of(text)` gives the fields of `statistics.DTYPE` for one text, a thousand times slower. Where a rule's words
leave room (which lines, how long, are repeats remembered), it follows datatrove's filters.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from groundup.corpus.filters.c4 import LETTERS_PER_WORD, split_sentences
from groundup.corpus.filters.characters import C4_ENDS, CLOSERS, PUNCTUATION, TERMINAL_PUNCTUATION
from groundup.corpus.filters.config import CountingConfig
from groundup.corpus.filters.repetition import DUPLICATE, TOP
from groundup.corpus.filters.statistics import C4_FIELDS, UNSPACED, stop_words

_CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")
_LOWER_ASCII = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}


def statistics_of(text: str, language: str = "en", config: CountingConfig | None = None) -> dict[str, int]:
    """Every count of one text."""
    config = config or CountingConfig()
    words = text.split()
    return {
        "bytes": len(text.encode("utf-8", "surrogatepass")),
        "characters": len(text),
        "letters": sum(map(str.isalpha, text)),
        "unspaced": language in UNSPACED,
        "newlines": text.count("\n"),
        "hashes": text.count("#"),
        "ellipses": text.count("...") + text.count("…"),
        **_of_words(words, language),
        **_of_lines(text.splitlines(), config),
        **_of_repeats(text),
        **{f"top_{n}gram_characters": _top(words, n) for n in TOP},
        **{f"duplicate_{n}gram_characters": _duplicate(words, n) for n in DUPLICATE},
        **_of_full_lines([line for line in text.split("\n") if line.strip()], config),
        **c4_lines(text, language, config)[0],
    }


def _of_words(words: Sequence[str], language: str) -> dict[str, int]:
    content = [word for word in words if not PUNCTUATION.issuperset(word)]
    known = stop_words(language)
    return {
        "words": len(words),
        "content_words": len(content),
        "content_characters": sum(map(len, content)),
        "alphabetic_words": sum(any(map(str.isalpha, word)) for word in words),
        "stop_words": len(set(words).intersection(known)) if known else -1,
    }


def _of_lines(lines: Sequence[str], config: CountingConfig) -> dict[str, int]:
    stripped = [line.strip() for line in lines]
    return {
        "lines": len(lines),
        "bullet_lines": sum(line.startswith(tuple(config.bullets)) for line in stripped),
        "ellipsis_lines": sum(line.endswith(("...", "…")) for line in stripped),
    }


def _of_repeats(text: str) -> dict[str, int]:
    parts = re.split("\n+", text) if text else []
    paragraphs = re.split("\n{2,}", text.strip())
    lines, line_characters = _repeats(parts)
    copies, copied_characters = _repeats(paragraphs)
    return {
        "line_parts": len(parts),
        "duplicate_lines": lines,
        "duplicate_line_characters": line_characters,
        "paragraphs": len(paragraphs),
        "duplicate_paragraphs": copies,
        "duplicate_paragraph_characters": copied_characters,
    }


def _of_full_lines(lines: Sequence[str], config: CountingConfig) -> dict[str, int]:
    return {
        "full_lines": len(lines),
        "punctuated_lines": sum(line[-1] in TERMINAL_PUNCTUATION for line in lines),
        "short_lines": sum(len(line) <= config.short_line_characters for line in lines),
        "duplicate_full_line_characters": _repeats(lines)[1],
    }


def _repeats(elements: Iterable[str]) -> tuple[int, int]:
    """How many elements occurred before, and their characters."""
    again = [element for element, count in Counter(elements).items() for _ in range(count - 1)]
    return len(again), sum(map(len, again))


def _top(words: Sequence[str], n: int) -> int:
    """Characters of the most frequent n-gram, over all its occurrences; of equals, the one that came first."""
    ngrams = Counter(" ".join(words[i : i + n]) for i in range(len(words) - n + 1))
    ngram, count = max(ngrams.items(), key=lambda item: item[1], default=("", 0))
    return len(ngram) * count


def _duplicate(words: Sequence[str], n: int) -> int:
    """Characters of n-grams that were met before; behind one of them the search goes on."""
    seen: set[str] = set()
    characters = place = 0
    while place + n <= len(words):
        ngram = "".join(words[place : place + n])
        if ngram in seen:
            characters += len(ngram)
            place += n
        else:
            seen.add(ngram)
            place += 1
    return characters


def c4_lines(text: str, language: str, config: CountingConfig) -> tuple[dict[str, int], str]:
    """C4's counts, and the text of the lines that stay."""
    counts: Counter[str] = Counter()
    kept: list[str] = []
    for line in map(str.strip, text.splitlines()):
        reason, line = _c4_line(line, language, config, counts)
        counts[f"c4_{reason}_lines"] += 1
        if reason == "kept":
            counts["c4_sentences"] += len(split_sentences(line))
            kept.append(line)
    return {name: counts[name] for name in C4_FIELDS}, "\n".join(kept).strip()


def _c4_line(line: str, language: str, config: CountingConfig, counts: Counter[str]) -> tuple[str, str]:
    """(why a line goes or "kept", the line without citations)."""
    words, unspaced = line.split(), language in UNSPACED
    longest = max(map(len, words), default=0)
    if 0 <= config.c4_max_word_length < longest and not unspaced:
        return "long_word", line
    if config.c4_cut_citations:
        line = _CITATION.sub("", line)
    if config.c4_end_punctuation and not _ends_well(line, language):
        return "unpunctuated", line
    number = sum(map(str.isalpha, line)) // LETTERS_PER_WORD if unspaced else len(words)
    if number < config.c4_min_words_per_line:
        return "short", line
    lower = line.translate(_LOWER_ASCII)
    counts["c4_lorem_lines"] += "lorem ipsum" in lower
    if config.c4_javascript and "javascript" in lower:
        return "javascript", line
    counts["c4_brace_lines"] += "{" in line
    if config.c4_policy and any(phrase in lower for phrase in config.c4_policy_phrases):
        return "policy", line
    return "kept", line


def _ends_well(line: str, language: str) -> bool:
    if line.endswith("..."):
        return False
    bare = line.rstrip("".join(CLOSERS))
    return line.endswith(C4_ENDS) or (language != "en" and bool(bare) and bare[-1] in TERMINAL_PUNCTUATION)
