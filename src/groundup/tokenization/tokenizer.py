"""What every tokenizer offers: text to token ids and back, exactly.

A tokenizer subclasses this protocol, implements three methods and inherits the other two. Ids are plain integers in
[0, vocab_size). `decode_bytes` is the truth; `decode` turns those bytes into text, and bytes that are not UTF-8 (a
character cut in half) become U+FFFD.

Text that no UTF-8 can hold, a lone surrogate, is encoded as U+FFFD too, as tiktoken does.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Literal, Protocol

SpecialPolicy = bool | Literal["error"] | Collection[str]
"""How special tokens inside a text are read: False, as plain text; True, as special tokens; a set of names, only
those as special tokens; "error", a text that holds one is refused."""


class Tokenizer(Protocol):
    """`special_tokens` maps names such as `<|endoftext|>` to ids; `unknown_id` is what text outside a closed vocabulary
    becomes, None where there is no such text."""

    special_tokens: Mapping[str, int]
    unknown_id: int | None = None

    @property
    def vocab_size(self) -> int:
        """One more than the largest id."""
        ...

    def encode(self, text: str, *, allow_special: SpecialPolicy = False) -> list[int]:
        """Token ids of a text; without special tokens in it unless they are allowed."""
        ...

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The exact bytes of the tokens; an id outside the vocabulary is an `InputError`."""
        ...

    def encode_batch(self, texts: Iterable[str], *, allow_special: SpecialPolicy = False) -> list[list[int]]:
        """`encode` of each text."""
        return [self.encode(text, allow_special=allow_special) for text in texts]

    def decode(self, ids: Iterable[int], errors: str = "replace") -> str:
        """The text of the tokens; `errors` is that of `bytes.decode`."""
        return self.decode_bytes(ids).decode("utf-8", errors)


def well_formed(text: str) -> str:
    """The text with pairs of surrogates joined and lone ones replaced by U+FFFD; other text comes back as it is."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def to_utf8(text: str) -> bytes:
    """The UTF-8 of the well-formed text."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return well_formed(text).encode()
