"""What a tokenizer does to text, counted document by document: how much a token holds, what it cuts, what it loses.

    bytes per token        UTF-8 bytes of the text / tokens. The byte tokenizer's is 1, so this is also the compression.
    characters per token   code points / tokens
    fertility              mean number of tokens that a word lies in, where it stands (Rust et al. 2021,
                           arXiv:2012.15613): 1 is a vocabulary that holds every word
    continued words        share of the words that lie in more than one token
    unknown share          share of the tokens that stand for text outside a closed vocabulary
    round-trip failures    documents whose tokens do not decode to the bytes of the text

A word is a maximal run of letters, marks, digits and underscores (`\\w` of the `regex` module) in a script that puts
spaces between words; Chinese, Japanese, Thai, Lao, Khmer and Burmese text has none, and no fertility. Which token holds
which byte follows from the tokens' lengths, so words are counted in context: " the" is one token for one word, and
spaces and punctuation of their own count for none.

Bytes are always those of the text, never of decoded tokens, so an unknown token does not count as the text that it
lost. All numbers but the ratios add up: a group's are the sum of its documents'.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import accumulate
from math import ceil
from typing import TypedDict

import numpy as np
import regex

from groundup.core.errors import InputError
from groundup.tokenization.closed_vocabulary import ClosedVocabulary
from groundup.tokenization.tokenizer import Tokenizer, well_formed
from groundup.tokenization.vocabulary_use import tokens_as_bytes

# Scripts without spaces between words are taken out of \w, so their text counts as no word.
WORD = regex.compile(r"(?V1)[\w--[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]]+")
EXCERPT_BYTES = 30
PERCENTILES = (5, 50, 95)


class Passage:
    """A text with what every tokenizer is measured against; the words are found when they are first asked for."""

    def __init__(self, text: str) -> None:
        self.text = well_formed(text)
        self.data = self.text.encode()

    @cached_property
    def words(self) -> np.ndarray:
        """The first and the last byte of each word, int64 [words, 2]."""
        spans = np.array([match.span() for match in WORD.finditer(self.text)], dtype=np.int64).reshape(-1, 2)
        if len(self.data) > len(self.text):  # else a character is a byte
            spans = _byte_offsets(self.text)[spans]
        return spans - (0, 1)


@dataclass
class Counts:
    """What adds up over documents; `word_tokens` sums, over the words, the tokens that each lies in."""

    documents: int = 0
    bytes: int = 0
    characters: int = 0
    tokens: int = 0
    unknown_tokens: int = 0
    words: int = 0
    word_tokens: int = 0
    continued_words: int = 0
    round_trip_failures: int = 0

    def add(self, other: "Counts") -> None:
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))

    def ratios(self) -> dict[str, float | None]:
        """The measures above; None where there is nothing to divide by."""
        return {
            "bytes_per_token": _ratio(self.bytes, self.tokens),
            "characters_per_token": _ratio(self.characters, self.tokens),
            "fertility": _ratio(self.word_tokens, self.words),
            "continued_word_share": _ratio(self.continued_words, self.words),
            "unknown_share": _ratio(self.unknown_tokens, self.tokens),
        }


@dataclass(frozen=True)
class RoundTripFailure:
    """Where the first text that did not come back differs from what its tokens decode to."""

    document: str
    at_byte: int
    text: str
    decoded: str


class Tally:
    """One tokenizer's counts over documents, by group; holds counters only, whatever the number of documents."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.groups: dict[tuple[str, ...], Counts] = {}
        self.token_counts = np.zeros(tokenizer.vocab_size, dtype=np.int64)
        self.document_lengths: Counter[int] = Counter()
        self.first_failure: RoundTripFailure | None = None
        self._token_bytes = np.array([len(data or b"") for data in tokens_as_bytes(tokenizer)], dtype=np.int64)

    def add(self, passage: Passage, document: str = "", group: tuple[str, ...] = ()) -> None:
        """Count one document, named for the report of a failure, under a group."""
        tokenizer = self.tokenizer
        ids = tokenizer.encode(passage.text)
        array = np.array(ids, dtype=np.int64)
        np.add.at(self.token_counts, array, 1)
        self.document_lengths[len(ids)] += 1
        decoded = tokenizer.decode_bytes(ids)
        failed = decoded != passage.data
        if failed and self.first_failure is None:
            self.first_failure = _first_difference(document, passage.data, decoded)
        tokens_of_words = self._tokens_of_words(passage, ids, array)
        counted = Counts(
            documents=1,
            bytes=len(passage.data),
            characters=len(passage.text),
            tokens=len(ids),
            unknown_tokens=0 if tokenizer.unknown_id is None else ids.count(tokenizer.unknown_id),
            words=len(tokens_of_words),
            word_tokens=int(tokens_of_words.sum()),
            continued_words=int((tokens_of_words > 1).sum()),
            round_trip_failures=int(failed),
        )
        self.groups.setdefault(group, Counts()).add(counted)

    def total(self) -> Counts:
        """The sum over all groups."""
        total = Counts()
        for counts in self.groups.values():
            total.add(counts)
        return total

    def document_length_percentiles(self) -> dict[str, int]:
        """Tokens of the shortest and longest document and of those between (nearest rank)."""
        lengths = sorted(self.document_lengths)
        reached = list(accumulate(self.document_lengths[length] for length in lengths))
        ranks = {f"p{percent}": ceil(percent / 100 * reached[-1]) for percent in PERCENTILES}
        found = {name: lengths[int(np.searchsorted(reached, rank))] for name, rank in ranks.items()}
        return {"min": lengths[0], **found, "max": lengths[-1]}

    def _tokens_of_words(self, passage: Passage, ids: Sequence[int], array: np.ndarray) -> np.ndarray:
        """In how many tokens each word lies, int64 [words]."""
        if isinstance(self.tokenizer, ClosedVocabulary):  # an unknown token does not know how long its text was
            lengths = np.array([len(piece.encode()) for piece in self.tokenizer.split(passage.text)], dtype=np.int64)
        else:
            lengths = self._token_bytes[array]
        if lengths.sum() != len(passage.data):  # normalised on the way: its words are those of the text it gives back
            passage = Passage(self.tokenizer.decode(ids))
        ends = lengths.cumsum()
        holding = np.searchsorted(ends, passage.words, side="right")  # the first token that ends behind a byte holds it
        return holding[:, 1] - holding[:, 0] + 1


