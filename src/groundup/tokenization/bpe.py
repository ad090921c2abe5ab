"""Byte-pair encoding: the tokenizer (Sennrich et al., arXiv:1508.07909, on bytes as in Radford et al. 2019).

    text -> special tokens -> pre-tokens -> UTF-8 bytes -> merges in the order they were learnt -> ids

Tokens have numbers: 0..255 are the bytes, 256 + i is what merge i makes. So the number of a merged token is also its
rank, and one dictionary from pairs of numbers to numbers holds the whole vocabulary. What callers see are ids: the same
numbers, with special tokens after them, unless the vocabulary comes from elsewhere and has `ids` of its own (GPT-2
lists the bytes in another order, other files start with their special tokens or have gaps).

Within a pre-token the pair with the lowest rank is joined first, the leftmost of equal ones. A heap finds it, so a
pre-token of n bytes costs n log n and a megabyte of one letter does not hang. Pre-tokens repeat: their ids are cached.

With dropout each possible merge is passed over with some probability, again at every step (Provilkov et al.,
arXiv:1910.13267, algorithm 1): the same text is cut in other ways, a regularisation of training.
"""

import heapq
import math
import random
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from groundup.core.config import fingerprint
from groundup.core.errors import ConfigError, InputError
from groundup.core.files import require_file
from groundup.core.seeds import rng
from groundup.tokenization.acceleration import compiled_encoder, pays
from groundup.tokenization.cutting import Cut, even_cuts, text_cut
from groundup.tokenization.patterns import compile_pattern, resolve_pattern, split
from groundup.tokenization.special_tokens import (
    allowed_names,
    check_special_tokens,
    special_pattern,
    split_at_specials,
)
from groundup.tokenization.tokenizer import SpecialPolicy, Tokenizer, to_utf8, well_formed

if TYPE_CHECKING:
    from groundup.tokenization.compiled.decoding import CompiledDecoder
    from groundup.tokenization.compiled.encoder import CompiledEncoder

Pair = tuple[int, int]
Normalization = Literal["NFC", "NFD", "NFKC", "NFKD"]
NORMALIZATIONS = ("NFC", "NFD", "NFKC", "NFKD")
CACHE_PIECES = 1 << 18  # some 50 MB when full; 12 MB of English prose fill 34 thousand
MAX_ID = 1 << 24  # tables by id must fit into memory; the largest published vocabularies have some 2^18 ids
CACHED_CHARACTERS = 64  # longer pre-tokens hardly ever repeat
LONG_ROW = 256  # ids for which the decoding kernel pays once it is loaded
IDS_WORTH_ONE_BYTE = 2  # Python decodes an id in half the time or less in which it encodes a byte


