"""How much text a token holds: bytes per token of several tokenizers on the same texts.

Bytes are those of the text itself in UTF-8, never of decoded tokens, so an unknown token is not counted as the text
that it lost; `unknown_share` says which share of the tokens lost theirs.
"""

from collections.abc import Mapping, Sequence
from typing import TypedDict

from groundup.core.errors import InputError
from groundup.tokenization.tokenizer import Tokenizer, well_formed


class ComparisonRow(TypedDict):
    """One tokenizer; `unknown_share` is of its tokens."""

    name: str
    vocab_size: int
    bytes_per_token: float
    unknown_share: float
    tokens: int


def compare_tokenizers(tokenizers: Mapping[str, Tokenizer], texts: Sequence[str]) -> list[ComparisonRow]:
    """One row per tokenizer, in the given order."""
    total_bytes = sum(len(well_formed(text).encode()) for text in texts)
    if total_bytes == 0:
        raise InputError("There is no text to compare tokenizers on; give texts that are not empty.")
    rows: list[ComparisonRow] = []
    for name, tokenizer in tokenizers.items():
        tokens = unknown = 0
        for text in texts:
            ids = tokenizer.encode(text)
            tokens += len(ids)
            unknown += 0 if tokenizer.unknown_id is None else ids.count(tokenizer.unknown_id)
        rows.append(
            {
                "name": name,
                "vocab_size": tokenizer.vocab_size,
                "bytes_per_token": total_bytes / tokens,
                "unknown_share": unknown / tokens,
                "tokens": tokens,
            }
        )
    return rows
