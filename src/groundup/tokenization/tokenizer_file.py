"""`tokenizer.json`: a byte-pair vocabulary as a file that people can read and that never changes its meaning.

    {"format": "groundup-bpe", "version": 2, "pattern": <regular expression>, "normalization": null | "NFC" | ...,
     "merges": ["Ġ t", "h e", ...], "ids": null | [id of each byte, then of what each merge makes],
     "whole_pieces": {token: id}, "special_tokens": {name: id}}

The pattern is stored as the expression itself, so a name given another meaning later does not touch old files. Bytes
are printable as in `printable_bytes.py`. `ids` is null for 0, 1, 2 and so on. The file is checked whole when read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groundup.core.config import decode, encode
from groundup.core.errors import ConfigError, InputError, MissingError
from groundup.core.files import read_json, write_json
from groundup.tokenization.bpe import BytePairTokenizer, Normalization, Pair
from groundup.tokenization.printable_bytes import from_printable, to_printable

FILE_NAME = "tokenizer.json"
FORMAT, VERSION = "groundup-bpe", 2


@dataclass(frozen=True)
class TokenizerFile:
    """The content of `tokenizer.json`."""

    format: str
    version: int
    pattern: str
    normalization: Normalization | None
    merges: tuple[str, ...]
    ids: tuple[int, ...] | None
    whole_pieces: dict[str, int]
    special_tokens: dict[str, int]


def write_tokenizer(tokenizer: BytePairTokenizer, directory: Path) -> Path:
    """Write a tokenizer into a folder, atomically; returns the path of the file."""
    content = TokenizerFile(
        format=FORMAT,
        version=VERSION,
        pattern=tokenizer.pattern,
        normalization=tokenizer.normalization,
        merges=tuple(f"{left} {right}" for left, right in printable_merges(tokenizer)),
        ids=tokenizer.ids,
        whole_pieces={to_printable(piece): token for piece, token in tokenizer.whole_pieces.items()},
        special_tokens=dict(tokenizer.special_tokens),
    )
    write_json(directory / FILE_NAME, encode(content))
    return directory / FILE_NAME


def read_tokenizer(path: Path) -> BytePairTokenizer:
    """Read a folder's tokenizer, or the file itself; `MissingError` or `InputError` where that cannot be."""
    if path.is_dir():
        if not (path / FILE_NAME).exists():
            raise MissingError(f"There is no {FILE_NAME} in {path}; train one: groundup tokenizer train --out {path}")
        path = path / FILE_NAME
    data = read_json(path)
    if not is_tokenizer(data):
        raise InputError(f"{path} is not a groundup tokenizer (its format is not {FORMAT!r}).")
    return tokenizer_of_json(data, path)


def is_tokenizer(data: Any) -> bool:  # noqa: ANN401 - whatever JSON holds
    """Whether a JSON value says that it is a tokenizer of ours."""
    return isinstance(data, dict) and data.get("format") == FORMAT


def tokenizer_of_json(data: dict[str, Any], path: Path) -> BytePairTokenizer:
    """The tokenizer in the JSON value of the file `path`, which errors name."""
    if data.get("version") != VERSION:
        raise InputError(
            f"{path} has version {data.get('version')!r}; this groundup reads version {VERSION}, train it again."
        )
    try:
        content = decode(TokenizerFile, data, source=str(path))
        return BytePairTokenizer(
            merges_of_text(content.merges),
            content.pattern,
            content.special_tokens,
            content.ids,
            whole_pieces={from_printable(piece): token for piece, token in content.whole_pieces.items()},
            normalization=content.normalization,
        )
    except (ConfigError, ValueError) as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise InputError(f"{path} is not a usable tokenizer: {reason.rstrip('.')}.") from error


def printable_merges(tokenizer: BytePairTokenizer) -> list[tuple[str, str]]:
    """The two tokens of each merge as printable bytes."""
    ids = tokenizer.ids or range(256 + len(tokenizer.merges))
    names = [to_printable(tokenizer.vocabulary[token]) for token in ids]
    return [(names[left], names[right]) for left, right in tokenizer.merges]


def merges_of_text(lines: Sequence[str]) -> list[Pair]:
    """Lines such as `Ġ t` as pairs of token numbers; a `ValueError` names a line that cannot be."""
    pairs: list[tuple[bytes, bytes]] = []
    for number, line in enumerate(lines):
        left, _, right = line.partition(" ")
        if not left or not right:
            raise ValueError(f"merge {number} ({line!r}) is not two tokens with a space between")
        pairs.append((from_printable(left), from_printable(right)))
    return number_pairs(pairs)


def number_pairs(pairs: Sequence[tuple[bytes, bytes]]) -> list[Pair]:
    """Pairs of tokens, each of which makes the next token, as pairs of numbers."""
    numbers = {left + right: 256 + i for i, (left, right) in enumerate(pairs)}
    numbers |= {bytes([byte]): byte for byte in range(256)}
    try:
        return [(numbers[left], numbers[right]) for left, right in pairs]
    except KeyError as error:
        missing = error.args[0]
        number = next(i for i, pair in enumerate(pairs) if missing in pair)
        line = " ".join(map(to_printable, pairs[number]))
        raise ValueError(f"merge {number} ({line!r}) joins a token that no merge makes") from None