class BytePairTokenizer(Tokenizer):
    """A trained vocabulary. Immutable but for its cache, so threads may share it."""

    def __init__(
        self,
        merges: Sequence[Pair],
        pattern: str = "digits",
        special_tokens: Mapping[str, int] | None = None,
        ids: Sequence[int] | None = None,
        *,
        whole_pieces: Mapping[bytes, int] | None = None,
        normalization: Normalization | None = None,
    ) -> None:
        """`merges[i]` are the numbers of the two tokens that make the token 256 + i; `pattern` is a name or a regular
        expression; `special_tokens` maps names to ids; `ids[number]` is the id of a token, None where both are equal.

        `whole_pieces` maps tokens that no merge makes to their ids: a pre-token that is one of them becomes it.
        `normalization` is a Unicode form into which text is brought before it is cut; text in another form then does
        not come back byte for byte.
        """
        self.merges = tuple((int(left), int(right)) for left, right in merges)  # numpy's integers too
        self.pattern = resolve_pattern(pattern)
        self.special_tokens = dict(special_tokens or {})
        self.whole_pieces = dict(whole_pieces or {})
        self.normalization: Normalization | None = _check_normalization(normalization)
        tokens = _spell_tokens(self.merges)
        self.ids = None if ids is None or list(ids) == list(range(len(tokens))) else tuple(map(int, ids))
        self.vocabulary = _build_vocabulary(tokens, self.ids, self.whole_pieces)
        check_special_tokens(self.special_tokens)
        _add_tokens(self.vocabulary, self.special_tokens.items())
        self._ranks = {pair: 256 + i for i, pair in enumerate(self.merges)}
        self._compiled_pattern = compile_pattern(self.pattern)
        self._cache = _PieceCache(self)
        self._kernels: CompiledEncoder | None = None
        self._seen_text: float = 0

    def __getstate__(self) -> dict[str, Any]:
        """For copies and other processes: without the kernels, whose tables are addresses in this one."""
        return {**self.__dict__, "_kernels": None}

    @property
    def vocab_size(self) -> int:
        return max(self.vocabulary) + 1

    @property
    def is_bytes(self) -> bool:
        """Whether ids below 256 are the bytes and all others special tokens."""
        return not (self.merges or self.whole_pieces or self.ids)

    @cached_property
    def fingerprint(self) -> str:
        """A short hash, equal for tokenizers that give the same ids."""
        whole_pieces = {piece.hex(): token for piece, token in self.whole_pieces.items()}
        merges, ids = str(self.merges), str(self.ids)  # as text: ten times faster for the largest vocabularies
        return fingerprint(merges, self.pattern, self.special_tokens, ids, whole_pieces, self.normalization)

    @cached_property
    def token_bytes(self) -> np.ndarray:
        """Bytes of text per token, int32 [V], 0 for special tokens: what bits per byte are divided by."""
        lengths = np.zeros(self.vocab_size, dtype=np.int32)
        for token, data in self.vocabulary.items():
            lengths[token] = len(data)
        lengths[list(self.special_tokens.values())] = 0
        return lengths

    def encode(
        self, text: str, *, allow_special: SpecialPolicy = False, dropout: float = 0.0, seed: int = 0
    ) -> list[int]:
        """Token ids of a text; with `dropout`, one of many ways to cut it, chosen by the seed (1: only bytes)."""
        if self._kernels is not None and allow_special is False and not dropout and self.normalization is None:
            return self._kernels.encode_list(text)
        text = well_formed(text)
        if not 0 <= dropout <= 1:
            raise ConfigError(f"The dropout of merges is {dropout}; it is a probability from 0 to 1.")
        generator = rng("merge dropout", seed) if dropout else None
        ids: list[int] = []
        for plain, special in self._split_at_specials(text, allow_special):
            ids += self._encode_plain(plain, dropout, generator)
            if special is not None:
                ids.append(self.special_tokens[special])
        return ids

    def encode_array(
        self, text: str | bytes, *, allow_special: SpecialPolicy = False, threads: int = 1
    ) -> npt.NDArray[np.uint32]:
        """Token ids as an array, uint32 [T]; bytes that are not UTF-8 become U+FFFD."""
        kernels = self._kernels_for(len(text))
        if isinstance(text, str):
            data = to_utf8(text)
        else:
            data = bytes(text)
            if not (data.isascii() or (kernels is not None and kernels.is_utf8(data))):
                data = data.decode("utf-8", "replace").encode()
        if kernels is not None and not (allow_special or self.normalization):
            return self._encode_bytes(data, threads)
        ids = [np.empty(0, np.uint32)]
        for plain, special in self._split_at_specials(data.decode(), allow_special):
            if kernels is None:
                ids.append(np.array(self._encode_plain(plain, 0.0, None), dtype=np.uint32))
            else:
                ids.append(self._encode_bytes(self._normalize(plain).encode(), threads))
            if special is not None:
                ids.append(np.array([self.special_tokens[special]], dtype=np.uint32))
        return np.concatenate(ids)

    def encode_file(
        self, path: Path, *, allow_special: SpecialPolicy = False, threads: int = 1
    ) -> npt.NDArray[np.uint32]:
        """As `encode_array` of a file's bytes."""
        kernels = self._kernels_for(require_file(path).stat().st_size)
        if kernels is not None and not (allow_special or self.normalization):
            ids = kernels.encode_file(path, text_cut(self.pattern), threads)
            if ids is not None:
                return ids
        return self.encode_array(path.read_bytes(), allow_special=allow_special, threads=threads)

    def encode_batch(
        self, texts: Iterable[str], *, allow_special: SpecialPolicy = False, threads: int = 1
    ) -> list[list[int]]:
        """`encode` of each text; several threads pay for long texts."""
        if threads == 1:
            return [self.encode(text, allow_special=allow_special) for text in texts]
        with ThreadPoolExecutor(threads) as pool:
            return [
                ids.tolist() for ids in pool.map(lambda t: self.encode_array(t, allow_special=allow_special), texts)
            ]

    def encode_iterable(self, parts: Iterable[str], *, allow_special: SpecialPolicy = False) -> Iterator[int]:
        """The ids of a text that comes in parts, as they are certain; memory does not follow the length of the text."""
        from groundup.tokenization.streaming import encode_parts

        return encode_parts(self, parts, allow_special)

    def text_cut(self) -> Cut:
        """What finds where a text may be cut without changing its tokens, special ones included."""
        return text_cut(self.pattern, self.special_tokens, self.normalization is not None)

    def compile(self) -> bool:
        """Load the compiled kernels now rather than when enough text has come; False where a pattern of the user's own
        needs the `regex` module."""
        if self._kernels is None:
            self._kernels = compiled_encoder(self)
        return self._kernels is not None

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The exact bytes of the tokens; a long list or NumPy array goes through the compiled kernels."""
        try:
            if isinstance(ids, (list, np.ndarray)):
                pay = self._kernels is not None or pays(len(ids) / IDS_WORTH_ONE_BYTE, "decode_ids")
                if len(ids) >= LONG_ROW and pay and (data := self._decoder.decode(ids)) is not None:
                    return data
                ids = ids if isinstance(ids, list) else ids.tolist()
            return b"".join(map(self.vocabulary.__getitem__, ids))
        except KeyError as error:
            raise InputError(
                f"The token id {error.args[0]} is not in this vocabulary, whose ids are 0 to {self.vocab_size - 1}; "
                "was it made by another tokenizer?"
            ) from None

    @cached_property
    def _decoder(self) -> "CompiledDecoder":
        from groundup.tokenization.compiled.decoding import CompiledDecoder

        return CompiledDecoder(self.vocabulary)

    def save(self, directory: Path) -> Path:
        """Write `tokenizer.json` into a folder; returns its path."""
        from groundup.tokenization.tokenizer_file import write_tokenizer

        return write_tokenizer(self, directory)

    @classmethod
    def load(cls, directory: Path) -> "BytePairTokenizer":
        """Read a folder's `tokenizer.json`, or that file; a broken one is an `InputError`."""
        from groundup.tokenization.tokenizer_file import read_tokenizer

        return read_tokenizer(directory)

    def _split_at_specials(self, text: str, allow_special: SpecialPolicy) -> Iterable[tuple[str, str | None]]:
        allowed = allowed_names(allow_special, self.special_tokens, text) if self.special_tokens else frozenset()
        return split_at_specials(special_pattern(allowed), text) if allowed else [(text, None)]

    def _encode_plain(self, text: str, dropout: float, generator: random.Random | None) -> list[int]:
        text = self._normalize(text)
        if generator is not None:
            return [
                token
                for piece in split(self._compiled_pattern, text)
                for token in self._to_ids(merge(list(piece.encode()), self._ranks, dropout, generator))
            ]
        kernels = self._kernels_for(len(text))
        if kernels is not None:
            return kernels.encode_list(text)
        return list(chain.from_iterable(map(self._cache.__getitem__, split(self._compiled_pattern, text))))

    def _kernels_for(self, size: int) -> "CompiledEncoder | None":
        """The kernels, if they are loaded or enough text has come to load them."""
        self._seen_text += size
        if self._kernels is None and pays(self._seen_text, "encode_text") and not self.compile():
            self._seen_text = -math.inf  # never again
        return self._kernels

    def _encode_bytes(self, data: bytes, threads: int) -> npt.NDArray[np.uint32]:
        assert self._kernels is not None
        places = [0, len(data)] if threads == 1 else even_cuts(data, threads, text_cut(self.pattern))
        return self._kernels.encode(data, places)

    def _normalize(self, text: str) -> str:
        return text if self.normalization is None else unicodedata.normalize(self.normalization, text)

    def _encode_piece(self, piece: str) -> list[int]:
        data = piece.encode()
        if data in self.whole_pieces:
            return [self.whole_pieces[data]]
        return self._to_ids(merge(list(data), self._ranks))

    def _to_ids(self, numbers: list[int]) -> list[int]:
        return numbers if self.ids is None else [self.ids[number] for number in numbers]


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


