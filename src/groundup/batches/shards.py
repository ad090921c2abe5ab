"""Token shards: documents as one flat file of ids, read through a memory map.

    tokens.bin      each document as <|endoftext|> id id ...; little-endian uint16, or uint32 for large vocabularies
    shard.json      dtype, number of tokens and documents, bytes of text, hash of the file

The document mark comes first, so that a document's first token is predicted from it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from groundup.core.config import encode, load
from groundup.core.errors import InputError, MissingError
from groundup.core.files import new_directory, sha256_file, write_json


@dataclass(frozen=True)
class ShardManifest:
    """What `shard.json` says."""

    dtype: str
    tokens: int
    documents: int
    text_bytes: int
    vocab_size: int
    sha256: str


def write_shard(
    directory: Path, documents: Iterable[tuple[int, list[int]]], mark: int, vocab_size: int
) -> ShardManifest:
    """Write documents, given as (bytes of text, token ids), behind their `mark`; atomic."""
    dtype = np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")
    tokens = count = text_bytes = 0
    with new_directory(directory) as temporary:
        with open(temporary / "tokens.bin", "wb") as file:
            for size, ids in documents:
                file.write(np.array([mark, *ids], dtype=dtype).tobytes())
                tokens += len(ids) + 1
                count += 1
                text_bytes += size
        digest = sha256_file(temporary / "tokens.bin")
        manifest = ShardManifest(dtype.str, tokens, count, text_bytes, vocab_size, digest)
        write_json(temporary / "shard.json", encode(manifest))
    return manifest


def open_shard(directory: Path) -> tuple[np.ndarray, ShardManifest]:
    """The memory-mapped ids of a shard, shape (tokens,), and its manifest; a damaged file is an error.

    Checking the hash reads the file once, at about a gigabyte a second; training on altered text would cost more.
    """
    for name in ("shard.json", "tokens.bin"):
        if not (directory / name).exists():
            raise MissingError(f"{directory} holds no token shard ({name} is missing); write it again.")
    manifest = load(ShardManifest, directory / "shard.json")
    path = directory / "tokens.bin"
    dtype = np.dtype(manifest.dtype)
    size, expected = path.stat().st_size, manifest.tokens * dtype.itemsize
    if size != expected:
        raise InputError(f"{path} has {size} bytes where its manifest says {expected}; delete {directory} to redo it.")
    if sha256_file(path) != manifest.sha256:
        raise InputError(f"{path} was altered after it was written; delete {directory} to redo it.")
    if size == 0:  # an empty file cannot be mapped
        return np.empty(0, dtype=dtype), manifest
    return np.memmap(path, dtype=dtype, mode="r"), manifest
