"""The tokenizers that byte-pair encoding replaces: bytes, characters, words. Each is the whole idea in a few lines.

    bytes        256 tokens, no unknown text, the longest sequences
    characters   one token per character seen in training; others become the unknown token
    words        the most frequent words; short sequences, and everything rare is lost

They have no special tokens, so `allow_special` changes nothing. Token 0 of the last two is the unknown token; it
decodes to U+FFFD.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from groundup.core.errors import ConfigError, InputError
from groundup.tokenization.patterns import PATTERNS, compile_pattern, split
from groundup.tokenization.tokenizer import SpecialPolicy, Tokenizer, well_formed

UNKNOWN = "\ufffd"


class ByteTokenizer(Tokenizer):
    """The UTF-8 bytes of a text."""

    def __init__(self) -> None:
        self.special_tokens = {}

    @property
    def vocab_size(self) -> int:
        return 256

    def encode(self, text: str, *, allow_special: SpecialPolicy = False) -> list[int]:
        return list(well_formed(text).encode())

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        try:
            return bytes(ids)
        except ValueError:
            raise InputError("A token id is not a byte; the ids of the byte tokenizer are 0 to 255.") from None


class _ClosedVocabulary(Tokenizer):
    """Pieces of text with an id each, and the unknown token 0 for all others."""

    def __init__(self, pieces: Sequence[str]) -> None:
        self.special_tokens = {}
        self.unknown_id = 0
        self.pieces = [UNKNOWN, *(piece for piece in pieces if piece != UNKNOWN)]
        self._ids = {piece: token for token, piece in enumerate(self.pieces)}

    @property
    def vocab_size(self) -> int:
        return len(self.pieces)

    def encode(self, text: str, *, allow_special: SpecialPolicy = False) -> list[int]:
        return [self._ids.get(piece, 0) for piece in self._split(well_formed(text))]

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        ids = list(ids)
        for token in ids:
            if not 0 <= token < len(self.pieces):
                raise InputError(f"The token id {token} is not in this vocabulary of {len(self.pieces)}.")
        return "".join(self.pieces[token] for token in ids).encode()

    def _split(self, text: str) -> Iterable[str]:
        raise NotImplementedError


class CharacterTokenizer(_ClosedVocabulary):
    """One token per character."""

    @classmethod
    def train(cls, texts: Iterable[str]) -> "CharacterTokenizer":
        return cls(sorted({character for text in texts for character in well_formed(text)}))

    def _split(self, text: str) -> str:
        return text


class WordTokenizer(_ClosedVocabulary):
    """One token per word, where a word is a pre-token of the GPT-2 pattern: it carries its leading space."""

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int) -> "WordTokenizer":
        """The most frequent words, in alphabetical order where they are equally frequent."""
        if vocab_size < 1:
            raise ConfigError(f"The vocabulary size is {vocab_size}; it must be at least 1, the unknown token.")
        pattern = compile_pattern(PATTERNS["gpt2"])
        counts = Counter(word for text in texts for word in split(pattern, well_formed(text)))
        counts.pop(UNKNOWN, None)
        return cls(sorted(counts, key=lambda word: (-counts[word], word))[: vocab_size - 1])

    def _split(self, text: str) -> list[str]:
        return split(compile_pattern(PATTERNS["gpt2"]), text)
