"""Bytes as tokens: nothing to learn, no unknown text, and the longest sequences.

The id of a token is the byte itself, so the vocabulary has 256 tokens and one token holds exactly one byte: the line
that the compression of every other tokenizer is measured from. It has no special tokens, so `allow_special` changes
nothing.
"""

from collections.abc import Iterable

from groundup.core.errors import InputError
from groundup.tokenization.tokenizer import SpecialPolicy, Tokenizer, to_utf8


class ByteTokenizer(Tokenizer):
    """The UTF-8 bytes of a text."""

    def __init__(self) -> None:
        self.special_tokens = {}

    @property
    def vocab_size(self) -> int:
        return 256

    def encode(self, text: str, *, allow_special: SpecialPolicy = False) -> list[int]:
        return list(to_utf8(text))

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        try:
            return bytes(ids)
        except ValueError:
            raise InputError("A token id is not a byte; the ids of the byte tokenizer are 0 to 255.") from None
