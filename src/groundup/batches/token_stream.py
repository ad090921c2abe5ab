"""Token shards as one sequence of ids, read through memory maps; what cannot be trained on is refused before it starts.

The files are those of `tokenization/token_shards.py`. Opening them reads each byte once, at about a gigabyte a second,
for the files' hashes and the largest id: training on altered text would cost more.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from groundup.core.config import fingerprint, load
from groundup.core.errors import InputError
from groundup.core.progress import progress
from groundup.tokenization.bpe import BytePairTokenizer
from groundup.tokenization.token_shards import INDEX_NAME, Shard, ShardIndex, open_shards

BLOCK = 1 << 22  # ids that are looked at together
PROGRESS_TOKENS = 1 << 28  # from here on a check takes long enough for a bar


class TokenStream:
    """Arrays of ids, one behind the other: `len(stream)`, `stream[start:stop]`.

    A slice inside one array is a view; one across a border is copied. `separator` is the id in front of each document,
    None for none; `place` names the data in messages.
    """

    def __init__(
        self, shards: Sequence[np.ndarray], separator: int | None = None, place: str = "The training text"
    ) -> None:
        self.shards = [np.asarray(shard) for shard in shards if len(shard)]  # a slice of a plain view is made faster
        self.starts = [0]
        for shard in self.shards:
            self.starts.append(self.starts[-1] + len(shard))
        self.separator = separator
        self.place = place

    def __len__(self) -> int:
        return self.starts[-1]

    def __getitem__(self, span: slice) -> np.ndarray:
        start, stop, step = span.indices(len(self))
        assert step == 1, "a stream is read forwards, every id"
        parts = []
        number = bisect_right(self.starts, start) - 1
        while start < stop:
            shard, offset = self.shards[number], start - self.starts[number]
            parts.append(shard[offset : offset + stop - start])
            start += len(parts[-1])
            number += 1
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)

    def document_starts(self) -> npt.NDArray[np.int64]:
        """Where documents begin: at each separator, and at the start."""
        found = [
            np.flatnonzero(block == self.separator) + first
            for shard, begin in zip(self.shards, self.starts[:-1], strict=True)
            for first, block in _blocks(shard, begin)
        ]
        starts = np.concatenate(found) if found else np.empty(0, dtype=np.int64)
        return starts if len(starts) and starts[0] == 0 else np.concatenate(([0], starts))


def open_tokens(directory: Path, tokenizer: BytePairTokenizer, name: str = "") -> TokenStream:
    """The shards in a folder, checked; files that are damaged or of another tokenizer are an `InputError`. `name` is
    what messages call them, by default the folder."""
    shards, index = open_shards(directory)
    if index.tokenizer_fingerprint != tokenizer.fingerprint:
        raise InputError(
            f"{directory} was encoded with another tokenizer (fingerprint {index.tokenizer_fingerprint}, given is "
            f"{tokenizer.fingerprint}); give that tokenizer, or encode the text again with this one."
        )
    if index.tokens < PROGRESS_TOKENS:
        _check(directory, index, shards, tokenizer.vocab_size, lambda count: None)
    else:
        with progress("check tokens", index.tokens) as advance:
            _check(directory, index, shards, tokenizer.vocab_size, advance)
    return TokenStream(shards, index.separator, name or str(directory))


def tokens_fingerprint(directory: Path) -> str:
    """What identifies the ids in a folder of shards: a hash of the index, which holds the files' hashes."""
    return fingerprint(load(ShardIndex, directory / INDEX_NAME))


def _check(
    directory: Path,
    index: ShardIndex,
    shards: Sequence[np.ndarray],
    vocab_size: int,
    advance: Callable[[int], None],
) -> None:
    for shard, ids in zip(index.shards, shards, strict=True):
        digest = hashlib.sha256()
        outside = None
        for first, block in _blocks(np.asarray(ids)):
            digest.update(block.data)
            if outside is None and block.max() >= vocab_size:
                outside = first + int(np.argmax(block >= vocab_size))
            advance(len(block))
        _refuse_altered(directory / shard.file, shard, digest.hexdigest())
        if outside is not None:
            raise InputError(
                f"{directory / shard.file} holds id {ids[outside]} (token {outside}), and the tokenizer's last id is "
                f"{vocab_size - 1}; encode the text again."
            )


def _refuse_altered(path: Path, shard: Shard, digest: str) -> None:
    if digest != shard.sha256:
        raise InputError(f"{path} was altered after it was written; delete {path.parent} and write the tokens again.")


def _blocks(ids: np.ndarray, begin: int = 0) -> Iterator[tuple[int, np.ndarray]]:
    for first in range(0, len(ids), BLOCK):
        yield begin + first, ids[first : first + BLOCK]
