"""Byte-pair encoding: the tokenizer (Sennrich et al., arXiv:1508.07909, on bytes as in Radford et al. 2019).

    text -> special tokens -> pre-tokens -> UTF-8 bytes -> merges in the order they were learnt -> ids

Token ids: 0..255 are the single bytes (in byte order, or in the order of `alphabet` for vocabularies from elsewhere),
256 + i is what merge i makes, special tokens follow. So the id of a merged token is also its rank, and one dictionary
from pairs of ids to ids holds the whole vocabulary.

Within a pre-token the pair with the lowest rank is joined first, the leftmost of equal ones. A heap finds it, so a
pre-token of n bytes costs n log n and a megabyte of one letter does not hang. Pre-tokens repeat: their ids are cached.
"""

import codecs
import heapq
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import chain, pairwise
from pathlib import Path

import numpy as np

from groundup.core.config import fingerprint
from groundup.core.errors import ConfigError, InputError
from groundup.tokenization.patterns import compile_pattern, resolve_pattern, split
from groundup.tokenization.special_tokens import (
    allowed_names,
    check_special_tokens,
    special_pattern,
    split_at_specials,
)
from groundup.tokenization.tokenizer import SpecialPolicy, Tokenizer, well_formed

CACHE_PIECES = 1 << 18  # some 50 MB when full; 12 MB of English prose fill 34 thousand
CACHED_CHARACTERS = 64  # longer pre-tokens hardly ever repeat


class BytePairTokenizer(Tokenizer):
    """A trained vocabulary. Immutable but for its cache, so threads may share it."""

    def __init__(
        self,
        merges: Sequence[tuple[int, int]],
        pattern: str = "digits",
        special_tokens: Mapping[str, int] | None = None,
        alphabet: bytes = bytes(range(256)),
    ) -> None:
        """`merges[i]` are the two ids that make the id 256 + i; `pattern` is a name or a regular expression;
        `special_tokens` maps names to ids from 256 + len(merges) up; `alphabet[id]` is the byte of an id below 256."""
        self.merges = tuple(merges)
        self.pattern = resolve_pattern(pattern)
        self.special_tokens = dict(special_tokens or {})
        self.alphabet = alphabet
        self.vocabulary = _build_vocabulary(self.merges, alphabet)
        check_special_tokens(self.special_tokens)
        for name, token in self.special_tokens.items():
            if token in self.vocabulary:
                raise ConfigError(f"The special token {name!r} has the id {token}, which another token has too.")
            if token < 0:
                raise ConfigError(f"The special token {name!r} has the id {token}; ids start at 0.")
            self.vocabulary[token] = name.encode()
        self._ranks = {pair: 256 + i for i, pair in enumerate(self.merges)}
        self._id_of_byte = {byte: token for token, byte in enumerate(alphabet)}
        self._compiled = compile_pattern(self.pattern)
        self._cache = _PieceCache(self)

    @property
    def vocab_size(self) -> int:
        return max(self.vocabulary) + 1

    @cached_property
    def fingerprint(self) -> str:
        """A short hash, equal for tokenizers that give the same ids."""
        return fingerprint(list(self.merges), self.pattern, self.special_tokens, self.alphabet.hex())

    @cached_property
    def token_bytes(self) -> np.ndarray:
        """Bytes of text per token, int32 [V], 0 for special tokens: what bits per byte are divided by."""
        lengths = np.zeros(self.vocab_size, dtype=np.int32)
        for token, data in self.vocabulary.items():
            lengths[token] = len(data)
        lengths[list(self.special_tokens.values())] = 0
        return lengths

    def encode(self, text: str, *, allow_special: SpecialPolicy = False) -> list[int]:
        text = well_formed(text)
        allowed = allowed_names(allow_special, self.special_tokens, text) if self.special_tokens else frozenset()
        if not allowed:
            return self._encode_plain(text)
        ids: list[int] = []
        for plain, special in split_at_specials(special_pattern(allowed), text):
            ids += self._encode_plain(plain)
            if special is not None:
                ids.append(self.special_tokens[special])
        return ids

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        try:
            return b"".join(map(self.vocabulary.__getitem__, ids))
        except KeyError as error:
            raise InputError(
                f"The token id {error.args[0]} is not in this vocabulary, whose ids are 0 to {self.vocab_size - 1}; "
                "was it made by another tokenizer?"
            ) from None

    def save(self, directory: Path) -> Path:
        """Write `tokenizer.json` into a folder; returns its path."""
        from groundup.tokenization.tokenizer_file import write_tokenizer

        return write_tokenizer(self, directory)

    @classmethod
    def load(cls, directory: Path) -> "BytePairTokenizer":
        """Read a folder's `tokenizer.json`, or that file; a broken one is an `InputError`."""
        from groundup.tokenization.tokenizer_file import read_tokenizer

        return read_tokenizer(directory)

    def _encode_plain(self, text: str) -> list[int]:
        return list(chain.from_iterable(map(self._cache.__getitem__, split(self._compiled, text))))

    def _encode_piece(self, piece: str) -> list[int]:
        return merge([self._id_of_byte[byte] for byte in piece.encode()], self._ranks)


