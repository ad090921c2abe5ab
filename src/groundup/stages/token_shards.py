"""Text of any size to token shards: units of the input are encoded side by side, each shard by one thread.

    out/shard_00000.bin, .json ...   see tokenization/token_shards.py
        index.json                   what is in them
        result.json                  the totals and the time

A shard holds consecutive units of together about `unit_bytes`, so many small files do not become many shards. Memory is
a few blocks per thread. Which units a shard holds depends on the files alone: a run that was stopped finds its finished
shards and ends with the same bytes.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groundup.core.config import nearest
from groundup.core.errors import ConfigError
from groundup.core.logging import get_logger
from groundup.core.progress import progress
from groundup.core.runs import Run, finished
from groundup.corpus.text_stream import TEXT, UNIT_BYTES, TextUnit, read_unit, text_units, units_fingerprint
from groundup.tokenization.bpe import BytePairTokenizer
from groundup.tokenization.chat import END_OF_TEXT
from groundup.tokenization.token_shards import (
    INDEX_NAME,
    Shard,
    finished_shard,
    token_blocks,
    write_index,
    write_shard,
)
from groundup.tokenization.vocabulary_files import load_vocabulary

MEGABYTE = 1_000_000  # what progress counts
logger = get_logger(__name__)


@dataclass(frozen=True)
class TokenShardsConfig:
    """`column` holds the text of a record. `separator` is the special token in front of each document: None takes
    <|endoftext|> if the tokenizer has it, an empty text takes none. The names in `special_tokens` are special tokens
    inside a text too. `unit_bytes` of input, compressed as they may be, make a shard."""

    column: str = "text"
    separator: str | None = None
    special_tokens: tuple[str, ...] = ()
    unit_bytes: int = UNIT_BYTES

    def __post_init__(self) -> None:
        if self.unit_bytes < 1:
            raise ConfigError(f"unit_bytes is {self.unit_bytes}; a unit must have at least one byte.")


def run_token_shards(
    config: TokenShardsConfig, tokenizer: Path, inputs: Sequence[str | Path], out: Path, threads: int = 1
) -> dict[str, Any]:
    """Encode files, folders and globs; returns what `result.json` holds. `threads` changes nothing but the time."""
    if threads < 1:
        raise ConfigError(f"threads is {threads}; give at least one.")
    vocabulary = load_vocabulary(tokenizer)
    separator = separator_id(config, vocabulary)
    units = text_units(inputs, config.column, config.unit_bytes)
    fingerprints = {"texts": units_fingerprint(units), "tokenizer": vocabulary.fingerprint}
    if (result := finished(out, config, fingerprints)) is not None and (out / INDEX_NAME).exists():
        return result
    with Run(out, config, fingerprints) as run:
        start = time.perf_counter()
        groups = group_units(units, config.unit_bytes)
        shards = encode_groups(groups, config, vocabulary, separator, out, threads)
        index = write_index(out, vocabulary, separator, shards)
        return run.finish(
            {
                "shards": len(index.shards),
                "documents": index.documents,
                "tokens": index.tokens,
                "text_bytes": index.text_bytes,
                "bytes_per_token": index.text_bytes / max(index.tokens, 1),
                "dtype": index.dtype,
                "seconds": time.perf_counter() - start,
            }
        )


def separator_id(config: TokenShardsConfig, tokenizer: BytePairTokenizer) -> int | None:
    """The id in front of each document; a special token that the tokenizer does not have is a `ConfigError`."""
    known = tokenizer.special_tokens
    for name in (*config.special_tokens, *([config.separator] if config.separator else [])):
        if name not in known:
            there = nearest(name, known) if known else "it has none."
            raise ConfigError(f"The tokenizer has no special token {name!r}; {there}")
    return known.get(END_OF_TEXT if config.separator is None else config.separator)


def group_units(units: Sequence[TextUnit], least_bytes: int) -> list[list[TextUnit]]:
    """Consecutive units in groups of at most `least_bytes`, or of one unit that is larger."""
    groups: list[list[TextUnit]] = []
    size = 0
    for unit in units:
        if not groups or size + unit.size_bytes > least_bytes:
            groups.append([])
            size = 0
        groups[-1].append(unit)
        size += unit.size_bytes
    return groups


def encode_groups(
    groups: Sequence[Sequence[TextUnit]],
    config: TokenShardsConfig,
    tokenizer: BytePairTokenizer,
    separator: int | None,
    out: Path,
    threads: int,
) -> list[Shard]:
    """The shard of each group, in order; those that an earlier process finished are kept."""
    size = tokenizer.vocab_size
    shards = {number: finished_shard(out, number, source_of(group), size) for number, group in enumerate(groups)}
    missing = [number for number, shard in shards.items() if shard is None]
    if len(missing) < len(groups):
        logger.info("%d of %d shards are there already", len(groups) - len(missing), len(groups))
    cut = tokenizer.text_cut()
    stopped, bar = threading.Event(), threading.Lock()
    sizes = [sum(unit.size_bytes for unit in group) / MEGABYTE for group in groups]
    done = sum(sizes) - sum(sizes[number] for number in missing)
    with progress("encode MB", max(round(sum(sizes)), 1), done=round(done)) as advance:

        def consumed(count: int) -> None:
            if stopped.is_set():
                raise _StoppedError
            with bar:
                advance(count / MEGABYTE)

        def encode_group(number: int) -> Shard:
            texts = text_blocks(groups[number], cut, consumed)
            blocks = token_blocks(tokenizer, texts, separator, config.special_tokens)
            return write_shard(out, number, source_of(groups[number]), blocks, size)

        with ThreadPoolExecutor(threads) as pool:
            futures = {number: pool.submit(encode_group, number) for number in missing}
            try:
                ended, _ = wait(futures.values(), return_when=FIRST_EXCEPTION)
                for future in ended:
                    future.result()
            except BaseException:  # a fault of one thread, or an interrupt: the others need not go on
                stopped.set()
                pool.shutdown(cancel_futures=True)
                raise
    return [shard or futures[number].result() for number, shard in shards.items()]


def text_blocks(
    units: Iterable[TextUnit], cut: Callable[[bytes], int], consumed: Callable[[int], None]
) -> Iterator[tuple[bytes, bool]]:
    """The blocks of units, each with whether a document starts there."""
    for unit in units:
        for number, text in enumerate(read_unit(unit, cut, consumed=consumed)):
            yield text, unit.kind != TEXT or (unit.start == 0 and number == 0)


def source_of(units: Sequence[TextUnit]) -> str:
    """What a shard says about the text in it: its first and last unit."""
    return units[0].key if len(units) == 1 else f"{units[0].key} .. {units[-1].key}"


class _StoppedError(Exception):
    """Ends a thread's work after another one failed."""
