"""Words that mark pages nobody wants: a list that the user gives, or a short one; how many of them a text has.

    counts = count_bad_words(texts, load_words(Path("en.txt")))
    bad_word_faults(texts, BadWordsConfig())                        [(), ("bad_words",), ...]

C4 (arXiv:1910.10683, section 2.2) drops every page with a word of the "List of Dirty, Naughty, Obscene or Otherwise
Bad Words", one entry per line; such files are read as they are. An entry of one or more words counts where it stands
between characters that are not letters, digits or underscores, compared in lower case; in languages without spaces,
and for entries without any letter, wherever it stands. A pattern is built only of those entries whose first word a
text has, which is most often none; the words are found by their hashes.

The default list has thirty English terms of pornography and abuse that have no second meaning, so it drops less
and finds less than C4's four hundred, which also condemn pages on medicine, law and minorities (Dodge et al. 2021,
arXiv:2104.08758). It drops no document of the presidential addresses and no page of Debian's manuals. `max_rate` keeps
long pages with a single hit: a novel quotes, a portal repeats.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from groundup.core.errors import InputError
from groundup.core.files import require_file
from groundup.corpus.filters.config import BadWordsConfig
from groundup.corpus.filters.statistics import UNSPACED
from groundup.corpus.filters.tokens import is_word, token_hash, token_hashes, tokens

DEFAULT_WORDS = frozenset(
    """blowjob blowjobs bukkake camgirl camwhore creampie cumshot cumshots cunnilingus deepthroat dildos fellatio
    footjob gangbang handjob hentai milf milfs motherfucker motherfucking pornhub porno porn pornstar pornstars rimjob
    titfuck upskirt xvideos xhamster nigger niggers""".split()  # noqa: SIM905
)


def bad_word_faults(
    texts: Sequence[str], config: BadWordsConfig, languages: Sequence[str | None] | None = None
) -> list[tuple[str, ...]]:
    """("bad_words",) for each text above the limits, () for the others."""
    words = load_words(config.file) if config.file else DEFAULT_WORDS
    counts = count_bad_words(texts, words, languages)
    return [
        ("bad_words",) if count > config.max_count and count > config.max_rate * len(text.split()) else ()
        for text, count in zip(texts, counts, strict=True)
    ]


def load_words(path: Path) -> frozenset[str]:
    """The entries of a list, in lower case."""
    require_file(path)
    words = frozenset(line.strip().lower() for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
    if not words - {""}:
        raise InputError(f"The word list {path} is empty; it needs one word or phrase per line.")
    return words - {""}


def count_bad_words(
    texts: Sequence[str], words: Iterable[str], languages: Sequence[str | None] | None = None
) -> NDArray[np.int64]:
    """How often the entries stand in each text."""
    listed = frozenset(words)
    by_token, anywhere = _by_first_token(listed)
    hashes, offsets = token_hashes(texts)
    wanted = np.sort(np.array(list(by_token), np.uint64))
    present = np.zeros(len(hashes), bool) if not len(wanted) else _among(hashes, wanted)
    counts = np.zeros(len(texts), np.int64)
    for number, text in enumerate(texts):
        if languages and languages[number] in UNSPACED:
            found = frozenset(entry for entry in listed if entry in text.lower())
            counts[number] = len(_pattern(found, "{}").findall(text.lower())) if found else 0
            continue
        own = slice(offsets[number], offsets[number + 1])
        firsts = np.unique(hashes[own][present[own]]).tolist()
        found = frozenset(entry for first in firsts for entry in by_token[first])
        counts[number] = len(_pattern(found, r"(?<!\w)(?:{})(?!\w)").findall(text.lower())) if found else 0
        counts[number] += sum(map(text.count, anywhere))
    return counts


def _among(hashes: NDArray[np.uint64], wanted: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which hashes are among the wanted: first by their lowest 16 bits, which rules out almost all."""
    low = np.zeros(1 << 16, bool)
    low[wanted & np.uint64(0xFFFF)] = True
    present = low[hashes & np.uint64(0xFFFF)]
    present[present] = np.isin(hashes[present], wanted)
    return present


@lru_cache(maxsize=16)
def _by_first_token(listed: frozenset[str]) -> tuple[dict[int, list[str]], tuple[str, ...]]:
    """The entries by the hash of their first word, and those that have none."""
    by_token: dict[int, list[str]] = {}
    anywhere = []
    for entry in listed:
        first = next((token for token in tokens(entry) if is_word(token[0])), None)
        if first is None:
            anywhere.append(entry)
        else:
            by_token.setdefault(token_hash(first), []).append(entry)
    return by_token, tuple(anywhere)


@lru_cache(maxsize=1024)
def _pattern(entries: frozenset[str], form: str) -> re.Pattern[str]:
    """Longer entries first, so that a phrase counts once and not as its first word."""
    ordered = sorted(entries, key=lambda entry: (-len(entry), entry))
    return re.compile(form.format("|".join(map(re.escape, ordered))))
