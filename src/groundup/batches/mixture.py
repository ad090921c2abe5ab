"""A mixture of sources with weights that may change: which source a row comes from is a function of its number.

Row n of a phase is the point u(n) of van der Corput's sequence (1935): the binary digits of n in reverse order behind
the point, here xor a seeded number. Source i owns an interval of [0, 1) as long as its weight, and gives the rows whose
point falls into it. Of 2^k rows in a row, aligned, exactly one falls into each interval [j, j + 1) / 2^k, so

    |rows of a source among such 2^k - weight · 2^k| < 2;   among the first n, < 2 · (number of ones in n's digits)

at any place in a training, and not just on average. How many of the first n points lie below x is a sum over the digits
of n, so each source's own number of a row is computed too, without a state: a source sees 0, 1, 2, ... in order.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate, groupby

import torch

from groundup.batches.batch import Batch, Examples, Seen
from groundup.batches.config import MixturePhase, require_phases
from groundup.core.seeds import derive_seed

DIGITS = 48  # of u in [0, 2^48): weights are rounded to 4e-15, and a phase has at most 2.8e14 rows
ONE = 1 << DIGITS


class Mixture:
    """Rows of several sources; `total_examples` are those of the training, of which phases have their shares."""

    def __init__(
        self, parts: Mapping[str, Examples], phases: Sequence[MixturePhase], total_examples: int, seed: int
    ) -> None:
        require_phases(phases, parts)
        self.names, self.parts = list(parts), list(parts.values())
        self.firsts = [round(phase.from_share * total_examples) for phase in phases]
        self.bounds = [_bounds([phase.weights.get(name, 0.0) for name in self.names]) for phase in phases]
        self.shifts = [derive_seed("mixture", seed, number) % ONE for number in range(len(phases))]
        self.before = [[0] * len(self.parts)]  # rows of each part before each phase
        for phase in range(len(phases) - 1):
            self.before.append(self._counts_in(phase, self.firsts[phase + 1]))

    def rows(self, numbers: Sequence[int]) -> Batch:
        """The rows in the order of their numbers; each part is asked once."""
        placed = [self.place(number) for number in numbers]
        order = sorted(range(len(placed)), key=lambda row: placed[row])
        batches = [
            self.parts[part].rows([placed[row][1] for row in rows])
            for part, rows in groupby(order, key=lambda row: placed[row][0])
        ]
        back = torch.tensor(order).argsort()
        return _joined(batches).map(lambda tensor: tensor[back])

    def place(self, number: int) -> tuple[int, int]:
        """Which part gives a row, and the row's number there."""
        phase = bisect_right(self.firsts, number) - 1
        index, bounds, shift = number - self.firsts[phase], self.bounds[phase], self.shifts[phase]
        part = bisect_right(bounds, reverse_digits(index) ^ shift) - 1
        inside = points_below(bounds[part + 1], index, shift) - points_below(bounds[part], index, shift)
        return part, self.before[phase][part] + inside

    def counts(self, examples: int) -> dict[str, int]:
        """How many of the first rows each source gives."""
        phase = bisect_right(self.firsts, examples) - 1
        return dict(zip(self.names, self._counts_in(phase, examples), strict=True))

    def seen(self, examples: int) -> tuple[Seen, ...]:
        counts = self.counts(examples)
        return tuple(
            each._replace(source=name)
            for name, part in zip(self.names, self.parts, strict=True)
            for each in part.seen(counts[name])
        )

    def _counts_in(self, phase: int, examples: int) -> list[int]:
        """Rows of each part among the first `examples`, which end in this phase."""
        index, shift = examples - self.firsts[phase], self.shifts[phase]
        below = [points_below(bound, index, shift) for bound in self.bounds[phase]]
        return [
            before + high - low for before, low, high in zip(self.before[phase], below[:-1], below[1:], strict=True)
        ]


def reverse_digits(index: int) -> int:
    """The point of van der Corput's sequence, times 2^48."""
    assert 0 <= index < ONE, f"row {index} of a phase"
    return int(f"{index:0{DIGITS}b}"[::-1], 2)


def points_below(bound: int, count: int, shift: int) -> int:
    """How many n < count have reverse_digits(n) ^ shift < bound.

    The numbers below `count` fall into one run of 2^k numbers for each one among its digits, the k last of which are
    free. Reversed, these come first: the points of a run lie at equal distances 2^(48-k) behind an offset.
    """
    found = 0
    for k in range(count.bit_length()):
        if count >> k & 1:
            first = count >> (k + 1) << (k + 1)
            distance = ONE >> k
            offset = (reverse_digits(first) ^ shift) % distance
            found += (bound - offset + distance - 1) // distance
    return found


def _bounds(weights: Sequence[float]) -> list[int]:
    """Where the intervals of weights begin in [0, 2^48), and the end; they may miss 1 by a rounding."""
    ends = list(accumulate(weights))
    return [0, *(round(end / ends[-1] * ONE) for end in ends)]


def _joined(batches: Sequence[Batch]) -> Batch:
    positions = [batch.positions_BT for batch in batches if batch.positions_BT is not None]
    assert len(positions) in (0, len(batches)), "rows with and without positions in one batch"
    tokens, targets, weights, _ = zip(*batches, strict=True)
    return Batch(torch.cat(tokens), torch.cat(targets), torch.cat(weights), torch.cat(positions) if positions else None)