class _PieceCache(dict[str, list[int]]):
    """Ids by pre-token, filled when one is first looked up; starts afresh when full, so memory is bounded."""

    def __init__(self, tokenizer: BytePairTokenizer) -> None:
        super().__init__()
        self.tokenizer = tokenizer

    def __missing__(self, piece: str) -> list[int]:
        ids = self.tokenizer._encode_piece(piece)
        if len(piece) <= CACHED_CHARACTERS:
            if len(self) >= CACHE_PIECES:
                self.clear()
            self[piece] = ids
        return ids


def merge(ids: list[int], ranks: Mapping[tuple[int, int], int]) -> list[int]:
    """Join pairs of neighbours, the lowest rank first and the leftmost of equals, until none is left."""
    ids, end = list(ids), len(ids)
    before, after = list(range(-1, end - 1)), list(range(1, end + 1))
    heap = [(ranks[pair], at) for at, pair in enumerate(pairwise(ids)) if pair in ranks]
    heapq.heapify(heap)
    while heap:
        new, at = heapq.heappop(heap)
        second = after[at]
        if second == end or ranks.get((ids[at], ids[second])) != new:
            continue  # one of the two has been joined to something else since
        ids[at], ids[second] = new, -1
        after[at] = following = after[second]
        previous = before[at]
        if previous >= 0 and (rank := ranks.get((ids[previous], new))) is not None:
            heapq.heappush(heap, (rank, previous))
        if following < end:
            before[following] = at
            if (rank := ranks.get((new, ids[following]))) is not None:
                heapq.heappush(heap, (rank, at))
    return [token for token in ids if token >= 0]


def merge_reference(ids: list[int], merges: Iterable[tuple[int, int]]) -> list[int]:
    """The definition: apply each merge, in the order of learning, wherever it fits. The oracle of `merge`."""
    for rank, pair in enumerate(merges):
        at = 0
        while at < len(ids) - 1:
            if (ids[at], ids[at + 1]) == pair:
                ids = [*ids[:at], 256 + rank, *ids[at + 2 :]]
            at += 1
    return ids


class StreamDecoder:
    """Token ids to text as they come: each push returns whole characters and keeps the bytes of an unfinished one."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, ids: Iterable[int]) -> str:
        """The text that these ids complete; may be empty."""
        return self._decoder.decode(self._tokenizer.decode_bytes(ids))

    def flush(self) -> str:
        """What is left at the end: U+FFFD for an unfinished character, or nothing. The decoder starts afresh."""
        text = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return text


def _build_vocabulary(merges: Sequence[tuple[int, int]], alphabet: bytes) -> dict[int, bytes]:
    if sorted(alphabet) != list(range(256)):
        raise ConfigError("The alphabet of a byte-pair vocabulary must hold each of the 256 bytes once.")
    tokens = [bytes([byte]) for byte in alphabet]
    known = set(tokens)
    for number, (left, right) in enumerate(merges):
        if not (0 <= left < len(tokens) and 0 <= right < len(tokens)):
            raise ConfigError(f"Merge {number} joins {left} and {right}, but only ids below {len(tokens)} exist yet.")
        token = tokens[left] + tokens[right]
        if token in known:
            raise ConfigError(f"Merge {number} makes {token!r}, which is a token already.")
        known.add(token)
        tokens.append(token)
    return dict(enumerate(tokens))
