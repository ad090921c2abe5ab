"""Words as tokens: the most frequent words of the training text, the unknown token for every other.

Sequences are short, but everything rare is lost, whatever the size of the vocabulary: words follow Zipf's law, so new
text always brings new ones. A word is a pre-token of the GPT-2 pattern; it carries its leading space.
"""

from collections import Counter
from collections.abc import Iterable

from groundup.core.errors import ConfigError
from groundup.tokenization.closed_vocabulary import UNKNOWN, ClosedVocabulary
from groundup.tokenization.patterns import PATTERNS, compile_pattern, split
from groundup.tokenization.tokenizer import well_formed


class WordTokenizer(ClosedVocabulary):
    """One token per word."""

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int) -> "WordTokenizer":
        """The most frequent words, in alphabetical order where they are equally frequent."""
        if vocab_size < 1:
            raise ConfigError(f"The vocabulary size is {vocab_size}; it must be at least 1, the unknown token.")
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(_words(well_formed(text)))
        counts.pop(UNKNOWN, None)
        return cls(sorted(counts, key=lambda word: (-counts[word], word))[: vocab_size - 1])

    def split(self, text: str) -> list[str]:
        return _words(text)


def _words(text: str) -> list[str]:
    return split(compile_pattern(PATTERNS["gpt2"]), text)
