"""Packing: every token once, documents whole where they fit, as tight as best fit by hand, isolated in the model."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from groundup.batches.batch import Batch
from groundup.batches.packing import PackedDocuments, best_fit_decreasing, pieces
from groundup.batches.token_stream import TokenStream
from groundup.core.errors import InputError
from groundup.models.decoder import Decoder
from groundup.models.initialization import initialize
from groundup.models.presets import llama

END = 0
texts = st.lists(st.lists(st.integers(1, 60_000), max_size=25), min_size=1, max_size=30)


def stream_of(documents: list[list[int]], cut: int = 0) -> TokenStream:
    """Documents behind separators, in two shards."""
    ids = np.array([token for document in documents for token in (END, *document)], dtype=np.uint16)
    return TokenStream([ids[:cut], ids[cut:]], separator=END, place="the folder")


def documents_in(batch: Batch) -> list[tuple[list[int], list[int]]]:
    """Inputs and targets of each isolated piece with weight, by the positions alone."""
    found: list[tuple[list[int], list[int]]] = []
    assert batch.positions_BT is not None
    rows = zip(*(tensor.tolist() for tensor in batch if tensor is not None), strict=True)
    for tokens, targets, weights, positions in rows:
        assert positions[0] == 0
        for token, target, weight, position, before in zip(
            tokens, targets, weights, positions, [-1, *positions[:-1]], strict=True
        ):
            assert position in (0, before + 1)
            if weight == 0:
                continue
            assert weight == 1
            if position == 0:
                found.append(([], []))
            found[-1][0].append(token)
            found[-1][1].append(target)
    return found


@given(texts, st.integers(1, 12), st.integers(0, 9), st.integers(0, 2), st.integers(0, 40))
def test_an_epoch_conserves_tokens(texts: list[list[int]], T: int, seed: int, epoch: int, cut: int) -> None:
    """Each piece of each document is in one row, whole, predicts what follows, and rows differ in their order only."""
    T = min(T, sum(len(text) + 1 for text in texts))
    packed = PackedDocuments(stream_of(texts, cut), T, seed)
    batch = packed.rows(range(epoch * packed.rows_per_epoch, (epoch + 1) * packed.rows_per_epoch))
    expected = []
    for text in texts:
        inputs, targets = [END, *text], [*text, END]
        expected += [(inputs[at : at + T], targets[at : at + T]) for at in range(0, len(inputs), T)]
    assert sorted(documents_in(batch)) == sorted(expected)
    assert batch.weights_BT.sum() == len(packed.stream)
    assert packed.utilisation == pytest.approx(batch.weights_BT.mean().item())
    assert (batch.tokens_BT[batch.weights_BT == 0] == END).all()
    assert all(tensor.shape == (packed.rows_per_epoch, T) for tensor in batch if tensor is not None)
    assert [tensor.dtype for tensor in batch if tensor is not None] == [torch.int64] * 2 + [torch.float32, torch.int64]


def best_fit_by_hand(lengths: list[int], capacity: int) -> list[int]:
    """The space left in each row."""
    spaces: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [space for space in spaces if space >= length]
        if fitting:
            spaces[spaces.index(min(fitting))] -= length
        else:
            spaces.append(capacity - length)
    return sorted(spaces)


@given(st.integers(1, 40), st.data())
def test_rows_are_those_of_best_fit_by_hand(capacity: int, data: st.DataObject) -> None:
    lengths = data.draw(st.lists(st.integers(1, capacity), min_size=1, max_size=80))
    row_of = best_fit_decreasing(np.array(lengths), capacity)
    filled = np.bincount(row_of, weights=lengths)
    assert set(row_of.tolist()) == set(range(len(filled)))
    assert sorted(capacity - filled) == best_fit_by_hand(lengths, capacity)


def test_many_documents_fill_rows_almost_whole() -> None:
    """Lengths as in the wild, from a few tokens to several contexts: next to no row more than the tokens need."""
    lengths = np.random.default_rng(0).lognormal(5.5, 1.2, 100_000).astype(np.int64) + 1
    _, sizes = pieces(np.cumsum(lengths) - lengths, int(lengths.sum()), 1024)
    row_of = best_fit_decreasing(sizes, 1024)
    rows, fewest = int(row_of.max()) + 1, math.ceil(int(lengths.sum()) / 1024)
    assert np.bincount(row_of, weights=sizes).max() <= 1024
    assert fewest <= rows < fewest * 1.0005


def test_pieces_of_long_documents() -> None:
    starts, lengths = pieces(np.array([0, 3, 10, 14]), 15, 4)
    assert starts.tolist() == [0, 3, 7, 10, 14]
    assert lengths.tolist() == [3, 4, 3, 4, 1]


def test_epochs_and_seeds_are_other_orders_of_the_same_rows() -> None:
    documents = [[number] * (number % 7) for number in range(1, 200)]
    packings = [PackedDocuments(stream_of(documents), 16, seed) for seed in (0, 0, 1)]
    count = packings[0].rows_per_epoch
    epochs = [range(count), range(count, 2 * count)]
    orders = [packed.rows(epoch).tokens_BT for packed in packings for epoch in epochs]
    as_tuples = [tuple(map(tuple, order.tolist())) for order in orders]
    assert as_tuples[0] == as_tuples[2]
    assert as_tuples[1] == as_tuples[3]
    assert len({as_tuples[0], as_tuples[1], as_tuples[4], as_tuples[5]}) == 4
    assert len({tuple(sorted(order)) for order in as_tuples}) == 1
    assert [round(packings[0].seen(number)[0].epochs, 2) for number in (0, count, 3 * count)] == [0, 1, 3]


def test_a_packed_row_is_its_documents_one_by_one_to_the_model() -> None:
    documents = [[5, 9, 3], [7] * 6, [4, 8], [2, 1, 6, 3]]
    batch = PackedDocuments(stream_of(documents), 12, 0).rows(range(2))
    model = Decoder(llama(12, context_length=12, width=16, depth=2, num_heads=2, num_kv_heads=1, mlp_width=24))
    initialize(model, 0)
    hidden_BTD = model(batch.tokens_BT, batch.positions_BT)
    losses_BT = model.losses(hidden_BTD, batch.targets_BT)
    alone = []
    for document in documents:
        tokens_BT, targets_BT = torch.tensor([[END, *document]]), torch.tensor([[*document, END]])
        alone.append(model.losses(model(tokens_BT), targets_BT).sum())
    assert (losses_BT * batch.weights_BT).sum().item() == pytest.approx(torch.stack(alone).sum().item(), rel=1e-5)


def test_text_that_cannot_be_packed_is_refused() -> None:
    with pytest.raises(InputError, match="the folder has 4 tokens, fewer than a context of 5; give more text or a"):
        PackedDocuments(stream_of([[1, 2, 3]]), 5, 0)
    with pytest.raises(InputError, match="the folder has no separator in front of its documents, so they cannot be"):
        PackedDocuments(TokenStream([np.arange(9)], place="the folder"), 5, 0)
    assert PackedDocuments(stream_of([[1, 2, 3]]), 4, 0).rows_per_epoch == 1
