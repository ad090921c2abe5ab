"""A closed vocabulary: a list of known pieces of text, and one unknown token for all others.

What characters and words have in common as tokens. Token 0 is the unknown token and decodes to U+FFFD, so text outside
the vocabulary is lost; that is why bytes won. There are no special tokens: `allow_special` changes nothing.
"""

from collections.abc import Iterable, Sequence

from groundup.core.errors import InputError
from groundup.tokenization.tokenizer import SpecialPolicy, Tokenizer, well_formed

UNKNOWN = "\ufffd"


class ClosedVocabulary(Tokenizer):
    """Pieces of text with an id each; a subclass says in `split` how a text is cut into pieces."""

    def __init__(self, pieces: Iterable[str]) -> None:
        self.special_tokens = {}
        self.unknown_id = 0
        self.pieces = [UNKNOWN, *(piece for piece in pieces if piece != UNKNOWN)]
        self._ids = {piece: token for token, piece in enumerate(self.pieces)}

    @property
    def vocab_size(self) -> int:
        return len(self.pieces)

    def split(self, text: str) -> Sequence[str]:
        """The pieces of a text, one for each token; they join to the text again."""
        raise NotImplementedError

    def encode(self, text: str, *, allow_special: SpecialPolicy = False) -> list[int]:
        return [self._ids.get(piece, 0) for piece in self.split(well_formed(text))]

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        ids = list(ids)
        for token in ids:
            if not 0 <= token < len(self.pieces):
                raise InputError(f"The token id {token} is not in this vocabulary of {len(self.pieces)}.")
        return "".join(self.pieces[token] for token in ids).encode()
