"""`tokenizer.json`: a byte-pair vocabulary as a file that people can read and that never changes its meaning.

    {"format": "groundup-bpe", "version": 1, "pattern": <regular expression>,
     "alphabet": <256 printable bytes, the tokens 0..255>, "merges": ["Ġ t", "h e", ...], "special_tokens": {name: id}}

The pattern is stored as the expression itself, so a name given another meaning later does not touch old files. Bytes
are printable as in `printable_bytes.py`. The file is checked whole when it is read.
"""

from dataclasses import dataclass
from pathlib import Path

from groundup.core.config import decode, encode
from groundup.core.errors import ConfigError, InputError, MissingError
from groundup.core.files import read_json, write_json
from groundup.tokenization.bpe import BytePairTokenizer
from groundup.tokenization.printable_bytes import from_printable, to_printable

FILE_NAME = "tokenizer.json"
FORMAT, VERSION = "groundup-bpe", 1


@dataclass(frozen=True)
class TokenizerFile:
    """The content of `tokenizer.json`."""

    format: str
    version: int
    pattern: str
    alphabet: str
    merges: tuple[str, ...]
    special_tokens: dict[str, int]


def write_tokenizer(tokenizer: BytePairTokenizer, directory: Path) -> Path:
    """Write a tokenizer into a folder, atomically; returns the path of the file."""
    printable = {token: to_printable(data) for token, data in tokenizer.vocabulary.items()}
    content = TokenizerFile(
        format=FORMAT,
        version=VERSION,
        pattern=tokenizer.pattern,
        alphabet=to_printable(tokenizer.alphabet),
        merges=tuple(f"{printable[left]} {printable[right]}" for left, right in tokenizer.merges),
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
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise InputError(f"{path} is not a groundup tokenizer (its format is not {FORMAT!r}).")
    if data.get("version") != VERSION:
        raise InputError(f"{path} has version {data.get('version')!r}; this groundup reads version {VERSION}.")
    try:
        content = decode(TokenizerFile, data, source=str(path))
        alphabet = from_printable(content.alphabet)
        merges = merges_of_text(content.merges, alphabet)
        return BytePairTokenizer(merges, content.pattern, content.special_tokens, alphabet)
    except (ConfigError, ValueError) as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise InputError(f"{path} is not a usable tokenizer: {reason.rstrip('.')}.") from error


def merges_of_text(lines: tuple[str, ...] | list[str], alphabet: bytes) -> list[tuple[int, int]]:
    """Lines such as `Ġ t` as pairs of ids, each line making the next id; a `ValueError` names a line that cannot be."""
    ids = {bytes([byte]): token for token, byte in enumerate(alphabet)}
    merges: list[tuple[int, int]] = []
    for number, line in enumerate(lines):
        left, _, right = line.partition(" ")
        if not left or not right:
            raise ValueError(f"merge {number} ({line!r}) is not two tokens with a space between")
        try:
            pair = ids[from_printable(left)], ids[from_printable(right)]
        except KeyError:
            raise ValueError(f"merge {number} ({line!r}) joins a token that no earlier merge makes") from None
        ids[from_printable(left) + from_printable(right)] = 256 + number
        merges.append(pair)
    return merges
