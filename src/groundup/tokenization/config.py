"""What a tokenizer run is asked for."""

from dataclasses import dataclass

from groundup.tokenization.bpe_training import check_vocab_size
from groundup.tokenization.chat import SPECIAL_TOKENS
from groundup.tokenization.patterns import resolve_pattern


@dataclass(frozen=True)
class TokenizerConfig:
    """`vocab_size` counts the 256 bytes, the merges and the special tokens; `pattern` is a name in `PATTERNS` or a
    regular expression; `compare` are vocabulary files to measure beside the trained one; `column` is where records have
    their text."""

    vocab_size: int = 4096
    pattern: str = "digits"
    special_tokens: tuple[str, ...] = SPECIAL_TOKENS
    compare: tuple[str, ...] = ()
    column: str = "text"

    def __post_init__(self) -> None:
        check_vocab_size(self.vocab_size, self.special_tokens)
        resolve_pattern(self.pattern)
