"""tiktoken's rank files: `NAME.tiktoken`, lines of `base64(token) rank`, where the rank is also the id.

The merges are not written down (`merge_recovery` finds them), nor are the pre-token pattern and the special tokens. For
the published files both follow from the name; any other file needs a pattern, or is read with GPT-2's.
"""

import base64
import binascii
from pathlib import Path
from typing import NamedTuple

from groundup.core.errors import ConfigError, InputError
from groundup.core.files import require_file, write_bytes
from groundup.core.logging import get_logger
from groundup.tokenization.bpe import BytePairTokenizer
from groundup.tokenization.merge_recovery import merges_of_ranks

SUFFIX = ".tiktoken"
logger = get_logger(__name__)


class Published(NamedTuple):
    """What a published rank file is used with."""

    pattern: str
    special_tokens: dict[str, int]


PUBLISHED = {
    "gpt2": Published("gpt2", {"<|endoftext|>": 50256}),
    "r50k_base": Published("gpt2", {"<|endoftext|>": 50256}),
    "p50k_base": Published("gpt2", {"<|endoftext|>": 50256}),
    "cl100k_base": Published(
        "cl100k",
        {
            "<|endoftext|>": 100257,
            "<|fim_prefix|>": 100258,
            "<|fim_middle|>": 100259,
            "<|fim_suffix|>": 100260,
            "<|endofprompt|>": 100276,
        },
    ),
    "o200k_base": Published("o200k", {"<|endoftext|>": 199999, "<|endofprompt|>": 200018}),
}


def read_rank_file(path: Path, pattern: str | None = None) -> BytePairTokenizer:
    """The tokenizer of a rank file; `pattern` is needed where the file's name is none of the published ones."""
    ranks = _read_ranks(path)
    published = PUBLISHED.get(path.stem, Published("gpt2", {}))
    if pattern is None and path.stem not in PUBLISHED:
        logger.info("%s does not name its pre-token pattern; GPT-2's is used, so counts are not the original's.", path)
    missing = [byte for byte in range(256) if bytes([byte]) not in ranks]
    if missing:
        raise InputError(f"{path} is not a byte-pair vocabulary: it has no token for the byte 0x{missing[0]:02x}.")
    merges, made, unmade = merges_of_ranks({token: rank for token, rank in ranks.items() if len(token) > 1})
    try:
        return BytePairTokenizer(
            merges,
            pattern or published.pattern,
            published.special_tokens,
            [ranks[token] for token in [*(bytes([byte]) for byte in range(256)), *made]],
            whole_pieces={token: ranks[token] for token in unmade},
        )
    except ConfigError as error:
        raise InputError(f"{path} is not a byte-pair vocabulary: {str(error).rstrip('.')}.") from error


def write_rank_file(tokenizer: BytePairTokenizer, path: Path) -> Path:
    """Write the ranks for tiktoken; a `ConfigError` where tiktoken would give other ids. Returns the path."""
    if path.suffix != SUFFIX:
        raise ConfigError(f"{path} does not end in {SUFFIX}; tiktoken's rank files do.")
    if tokenizer.normalization is not None:
        raise ConfigError(
            f"This tokenizer brings text into the form {tokenizer.normalization} first, and tiktoken cannot; write it "
            "for Hugging Face."
        )
    special = set(tokenizer.special_tokens.values())
    ranks = {token: rank for rank, token in sorted(tokenizer.vocabulary.items()) if rank not in special}
    found = merges_of_ranks({token: rank for token, rank in ranks.items() if len(token) > 1})
    if found.merges != list(tokenizer.merges) or set(found.unmade) != set(tokenizer.whole_pieces):
        raise ConfigError(
            "A rank file cannot hold this tokenizer: there the ids say which merge goes first, and here they do not "
            "(or a merge never joins anything). Write it for Hugging Face."
        )
    lines = [base64.b64encode(token) + b" %d\n" % rank for token, rank in ranks.items()]
    write_bytes(path, b"".join(lines))
    return path


def _read_ranks(path: Path) -> dict[bytes, int]:
    require_file(path)
    ranks: dict[bytes, int] = {}
    lines = path.read_bytes().splitlines()
    for number, line in enumerate(lines, 1):
        try:
            encoded, rank = line.split()
            token = binascii.a2b_base64(encoded, strict_mode=True)
            if token in ranks or not token:
                raise InputError(f"{path} line {number} has a token that is {'there already' if token else 'empty'}.")
            ranks[token] = int(rank)
        except (ValueError, binascii.Error) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{path} line {number} is not `base64(token) rank`.") from None
    return ranks
