"""Byte-pair encoding: a vocabulary from texts. Counting is `pretoken_counts.py`, the algorithm `merge_learning.py`."""

from collections.abc import Iterable, Sequence, Sized

from groundup.core.errors import ConfigError
from groundup.core.logging import get_logger
from groundup.core.progress import progress
from groundup.tokenization.bpe import BytePairTokenizer
from groundup.tokenization.merge_learning import Pair
from groundup.tokenization.pretoken_counts import PretokenCounts
from groundup.tokenization.special_tokens import check_special_tokens
from groundup.tokenization.tokenizer import to_utf8

logger = get_logger(__name__)


def train_bpe(
    texts: Iterable[str], vocab_size: int, pattern: str = "digits", special_tokens: Sequence[str] = ()
) -> BytePairTokenizer:
    """Learn a vocabulary of `vocab_size` tokens: 256 bytes, merges, then the special tokens with the last ids.

    Text with too few pairs gives a smaller vocabulary and a warning.
    """
    check_vocab_size(vocab_size, special_tokens)
    counts = PretokenCounts(pattern, special_tokens)
    with progress("pre-tokens", len(texts) if isinstance(texts, Sized) else None) as advance:
        for text in texts:
            counts.add(to_utf8(text))
            advance()
    merges = counts.learn(vocab_size - 256 - len(special_tokens))
    return vocabulary_of(merges, vocab_size, pattern, special_tokens)


def vocabulary_of(
    merges: Sequence[Pair], vocab_size: int, pattern: str, special_tokens: Sequence[str]
) -> BytePairTokenizer:
    """The tokenizer with these merges; a warning where they are fewer than `vocab_size` asks for."""
    if 256 + len(merges) + len(special_tokens) < vocab_size:
        logger.warning(
            "The text has only %d pairs to merge, so the vocabulary has %d tokens instead of %d; "
            "give more text or ask for a smaller vocabulary.",
            len(merges),
            256 + len(merges) + len(special_tokens),
            vocab_size,
        )
    first_special = 256 + len(merges)
    return BytePairTokenizer(merges, pattern, {name: first_special + i for i, name in enumerate(special_tokens)})


def check_vocab_size(vocab_size: int, special_tokens: Sequence[str]) -> None:
    """Refuse a vocabulary without room for the bytes and the special tokens."""
    check_special_tokens(special_tokens)
    least = 256 + len(special_tokens)
    if vocab_size < least:
        raise ConfigError(
            f"The vocabulary size is {vocab_size}; it must be at least {least} "
            f"(256 bytes and {len(special_tokens)} special tokens)."
        )
