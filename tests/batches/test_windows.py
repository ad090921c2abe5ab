"""Windows of a token stream: every epoch sees each once, in an order that only the seed and the step decide."""

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from groundup.batches.batch import Seen
from groundup.batches.token_stream import TokenStream
from groundup.batches.windows import Windows, WindowSource
from groundup.core.errors import InputError

lengths = st.integers(1, 12)


def counting(size: int) -> TokenStream:
    """A stream in which token i is i."""
    return TokenStream([np.arange(size, dtype=np.uint16)])


def starts_of_epoch(windows: Windows, epoch: int) -> list[int]:
    """Where the windows of an epoch start, in their order; in these tests token i is i."""
    numbers = range(epoch * windows.windows, (epoch + 1) * windows.windows)
    return windows.rows(numbers).tokens_BT[:, 0].tolist()


@given(st.integers(2, 300), lengths, st.integers(0, 5), st.integers(0, 3))
def test_an_epoch_sees_every_window_once(size: int, T: int, seed: int, epoch: int) -> None:
    T = min(T, size // 2)
    windows = Windows(counting(size), T, seed)
    starts = sorted(starts_of_epoch(windows, epoch))
    assert 0 <= starts[0] < T
    assert starts == list(range(starts[0], starts[0] + T * windows.windows, T)), "disjoint, without gaps"
    assert size - (starts[-1] + T + 1) < 2 * T, "less than two windows stay unused"


@given(st.integers(40, 300), lengths, st.integers(1, 5), st.integers(0, 100))
def test_targets_are_the_next_tokens(size: int, T: int, batch_size: int, step: int) -> None:
    tokens = np.random.default_rng(size).integers(0, 60_000, size).astype(np.uint16)
    batch = WindowSource(tokens, batch_size, T, seed=0).batch(step)
    assert batch.tokens_BT.shape == batch.targets_BT.shape == batch.weights_BT.shape == (batch_size, T)
    assert batch.tokens_BT.dtype == batch.targets_BT.dtype == torch.int64
    assert torch.equal(batch.tokens_BT[:, 1:], batch.targets_BT[:, :-1])
    assert torch.equal(batch.weights_BT, torch.ones(batch_size, T))
    assert batch.positions_BT is None, "a window is one stream"
    stream = tokens.tolist()
    windows = {tuple(stream[start : start + T + 1]) for start in range(size - T)}
    for row in range(batch_size):
        whole = (*batch.tokens_BT[row].tolist(), batch.targets_BT[row, -1].item())
        assert whole in windows


def test_a_batch_depends_on_the_step_alone() -> None:
    tokens = np.arange(1000, dtype=np.uint32)
    forwards, backwards = WindowSource(tokens, 4, 8, 3), WindowSource(tokens, 4, 8, 3)
    ahead = {step: forwards.batch(step) for step in range(70)}
    for step in reversed(range(70)):
        pairs = zip(backwards.batch(step)[:3], ahead[step][:3], strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)


def test_the_batch_size_does_not_change_the_order_of_examples() -> None:
    tokens = np.arange(500, dtype=np.uint16)
    small, large = WindowSource(tokens, 2, 8, 0), WindowSource(tokens, 6, 8, 0)
    joined = torch.cat([small.batch(step).tokens_BT for step in range(30)])
    assert torch.equal(joined, torch.cat([large.batch(step).tokens_BT for step in range(10)]))


def test_epochs_and_seeds_differ_in_order_and_grid() -> None:
    sources = [Windows(counting(2000), 10, seed) for seed in (0, 1)]
    orders = [starts_of_epoch(source, epoch) for source in sources for epoch in range(4)]
    assert len({tuple(order) for order in orders}) == 8
    assert len({min(order) for order in orders}) > 2, "the grid moves from epoch to epoch"
    assert all(order != sorted(order) for order in orders)


def test_the_order_is_the_one_that_earlier_runs_had() -> None:
    """Golden: runs of other days can be compared, and resumed."""
    source = WindowSource(np.arange(100, dtype=np.uint16), 3, 7, 5)
    starts = [source.batch(step).tokens_BT[:, 0].tolist() for step in range(5)]
    assert starts == [[33, 40, 61], [54, 5, 75], [47, 26, 89], [12, 82, 19], [68, 7, 77]]
    source = WindowSource((np.arange(100_003) ** 2 % 4093).astype(np.uint16), 16, 256, 0)
    digest = hashlib.blake2b(digest_size=12)
    for step in range(60):
        batch = source.batch(step)
        digest.update(batch.tokens_BT.numpy().tobytes())
        digest.update(batch.targets_BT.numpy().tobytes())
    assert digest.hexdigest() == "a6fdafd9203cc07603651b37"


def test_repetition_is_counted() -> None:
    windows = Windows(counting(1000), 9, 0)
    assert windows.windows == 110
    assert windows.seen(55) == (Seen("", 55 * 9, 110 * 9),)
    assert [each.epochs for each in windows.seen(55) + windows.seen(220)] == [0.5, 2]


def test_too_little_text_is_refused_and_two_contexts_are_enough() -> None:
    with pytest.raises(InputError, match="has 19 tokens, fewer than two contexts of 10; give more text or a smaller"):
        WindowSource(np.arange(19), 1, 10, 0)
    with pytest.raises(InputError, match="runs/a/tokens has 0 tokens, fewer than two contexts of 10"):
        Windows(TokenStream([], place="runs/a/tokens"), 10, 0)
    windows = Windows(counting(20), 10, 0)
    assert windows.windows == 1
    assert windows.rows(range(30)).tokens_BT.shape == (30, 10)