def merge(
    ids: list[int], ranks: Mapping[Pair, int], dropout: float = 0.0, generator: random.Random | None = None
) -> list[int]:
    """Join pairs of neighbours, the lowest rank first and the leftmost of equals, until none is left.

    With a generator each pair is passed over with the probability `dropout`, and gets another chance after each join.
    """
    ids, end = list(ids), len(ids)
    before, after = list(range(-1, end - 1)), list(range(1, end + 1))
    heap = [(ranks[pair], at) for at, pair in enumerate(pairwise(ids)) if pair in ranks]
    passed_over: list[Pair] = []
    heapq.heapify(heap)
    while heap:
        new, at = heapq.heappop(heap)
        second = after[at]
        if second == end or ranks.get((ids[at], ids[second])) != new:
            continue  # one of the two has been joined to something else since
        if generator is not None and generator.random() < dropout:
            passed_over.append((new, at))
            continue
        ids[at], ids[second] = new, -1
        after[at] = following = after[second]
        previous = before[at]
        while passed_over:
            heapq.heappush(heap, passed_over.pop())
        if previous >= 0 and (rank := ranks.get((ids[previous], new))) is not None:
            heapq.heappush(heap, (rank, previous))
        if following < end:
            before[following] = at
            if (rank := ranks.get((new, ids[following]))) is not None:
                heapq.heappush(heap, (rank, at))
    return [token for token in ids if token >= 0]


