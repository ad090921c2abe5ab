"""Which rows a step takes: all processes together the whole batch, and steps, whatever their sizes, every row once."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from groundup.batches.batch import Batch, Batches, Seen
from groundup.core.errors import ConfigError


class Numbers:
    """Examples that say their number."""

    def rows(self, numbers: Sequence[int]) -> Batch:
        numbers_B1 = torch.tensor(numbers)[:, None]
        return Batch(numbers_B1, numbers_B1 + 1, torch.ones(numbers_B1.shape), numbers_B1 * 0)

    def seen(self, examples: int) -> tuple[Seen, ...]:
        return (Seen("", examples, 10),)


def numbers_of(batch: Batch) -> list[int]:
    return batch.tokens_BT[:, 0].tolist()


@given(st.integers(1, 12), st.integers(0, 1000), st.data())
def test_shards_together_are_the_batch(batch_size: int, step: int, data: st.DataObject) -> None:
    source = Batches(Numbers(), batch_size)
    shards = data.draw(st.integers(1, batch_size))
    whole = numbers_of(source.batch(step))
    assert whole == list(range(step * batch_size, (step + 1) * batch_size))
    for shard in range(shards):
        assert numbers_of(source.batch(step, shard, shards)) == whole[shard::shards]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=20))
def test_a_batch_that_changes_its_size_leaves_no_row_out(sizes: list[int]) -> None:
    source = Batches(Numbers(), lambda step: sum(sizes[:step]))
    found = [numbers_of(source.batch(step)) for step in range(len(sizes))]
    assert [len(numbers) for numbers in found] == sizes
    assert [number for numbers in found for number in numbers] == list(range(sum(sizes)))
    assert source.seen(len(sizes)) == (Seen("", sum(sizes), 10),)
    assert source.seen(len(sizes))[0].epochs == sum(sizes) / 10


def test_more_processes_than_rows_are_refused() -> None:
    with pytest.raises(ConfigError, match="A batch of 3 rows is too small for 4 processes; give a larger batch or"):
        Batches(Numbers(), 3).batch(0, 0, 4)
    with pytest.raises(AssertionError, match="shard 2 of 2"):
        Batches(Numbers(), 3).batch(0, 2, 2)


def test_a_function_reaches_every_tensor() -> None:
    batch = Numbers().rows([3, 4, 5])
    assert [tensor.tolist() for tensor in batch.map(lambda tensor: tensor[1:]) if tensor is not None] == [
        [[4], [5]],
        [[5], [6]],
        [[1.0], [1.0]],
        [[0], [0]],
    ]
    assert batch._replace(positions_BT=None).map(torch.neg).positions_BT is None
