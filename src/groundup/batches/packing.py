"""Documents packed whole into rows of one length, each isolated from the others in its row.

    1. a document longer than T is cut into pieces of T tokens and a rest;
    2. pieces are put, the longest first, into the row with the least space in which they still fit, or a new row.

This is best-fit packing (Ding et al. 2024, arXiv:2404.10830): no document is cut that need not be, and where
short documents abound, almost no space is lost. Every token is the input of one row and its follower the target; a
document's last token predicts the separator. A piece counts its positions from 0, which isolates it
(models/positions.py). What is left of a row is filled with separators of weight 0.

The plan follows from where documents start, so it is made once; epochs differ in the order of rows. It keeps 16 bytes a
piece and 8 a row. Cuts of long documents are the same in every epoch, unlike those of windows.
"""

from bisect import bisect_left, insort
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from groundup.batches.batch import Batch, Seen
from groundup.batches.permutation import permute
from groundup.batches.token_stream import TokenStream
from groundup.core.errors import InputError
from groundup.core.seeds import derive_seed

Integers = npt.NDArray[np.int64]


class PackedDocuments:
    """Rows of T tokens made of whole documents; each epoch sees all rows once, in an order of its own."""

    def __init__(self, stream: TokenStream, context_length: int, seed: int) -> None:
        if stream.separator is None:
            raise InputError(
                f"{stream.place} has no separator in front of its documents, so they cannot be kept apart; encode the "
                "text again with one, or take packing 'windows'."
            )
        if len(stream) < context_length:
            raise InputError(
                f"{stream.place} has {len(stream)} tokens, fewer than a context of {context_length}; "
                "give more text or a smaller context_length."
            )
        self.stream = stream
        self.separator = stream.separator
        self.context_length = context_length
        self.seed = seed
        starts, lengths = pieces(stream.document_starts(), len(stream), context_length)
        row_of = best_fit_decreasing(lengths, context_length)
        order = np.argsort(row_of, kind="stable")
        self.starts, self.lengths = starts[order], lengths[order]
        self.row_begins = np.concatenate(([0], np.cumsum(np.bincount(row_of))))

    @property
    def rows_per_epoch(self) -> int:
        return len(self.row_begins) - 1

    @property
    def utilisation(self) -> float:
        """The share of places in rows that hold a token."""
        return len(self.stream) / (self.rows_per_epoch * self.context_length)

    def rows(self, numbers: Sequence[int]) -> Batch:
        """Tokens, targets, weights and positions, (B, T) each."""
        T = self.context_length
        tokens = np.full((len(numbers), T), self.separator, dtype=np.int64)
        targets = tokens.copy()
        weights = np.zeros((len(numbers), T), dtype=np.float32)
        positions = np.empty((len(numbers), T), dtype=np.int64)
        counting = np.arange(T)
        for row, number in enumerate(numbers):
            at = 0
            for start, length in self._pieces_of(number):
                ids = self.stream[start : start + length + 1]
                tokens[row, at : at + length] = ids[:length]
                targets[row, at : at + len(ids) - 1] = ids[1:]  # behind the last token of all stays the separator
                weights[row, at : at + length] = 1
                positions[row, at : at + length] = counting[:length]
                at += length
            positions[row, at:] = counting[: T - at]
        return Batch(*map(torch.from_numpy, (tokens, targets, weights, positions)))

    def seen(self, examples: int) -> tuple[Seen, ...]:
        """In the middle of an epoch, as if all rows were equally full."""
        return (Seen("", round(examples / self.rows_per_epoch * len(self.stream)), len(self.stream)),)

    def _pieces_of(self, number: int) -> list[tuple[int, int]]:
        """Start and length of the pieces in a row, the longest first."""
        epoch, index = divmod(number, self.rows_per_epoch)
        row = permute(index, self.rows_per_epoch, derive_seed("packing", self.seed, epoch))
        inside = slice(self.row_begins[row], self.row_begins[row + 1])
        return list(zip(self.starts[inside].tolist(), self.lengths[inside].tolist(), strict=True))


def pieces(document_starts: Integers, end: int, longest: int) -> tuple[Integers, Integers]:
    """Start and length of the pieces of documents, none longer than `longest`."""
    lengths = np.diff(document_starts, append=end)
    counts = -(-lengths // longest)
    inside = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)  # a piece's number in its document
    starts = np.repeat(document_starts, counts) + inside * longest
    return starts, np.minimum(longest, np.repeat(document_starts + lengths, counts) - starts)


def best_fit_decreasing(lengths: Integers, capacity: int) -> Integers:
    """The row of each piece: pieces from the longest to the shortest, each into the fullest row that has space for it.

    Pieces of one length are placed together. A row that takes one becomes fuller, so best fit gives it the next as well
    while they fit: a row with space c takes ⌊c/length⌋ of them before another is considered.
    """
    row_of = np.empty(len(lengths), dtype=np.int64)
    order = np.argsort(-lengths, kind="stable")
    sizes, firsts = np.unique(-lengths[order], return_index=True)
    with_space: dict[int, list[int]] = {}  # the rows that have just so much space left
    spaces: list[int] = []  # its keys, ascending
    rows = 0
    for size, first, end in zip((-sizes).tolist(), firsts.tolist(), [*firsts[1:].tolist(), len(lengths)], strict=True):
        while first < end:
            at = bisect_left(spaces, size)
            space = spaces[at] if at < len(spaces) else capacity
            each = space // size
            wanted = -(-(end - first) // each)
            if at < len(spaces):
                taken = with_space[space][-wanted:]
                del with_space[space][-wanted:]
                if not with_space[space]:
                    del with_space[spaces.pop(at)]
            else:
                taken = list(range(rows, rows + wanted))
                rows += wanted
            placed = min(end - first, each * len(taken))
            row_of[order[first : first + placed]] = np.repeat(taken, each)[:placed]
            first += placed
            full, over = divmod(placed, each)  # at most one row, the last, takes fewer
            for filled, left in ((taken[:full], space - each * size), (taken[full:], space - over * size)):
                if filled and left:
                    if left not in with_space:
                        with_space[left] = []
                        insort(spaces, left)
                    with_space[left] += filled
    return row_of
