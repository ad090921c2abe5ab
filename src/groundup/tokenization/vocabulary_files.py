"""Vocabularies from elsewhere, to compare with or to use: our own, GPT-2's two files, tiktoken's rank files.

    a folder with tokenizer.json           ours
    a folder with vocab.json, merges.txt   GPT-2: printable bytes; merge i makes the id 256 + i
    NAME.tiktoken                          lines of `base64(token) rank`; the merges are not written down

The merge behind a ranked token is found by encoding its bytes with the tokens of lower rank: two parts are left, and
those are what the merge joined. Neither foreign format names its pre-token pattern; both are read with GPT-2's.
"""

import base64
import binascii
from pathlib import Path

from groundup.core.errors import ConfigError, InputError, MissingError
from groundup.core.files import read_json, require_file
from groundup.core.logging import get_logger
from groundup.tokenization.bpe import BytePairTokenizer, merge
from groundup.tokenization.printable_bytes import from_printable
from groundup.tokenization.tokenizer_file import FILE_NAME, merges_of_text, read_tokenizer

GPT2_RANK_FILES = {"gpt2", "r50k_base", "p50k_base"}
logger = get_logger(__name__)


def load_vocabulary(path: Path) -> BytePairTokenizer:
    """A tokenizer from any of the forms above; `MissingError` or `InputError` where there is none."""
    if path.suffix == ".tiktoken":
        return _read_rank_file(path)
    if (path / "vocab.json").exists() and (path / "merges.txt").exists():
        return _read_gpt2(path)
    if path.is_dir() and not (path / FILE_NAME).exists():
        raise MissingError(
            f"There is no vocabulary in {path}; it needs a {FILE_NAME}, or a vocab.json with a merges.txt."
        )
    return read_tokenizer(path)


def _read_gpt2(directory: Path) -> BytePairTokenizer:
    vocabulary = read_json(directory / "vocab.json")
    try:
        lines = (directory / "merges.txt").read_text(encoding="utf-8").splitlines()
        lines = [line for line in lines if line and not line.startswith("#version")]
        names = {token: name for name, token in vocabulary.items()}
        alphabet = b"".join(from_printable(names[token]) for token in range(256))
        merges = merges_of_text(lines, alphabet)
        for number, line in enumerate(lines):
            if names[256 + number] != line.replace(" ", ""):
                raise ValueError(f"the token {256 + number} is {names[256 + number]!r}, but merge {number} is {line!r}")
        special_tokens = {name: token for token, name in names.items() if token >= 256 + len(merges)}
        return BytePairTokenizer(merges, "gpt2", special_tokens, alphabet)
    except KeyError as error:
        raise InputError(f"{directory / 'vocab.json'} has no token with the id {error.args[0]}.") from error
    except (ValueError, AttributeError, TypeError) as error:
        raise InputError(f"{directory} is not a GPT-2 vocabulary: {str(error).rstrip('.')}.") from error


def _read_rank_file(path: Path) -> BytePairTokenizer:
    require_file(path)
    tokens: list[bytes] = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            encoded, rank = line.split()
            tokens.append(base64.b64decode(encoded, validate=True))
            in_order = int(rank) == len(tokens) - 1
        except (ValueError, binascii.Error):
            raise InputError(f"{path} line {number} is not `base64(token) rank`.") from None
        if not in_order:
            raise InputError(f"{path} line {number} has the rank {int(rank)}; the ranks must be 0, 1, 2 and so on.")
    if path.stem not in GPT2_RANK_FILES:
        logger.info("%s does not name its pre-token pattern; GPT-2's is used, so counts are not the original's.", path)
    alphabet, merges = b"".join(tokens[:256]), []
    ranks: dict[tuple[int, int], int] = {}
    try:
        if sorted(tokens[:256]) != [bytes([byte]) for byte in range(256)]:
            raise ValueError("the first 256 tokens are not the 256 bytes")
        for rank, token in enumerate(tokens[256:], 256):
            parts = merge([alphabet.index(byte) for byte in token], ranks)
            if len(parts) != 2:
                raise ValueError(f"the token of rank {rank} is not two earlier tokens joined")
            ranks[parts[0], parts[1]] = rank
            merges.append((parts[0], parts[1]))
        return BytePairTokenizer(merges, "gpt2", alphabet=alphabet)
    except (ConfigError, ValueError) as error:
        raise InputError(f"{path} is not a byte-pair vocabulary: {str(error).rstrip('.')}.") from error
