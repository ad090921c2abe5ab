"""Token shards: text as files of token ids that a memory map reads, whatever its size.

    shard_00000.bin    the ids, little-endian uint16 (vocabularies of up to 65,536 ids) or uint32, and nothing else
    shard_00000.json   how many, of how much text, and their hash; written last: where it is, the shard is whole
    index.json         what holds for all shards, and the list of them

Each document stands behind the separator, so that its first token is predicted from it. Ids depend on the text alone:
text that comes in blocks is cut by `text_cut` only where that changes no token.
"""

import hashlib
import os
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from groundup.core.config import encode, load
from groundup.core.errors import InputError, MissingError, OutputError
from groundup.core.files import TEMPORARY_PREFIX, read_json, sha256_file, write_json
from groundup.tokenization.bpe import BytePairTokenizer

INDEX_NAME = "index.json"
FORMAT, VERSION = "groundup-token-shards", 1
WRITE_BYTES = 1 << 20


class TokenBlock(NamedTuple):
    """Token ids of a piece of text, its size, and whether a document starts with it."""

    ids: np.ndarray
    text_bytes: int
    starts_document: bool


@dataclass(frozen=True)
class Shard:
    """One file of ids; `source` names the text in it."""

    file: str
    source: str
    documents: int
    tokens: int
    text_bytes: int
    sha256: str


@dataclass(frozen=True)
class ShardIndex:
    """The content of `index.json`; `separator` is the id in front of each document, None for none."""

    format: str
    version: int
    dtype: str
    vocab_size: int
    tokenizer_fingerprint: str
    separator: int | None
    documents: int
    tokens: int
    text_bytes: int
    shards: tuple[Shard, ...]


def token_blocks(
    tokenizer: BytePairTokenizer,
    blocks: Iterable[tuple[bytes, bool]],
    separator: int | None,
    special_tokens: Collection[str] = (),
) -> Iterator[TokenBlock]:
    """Encode blocks of UTF-8 text, given with whether a document starts there; an empty document leaves nothing.

    The names in `special_tokens` are read as special tokens wherever they stand, the longest first; others are text.
    """
    longest_first = sorted(special_tokens, key=lambda name: (-len(name), name))
    special = re.compile(b"(" + b"|".join(re.escape(name.encode()) for name in longest_first) + b")")
    for text, starts_document in blocks:
        if not text:
            continue
        parts = [np.array([separator], dtype=np.uint32)] if starts_document and separator is not None else []
        for number, piece in enumerate(special.split(text) if special_tokens else [text]):
            if number % 2:  # between two pieces of plain text
                parts.append(np.array([tokenizer.special_tokens[piece.decode()]], dtype=np.uint32))
            elif piece:
                parts.append(tokenizer.encode_array(piece))
        yield TokenBlock(np.concatenate(parts), len(text), starts_document)


def write_shard(directory: Path, number: int, source: str, blocks: Iterable[TokenBlock], vocab_size: int) -> Shard:
    """Write the ids of blocks as they come, atomically, then what `shard_NNNNN.json` says, which is returned."""
    dtype = shard_dtype(vocab_size)
    path = directory / f"shard_{number:05d}.bin"
    temporary = directory / f"{TEMPORARY_PREFIX}{os.getpid()}-{path.name}"
    digest = hashlib.sha256()
    documents = tokens = text_bytes = 0
    try:
        with open(temporary, "wb", buffering=WRITE_BYTES) as file:
            for block in blocks:
                data = block.ids.astype(dtype).tobytes()
                file.write(data)
                digest.update(data)
                documents += block.starts_document
                tokens += len(block.ids)
                text_bytes += block.text_bytes
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.filename is not None and Path(error.filename) != temporary:
            raise
        reason = (error.strerror or str(error)).lower()
        raise OutputError(f"Cannot write {path}: {reason}. Choose another place, or free space there.") from error
    finally:
        temporary.unlink(missing_ok=True)
    shard = Shard(path.name, source, documents, tokens, text_bytes, digest.hexdigest())
    write_json(path.with_suffix(".json"), encode(shard))
    return shard


def finished_shard(directory: Path, number: int, source: str, vocab_size: int) -> Shard | None:
    """The shard of this text that an earlier process finished, or None."""
    record = directory / f"shard_{number:05d}.json"
    if not record.exists():
        return None
    shard = load(Shard, record)
    path = directory / shard.file
    whole = path.exists() and path.stat().st_size == shard.tokens * shard_dtype(vocab_size).itemsize
    return shard if whole and shard.source == source else None


def write_index(
    directory: Path, tokenizer: BytePairTokenizer, separator: int | None, shards: Iterable[Shard]
) -> ShardIndex:
    """Write `index.json`, which makes the shards one data set."""
    shards = tuple(shards)
    index = ShardIndex(
        format=FORMAT,
        version=VERSION,
        dtype=shard_dtype(tokenizer.vocab_size).str,
        vocab_size=tokenizer.vocab_size,
        tokenizer_fingerprint=tokenizer.fingerprint,
        separator=separator,
        documents=sum(shard.documents for shard in shards),
        tokens=sum(shard.tokens for shard in shards),
        text_bytes=sum(shard.text_bytes for shard in shards),
        shards=shards,
    )
    write_json(directory / INDEX_NAME, encode(index))
    return index


def open_shards(directory: Path, *, verify: bool = False) -> tuple[list[np.ndarray], ShardIndex]:
    """The memory-mapped ids of each shard, shape (tokens,), in order, and the index; a damaged file is an `InputError`.

    The sizes of the files are always checked; `verify` reads them whole, about a gigabyte a second, for their hashes.
    """
    path = directory / INDEX_NAME
    if not path.exists():
        raise MissingError(f"{directory} holds no token shards ({INDEX_NAME} is missing); finish writing them.")
    data = read_json(path)
    if not isinstance(data, dict) or (data.get("format"), data.get("version")) != (FORMAT, VERSION):
        raise InputError(f"{path} does not describe token shards of version {VERSION}; write them again.")
    index = load(ShardIndex, path)
    return [_open(directory / shard.file, shard, np.dtype(index.dtype), verify) for shard in index.shards], index


def shard_dtype(vocab_size: int) -> np.dtype:
    """The smallest type that holds every id."""
    return np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")


def _open(path: Path, shard: Shard, dtype: np.dtype, verify: bool) -> np.ndarray:
    if not path.exists():
        raise MissingError(f"There is no file {path}, which {INDEX_NAME} beside it lists; write the shards again.")
    size, expected = path.stat().st_size, shard.tokens * dtype.itemsize
    if size != expected:
        raise InputError(f"{path} has {size} bytes where {INDEX_NAME} says {expected}; write the shards again.")
    if verify and sha256_file(path) != shard.sha256:
        raise InputError(f"{path} was altered after it was written; write the shards again.")
    return np.memmap(path, dtype=dtype, mode="r") if size else np.empty(0, dtype=dtype)  # nothing cannot be mapped
