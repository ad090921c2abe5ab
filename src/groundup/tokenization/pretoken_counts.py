"""How often each pre-token occurs in a text of any length, and the merges that follow from it.

Little text is counted in plain Python, which answers at once; more than that by the compiled kernels, where the
pattern is one that they know (`acceleration.py` says from when on). The counts, and so the merges, are the same.
Memory follows the number of distinct pre-tokens, not the length of the text.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from groundup.core.errors import InputError
from groundup.core.progress import progress
from groundup.tokenization.acceleration import announce, compiled_pattern, pays
from groundup.tokenization.merge_learning import Pair, learn_merges
from groundup.tokenization.patterns import compile_pattern, resolve_pattern, split
from groundup.tokenization.special_tokens import special_pattern, split_at_specials

if TYPE_CHECKING:
    from groundup.tokenization.compiled.counter import PieceCounter

RARER_THAN_MERGED = 50  # the last of N merges has more than 1 / (50 N) of all pre-tokens, or the guess is taken back
POLL_SECONDS = 0.1
MOST_CELLS = 1 << 31


class CountArrays(NamedTuple):
    """The bytes of the distinct pre-tokens end to end, their lengths, and how often each occurs."""

    text: npt.NDArray[np.uint8]
    lengths: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]


class PretokenCounts:
    """Counts that grow with each text. One thread at a time; several of them can be added up."""

    def __init__(self, pattern: str, special_tokens: Sequence[str] = ()) -> None:
        """`pattern` is a name or a regular expression; special tokens divide the text and are not counted."""
        self._pattern = resolve_pattern(pattern)
        self._specials = special_pattern(special_tokens)
        self._marks = [name.encode() for name in special_tokens]
        self._kernel_pattern = compiled_pattern(self._pattern)
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._kernels: PieceCounter | None = None
        self._counts: Counter[bytes] = Counter()

    def add(self, text: bytes) -> None:
        """Count a document, or a part of one that ends where text may be cut; valid UTF-8."""
        if self._kernels is None:
            self._waiting.append(text)
            self._waiting_bytes += len(text)
            if self._kernel_pattern is None:
                self._count_in_python()
            elif pays(self._waiting_bytes, "count_text"):
                self.compile()
        else:
            self._count_compiled(text)

    def add_up(self, others: Iterable["PretokenCounts"]) -> None:
        """Add the counts of others."""
        for other in others:
            self.add_arrays(other.arrays())

    def add_arrays(self, arrays: CountArrays) -> None:
        """Add counts of before."""
        if self._kernels is not None:
            self._kernels.add_counts(*arrays)
            return
        self._counts += Counter(_as_mapping(arrays))

    def arrays(self) -> CountArrays:
        """The counts as arrays."""
        if self._kernels is not None:
            return CountArrays(*self._kernels.pieces())
        return _as_arrays(self.mapping())

    def mapping(self) -> Mapping[bytes, int]:
        """The counts by pre-token."""
        if self._kernels is not None:
            return _as_mapping(self.arrays())
        self._count_in_python()
        return self._counts

    def learn(self, number: int) -> Sequence[Pair]:
        """At most `number` merges. The counts are gone after that, to make room."""
        if self._kernels is None:
            return learn_merges(self.mapping(), number)
        arrays = self.arrays()
        self._kernels = None
        return learn_compiled(arrays, number)

    def compile(self) -> bool:
        """Count by the compiled kernels from now on; False for a pattern that they do not know."""
        if self._kernel_pattern is None:
            return False
        if self._kernels is None:
            announce("count_text")
            from groundup.tokenization.compiled.counter import PieceCounter

            self._kernels = PieceCounter(self._kernel_pattern)
            self._kernels.add_counts(*_as_arrays(self._counts))
            self._counts.clear()
            waiting, self._waiting = self._waiting, []
            for text in waiting:
                self._count_compiled(text)
        return True

    def _count_in_python(self) -> None:
        counts: Counter[str] = Counter()
        compiled = compile_pattern(self._pattern)
        for text in self._waiting:
            for plain, _ in split_at_specials(self._specials, text.decode()):
                counts.update(split(compiled, plain))
        self._waiting, self._waiting_bytes = [], 0
        for piece, count in counts.items():
            self._counts[piece.encode()] += count

    def _count_compiled(self, text: bytes) -> None:
        assert self._kernels is not None
        if not any(mark in text for mark in self._marks):
            self._kernels.add(text)
            return
        for plain, _ in split_at_specials(self._specials, text.decode()):
            self._kernels.add(plain.encode())


def learn_compiled(arrays: CountArrays, number: int) -> list[Pair]:
    """`learn_merges` by the compiled kernel, in a thread of its own so that this one can show how far it is."""
    if len(arrays.text) + len(arrays.lengths) >= MOST_CELLS:
        raise InputError(
            f"The text has {len(arrays.lengths):,} different pre-tokens of {len(arrays.text):,} bytes together; merges "
            "can be learnt from 2 GB of them. Train on a part of the text."
        )
    announce("learn")
    from groundup.tokenization.compiled.learning import DONE, STOP, learn

    floor = max(1, int(arrays.counts.sum()) // (RARER_THAN_MERGED * max(number, 1)))
    while True:
        shared = np.zeros(2, np.int64)
        with progress("merges", number) as advance, ThreadPoolExecutor(1) as pool:
            worker = pool.submit(learn, *arrays, number, floor, shared)
            shown = 0
            try:
                while not worker.done():
                    wait([worker], POLL_SECONDS)
                    advance(int(shared[DONE]) - shown)
                    shown = int(shared[DONE])
            except BaseException:
                shared[STOP] = 1
                raise
            merges = worker.result()
            advance(int(shared[DONE]) - shown)
        if len(merges) == number or floor == 1:
            return [(left, right) for left, right in merges.tolist()]
        floor = max(1, math.isqrt(floor))


def _as_arrays(counts: Mapping[bytes, int]) -> CountArrays:
    return CountArrays(
        np.frombuffer(b"".join(counts), np.uint8),
        np.fromiter(map(len, counts), np.int64, len(counts)),
        np.fromiter(counts.values(), np.int64, len(counts)),
    )


def _as_mapping(arrays: CountArrays) -> dict[bytes, int]:
    text, ends = arrays.text.tobytes(), np.cumsum(arrays.lengths).tolist()
    return {
        text[end - length : end]: count
        for end, length, count in zip(ends, arrays.lengths.tolist(), arrays.counts.tolist(), strict=True)
    }
