"""Files of any size to a byte-pair vocabulary: units are read and counted in parallel, then the merges are learnt.

    out/counts.npz   while counting goes on for long: the counts so far and how many units they hold

Counting is resumed from there by a run of the same files and options; it is deleted when the merges are learnt.
"""

import io
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

import numpy as np

from groundup.core.config import fingerprint
from groundup.core.files import write_bytes
from groundup.core.logging import get_logger
from groundup.core.progress import progress
from groundup.corpus.text_stream import TextUnit, read_unit, text_units, units_fingerprint
from groundup.tokenization.bpe import BytePairTokenizer
from groundup.tokenization.bpe_training import check_vocab_size, vocabulary_of
from groundup.tokenization.cutting import text_cut
from groundup.tokenization.patterns import resolve_pattern
from groundup.tokenization.pretoken_counts import CountArrays, PretokenCounts

STATE_NAME = "counts.npz"
SECONDS_BETWEEN_SAVES = 60.0
UNITS_PER_WAVE = 4  # for each thread, between two looks at whether to save
MEGABYTE = 1 << 20
logger = get_logger(__name__)


def train_on_files(
    inputs: Sequence[str | Path],
    vocab_size: int,
    pattern: str = "digits",
    special_tokens: Sequence[str] = (),
    *,
    column: str = "text",
    threads: int = 0,
    state_folder: Path | None = None,
) -> BytePairTokenizer:
    """Learn a vocabulary from files, folders and globs; `threads` = 0 means one per core.

    `state_folder` is where counting is resumed from; without it, it starts again.
    """
    units = text_units(inputs, column)
    return train_on_units(units, vocab_size, pattern, special_tokens, threads=threads, state_folder=state_folder)


def train_on_units(
    units: Sequence[TextUnit],
    vocab_size: int,
    pattern: str = "digits",
    special_tokens: Sequence[str] = (),
    *,
    threads: int = 0,
    state_folder: Path | None = None,
) -> BytePairTokenizer:
    """As `train_on_files`, for units of text."""
    check_vocab_size(vocab_size, special_tokens)
    state = None if state_folder is None else state_folder / STATE_NAME
    counts = count_units(units, pattern, special_tokens, threads or os.cpu_count() or 1, state)
    merges = counts.learn(vocab_size - 256 - len(special_tokens))
    if state is not None:
        state.unlink(missing_ok=True)
    return vocabulary_of(merges, vocab_size, pattern, special_tokens)


def count_units(
    units: Sequence[TextUnit], pattern: str, special_tokens: Sequence[str], threads: int, state: Path | None = None
) -> PretokenCounts:
    """The pre-tokens of all units together."""
    cut = text_cut(resolve_pattern(pattern), special_tokens)
    identity = fingerprint(units_fingerprint(units), resolve_pattern(pattern), list(special_tokens))
    total = PretokenCounts(pattern, special_tokens)
    done = _load_state(state, identity, total)
    idle = [total]  # a table for each thread that is at work; the first of them is the total
    sizes = [unit.size_bytes for unit in units]
    told = Lock()
    with progress("count MB", max(sum(sizes) // MEGABYTE, 1), done=sum(sizes[:done]) // MEGABYTE) as advance:

        def consumed(count: int) -> None:
            with told:
                advance(count / MEGABYTE)

        def count_unit(unit: TextUnit) -> None:
            with told:
                counts = idle.pop(0) if idle else PretokenCounts(pattern, special_tokens)
            for text in read_unit(unit, cut, consumed=consumed):
                counts.add(text)
            with told:
                idle.append(counts)

        saved = time.monotonic()
        with ThreadPoolExecutor(threads) as pool:
            while done < len(units):
                wave = units[done : done + UNITS_PER_WAVE * threads]
                for _ in pool.map(count_unit, wave):
                    pass
                done += len(wave)
                if state is not None and done < len(units) and time.monotonic() - saved > SECONDS_BETWEEN_SAVES:
                    idle = [_add_up(idle)]
                    _save_state(state, identity, idle[0], done)
                    saved = time.monotonic()
    return _add_up(idle)


def _add_up(tables: Sequence[PretokenCounts]) -> PretokenCounts:
    first, *others = tables
    first.add_up(others)
    return first


def _save_state(state: Path, identity: str, counts: PretokenCounts, done: int) -> None:
    buffer = io.BytesIO()
    text, lengths, numbers = counts.arrays()
    np.savez(buffer, identity=np.array(identity), done=np.array(done), text=text, lengths=lengths, counts=numbers)
    write_bytes(state, buffer.getvalue())


def _load_state(state: Path | None, identity: str, counts: PretokenCounts) -> int:
    """Enter the counts that an earlier process saved; returns how many units they hold."""
    if state is None or not state.exists():
        return 0
    with np.load(state, allow_pickle=False) as saved:
        if str(saved["identity"]) != identity:
            return 0
        counts.add_arrays(CountArrays(saved["text"], saved["lengths"], saved["counts"]))
        done = int(saved["done"])
    logger.info("Counting goes on behind the %d units that %s holds.", done, state)
    return done
