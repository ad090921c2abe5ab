"""One batch of next-token examples, and what produces batches: pure functions, so that a resume passes a step.

`Examples` give rows by number, without end, and say nothing of batches; `Batches` says which numbers a step takes. So a
mixture of sources, a batch that grows and a training on many ranks are each decided in one place.

B rows of a batch, T time.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from torch import Tensor

from groundup.core.errors import ConfigError


class Batch(NamedTuple):
    """Shapes (B, T): input ids, the ids that follow them, and each target's weight in the loss (0 = not trained on).

    Where rows hold several documents that do not see each other, `positions_BT` counts from 0 in each. None: every row
    is one stream.
    """

    tokens_BT: Tensor
    targets_BT: Tensor
    weights_BT: Tensor
    positions_BT: Tensor | None = None

    def map(self, function: Callable[[Tensor], Tensor]) -> "Batch":
        """The batch with a function applied to each tensor: another device, some of the rows."""
        positions_BT = None if self.positions_BT is None else function(self.positions_BT)
        return Batch(function(self.tokens_BT), function(self.targets_BT), function(self.weights_BT), positions_BT)


class BatchSource(Protocol):
    """A pure function of the step: the same source and step always give the same batch.

    Of `shards` processes, number `shard` gets rows shard, shard + shards, ... of it: how many share the work changes
    nothing about the whole.
    """

    def batch(self, step: int, shard: int = 0, shards: int = 1) -> Batch: ...


class Seen(NamedTuple):
    """What a training has read of one source: its tokens without padding, and how many different ones there are."""

    source: str
    tokens: int
    unique_tokens: int

    @property
    def epochs(self) -> float:
        """How often the training went through the source."""
        return self.tokens / self.unique_tokens


class Examples(Protocol):
    """Rows of one length, numbered from 0 without end; a pure function of the number."""

    def rows(self, numbers: Sequence[int]) -> Batch: ...

    def seen(self, examples: int) -> tuple[Seen, ...]:
        """What the rows 0 .. examples - 1 come to, for each source."""
        ...


class Batches:
    """A `BatchSource`: step s takes the rows from `rows_before(s)`, s·B for batches of B rows, to that of s + 1."""

    def __init__(self, examples: Examples, batch_size: int | Callable[[int], int]) -> None:
        """`batch_size` is a number, or `rows_before` itself, for a batch that changes its size."""
        self.examples = examples
        self.rows_before = (lambda step: step * batch_size) if isinstance(batch_size, int) else batch_size

    def batch(self, step: int, shard: int = 0, shards: int = 1) -> Batch:
        return self.examples.rows(share_of(self.rows_before(step), self.rows_before(step + 1), shard, shards))

    def seen(self, steps: int) -> tuple[Seen, ...]:
        """What the first steps read of each source, for the log: how often data was repeated."""
        return self.examples.seen(self.rows_before(steps))


def share_of(first: int, end: int, shard: int, shards: int) -> range:
    """The numbers of the rows first .. end - 1 that fall to one of several processes."""
    assert 0 <= shard < shards, f"shard {shard} of {shards}"
    if end - first < shards:
        raise ConfigError(
            f"A batch of {end - first} rows is too small for {shards} processes; give a larger batch or fewer of them."
        )
    return range(first, end)[shard::shards]
