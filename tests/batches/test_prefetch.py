"""Reading ahead: the same batches, errors where they are asked for, and no thread left behind."""

import threading
import time

import pytest
import torch

from groundup.batches.batch import Batch
from groundup.batches.prefetch import Prefetch


class Recorded:
    """Batches that hold (step, shard, shards), and a list of what was read, in which thread."""

    def __init__(self, broken: int = -1) -> None:
        self.broken = broken
        self.read: list[tuple[int, int, int]] = []
        self.threads: set[str] = set()

    def batch(self, step: int, shard: int = 0, shards: int = 1) -> Batch:
        self.read.append((step, shard, shards))
        self.threads.add(threading.current_thread().name)
        if step == self.broken:
            raise ZeroDivisionError(f"step {step}")
        tokens_BT = torch.tensor([[step, shard, shards]])
        return Batch(tokens_BT, tokens_BT, torch.ones(1, 3))


def reading() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_batches_are_those_of_the_source_in_its_order(depth: int) -> None:
    source = Recorded()
    with Prefetch(source, depth) as ahead:
        found = [ahead.batch(step, 1, 4).tokens_BT.tolist() for step in range(5, 25)]
    assert found == [[[step, 1, 4]] for step in range(5, 25)]
    assert source.read[:20] == [(step, 1, 4) for step in range(5, 25)], "each is read once"
    assert len(source.read) <= 20 + depth
    assert source.threads == {"prefetch_0"}


def test_the_next_batches_are_read_while_nobody_asks() -> None:
    source = Recorded()
    with Prefetch(source, 2) as ahead:
        ahead.batch(0)
        until = time.monotonic() + 10
        while len(source.read) < 3 and time.monotonic() < until:
            time.sleep(0.001)
        assert source.read == [(0, 0, 1), (1, 0, 1), (2, 0, 1)]


def test_jumps_and_repetitions_find_the_right_batch() -> None:
    with Prefetch(Recorded(), 2) as ahead:
        for step, shard in ((0, 0), (1, 0), (7, 0), (7, 0), (3, 1), (4, 1), (4, 0)):
            assert ahead.batch(step, shard, 2).tokens_BT.tolist() == [[step, shard, 2]]
        assert len(ahead._ahead) <= 2


def test_an_error_reaches_the_caller_at_its_step_and_not_before() -> None:
    with Prefetch(Recorded(broken=3), 4) as ahead:
        for step in range(3):
            assert ahead.batch(step).tokens_BT[0, 0] == step
        for _ in range(2):
            with pytest.raises(ZeroDivisionError, match="step 3"):
                ahead.batch(3)
        assert ahead.batch(4).tokens_BT[0, 0] == 4


def test_nothing_runs_on_behind_the_block() -> None:
    source = Recorded()

    def interrupted() -> None:
        with Prefetch(source, 3) as ahead:
            ahead.batch(0)
            assert len(reading()) == 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert reading() == []
    count = len(source.read)
    time.sleep(0.02)
    assert len(source.read) == count


def test_closing_does_not_wait_for_batches_that_nobody_wants() -> None:
    class Slow(Recorded):
        def batch(self, step: int, shard: int = 0, shards: int = 1) -> Batch:
            time.sleep(0.02)
            return super().batch(step, shard, shards)

    source = Slow()
    with Prefetch(source, 20) as ahead:
        ahead.batch(0)
    assert len(source.read) < 20


def test_a_device_that_is_given_gets_the_batch() -> None:
    with Prefetch(Recorded(), device=torch.device("meta")) as ahead:
        batch = ahead.batch(0)
    assert {tensor.device.type for tensor in batch if tensor is not None} == {"meta"}


@pytest.mark.gpu
def test_a_gpu_gets_the_same_batches() -> None:
    with Prefetch(Recorded(), device=torch.device("cuda")) as ahead:
        for step in range(20):
            batch = ahead.batch(step)
            assert batch.tokens_BT.is_cuda
            assert batch.tokens_BT.tolist() == [[step, 0, 1]]