def _spell_tokens(merges: Sequence[Pair]) -> list[bytes]:
    """The bytes of each token by number. A merge may use a token that a later merge makes: Llama 3 has such ones."""
    tokens = [bytes([byte]) for byte in range(256)] + [b""] * len(merges)
    for number, (left, right) in enumerate(merges, 256):
        if not (0 <= left < len(tokens) and 0 <= right < len(tokens)):
            raise ConfigError(
                f"Merge {number - 256} joins {left} and {right}, but the tokens are 0 to {len(tokens) - 1}."
            )
        first, second = tokens[left], tokens[right]
        if first and second:
            tokens[number] = first + second
    for number in (number for number, token in enumerate(tokens) if not token):
        _spell_backwards(number, tokens, merges)
    if len(set(tokens)) < len(tokens):
        known: set[bytes] = set()
        for number, token in enumerate(tokens, -256):
            if token in known:
                raise ConfigError(f"Merge {number} makes {token!r}, which is a token already.")
            known.add(token)
    return tokens


def _spell_backwards(number: int, tokens: list[bytes], merges: Sequence[Pair]) -> None:
    """Fill in a token whose parts come later, its parts first."""
    waiting = [number]
    while waiting:
        left, right = merges[waiting[-1] - 256]
        unknown = [part for part in (left, right) if not tokens[part]]
        if unknown:
            waiting.append(unknown[0])
            if len(waiting) > len(merges):
                raise ConfigError(f"Merge {number - 256} joins {left} and {right}, of which one is made of itself.")
        else:
            tokens[waiting.pop()] = tokens[left] + tokens[right]


def _build_vocabulary(
    tokens: Sequence[bytes], ids: Sequence[int] | None, whole_pieces: Mapping[bytes, int]
) -> dict[int, bytes]:
    """Bytes by id, of all but the special tokens."""
    if ids is not None and len(ids) != len(tokens):
        raise ConfigError(f"There are {len(ids)} ids for {len(tokens)} tokens (256 bytes and the merges).")
    merged = set(tokens)
    for piece in whole_pieces:
        if not piece or piece in merged:
            raise ConfigError(f"The whole piece {piece!r} is {'a token already' if piece else 'empty'}; leave it out.")
    vocabulary = dict(enumerate(tokens)) if ids is None else dict(zip(ids, tokens, strict=True))
    if len(vocabulary) < len(tokens) or min(vocabulary) < 0 or max(vocabulary) >= MAX_ID:
        vocabulary.clear()  # say which one is at fault
        _add_tokens(vocabulary, zip(tokens, range(len(tokens)) if ids is None else ids, strict=True))
    _add_tokens(vocabulary, whole_pieces.items())
    return vocabulary


def _add_tokens(vocabulary: dict[int, bytes], tokens: Iterable[tuple[bytes | str, int]]) -> None:
    """Enter tokens (special ones are strings) into a vocabulary whose ids must stay unique."""
    for name, token in tokens:
        kind = "special token" if isinstance(name, str) else "token"
        if not 0 <= token < MAX_ID:
            raise ConfigError(f"The {kind} {name!r} has the id {token}; ids are 0 to {MAX_ID - 1}.")
        if token in vocabulary:
            raise ConfigError(f"The {kind} {name!r} has the id {token}, which another token has too.")
        vocabulary[token] = name.encode() if isinstance(name, str) else name


def _check_normalization(name: Normalization | None) -> Normalization | None:
    if name is not None and name not in NORMALIZATIONS:
        raise ConfigError(f"The normalization is {name!r}; it must be {', '.join(NORMALIZATIONS)} or nothing (None).")
    return name