class ComparisonRow(TypedDict):
    """One tokenizer; `unknown_share` is of its tokens."""

    name: str
    vocab_size: int
    bytes_per_token: float
    unknown_share: float
    tokens: int


def compare_tokenizers(tokenizers: Mapping[str, Tokenizer], texts: Iterable[str]) -> list[ComparisonRow]:
    """One row per tokenizer, in the given order."""
    tallies = {name: Tally(tokenizer) for name, tokenizer in tokenizers.items()}
    for text in filter(None, texts):
        passage = Passage(text)
        for tally in tallies.values():
            tally.add(passage)
    rows: list[ComparisonRow] = []
    for name, tally in tallies.items():
        counts = tally.total()
        if not counts.tokens:
            raise InputError("There is no text to compare tokenizers on; give texts that are not empty.")
        rows.append(
            {
                "name": name,
                "vocab_size": tally.tokenizer.vocab_size,
                "bytes_per_token": counts.bytes / counts.tokens,
                "unknown_share": counts.unknown_tokens / counts.tokens,
                "tokens": counts.tokens,
            }
        )
    return rows


def _byte_offsets(text: str) -> np.ndarray:
    """Where each character starts in UTF-8, and the end: int64 [characters + 1]."""
    points = np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
    sizes = 1 + (points >= 0x80).astype(np.int64) + (points >= 0x800) + (points >= 0x10000)
    return np.concatenate(([0], sizes.cumsum()))


def _first_difference(document: str, text: bytes, decoded: bytes) -> RoundTripFailure:
    pairs = enumerate(zip(text, decoded, strict=False))
    at = next((place for place, (left, right) in pairs if left != right), min(len(text), len(decoded)))
    excerpts = (data[at : at + EXCERPT_BYTES].decode("utf-8", "backslashreplace") for data in (text, decoded))
    return RoundTripFailure(document, at, *excerpts)


def _ratio(count: int, of: int) -> float | None:
    return count / of if of else None
