"""Characters as tokens: one token for each character seen in training, the unknown token for every other.

A character is a Unicode code point, so what the eye takes for one (a flag, a letter with its accent) can be several.
A text is as many tokens as it has characters; in English that is hardly fewer than its bytes.
"""

from collections.abc import Iterable

from groundup.tokenization.closed_vocabulary import ClosedVocabulary
from groundup.tokenization.tokenizer import well_formed


class CharacterTokenizer(ClosedVocabulary):
    """One token per character."""

    @classmethod
    def train(cls, texts: Iterable[str]) -> "CharacterTokenizer":
        """All characters of the texts, in the order of their code points."""
        seen: set[str] = set()
        for text in texts:
            seen.update(well_formed(text))
        return cls(sorted(seen))

    def split(self, text: str) -> str:
        return text
