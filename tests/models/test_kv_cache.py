"""The cache: what is written where, what is kept within a window, padding, and rows that leave."""

import pytest
import torch
from tiny_decoders import tiny_decoder, tiny_tokens
from torch import Tensor

from groundup.models.cache import RingCache, SlotCache, key_value_cache

B, G, K = 3, 2, 5


def written(positions_BT: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    k_BGTK, v_BGTK = (torch.randn(B, G, positions_BT.shape[1], K, generator=generator) for _ in range(2))
    return k_BGTK, v_BGTK


def found_at(row: int, position: int, found: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The one key and value that a row remembers for a position."""
    keys_BGSK, values_BGSK, positions_BS = found
    slots = (positions_BS.expand(B, -1)[row] == position).nonzero()[:, 0].tolist()
    assert len(slots) == 1, f"position {position} lies in slots {slots}"
    return keys_BGSK[row, :, slots[0]], values_BGSK[row, :, slots[0]]


@pytest.mark.parametrize("window", [None, 4])
def test_keys_and_values_are_found_at_their_positions(window: int | None) -> None:
    cache = key_value_cache(B, G, 16, window, (K, K), torch.empty(0))
    assert isinstance(cache, SlotCache if window is None else RingCache)
    expected: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
    steps = [
        torch.tensor([[0, 1, 2, 3, 4, 5], [0, 1, 2, -1, -1, -1], [0, 1, 2, 3, 4, -1]]),
        torch.tensor([[6], [3], [5]]),
        torch.tensor([[7, 8], [4, 5], [6, -1]]),
    ]
    for step, positions_BT in enumerate(steps):
        k_BGTK, v_BGTK = written(positions_BT, step)
        found = cache.update(positions_BT, k_BGTK, v_BGTK)
        for row in range(B):
            for time, position in enumerate(positions_BT[row].tolist()):
                if position >= 0:
                    expected[row, position] = k_BGTK[row, :, time], v_BGTK[row, :, time]
            newest = int(positions_BT[row].max())
            first = 0 if window is None else max(0, newest - window + 1)
            for position in range(first, newest + 1):
                for one, other in zip(found_at(row, position, found), expected[row, position], strict=True):
                    assert torch.equal(one, other)


def test_a_window_as_long_as_the_context_needs_no_ring() -> None:
    assert isinstance(key_value_cache(1, 1, 8, 8, (K, K), torch.empty(0)), SlotCache)


@torch.no_grad()
def test_what_lies_behind_a_position_is_not_seen() -> None:
    decoder, tokens_BT = tiny_decoder(), tiny_tokens(2, 8)
    cache = decoder.new_cache(2, 12)
    for layer in cache.layers:
        for tensor in vars(layer).values():
            tensor.fill_(50.0)
    found = decoder(tokens_BT, torch.arange(8).expand(2, -1), cache)
    torch.testing.assert_close(found, decoder(tokens_BT), atol=1e-5, rtol=0)


@torch.no_grad()
def test_rows_that_stay_go_on_as_if_alone() -> None:
    decoder, tokens_BT = tiny_decoder(), tiny_tokens(4, 10)
    cache = decoder.new_cache(4, 10)
    decoder(tokens_BT[:, :9], torch.arange(9).expand(4, -1), cache)
    kept = torch.tensor([3, 1])
    cache.keep_rows(kept)
    assert all(tensor.shape[0] == 2 for layer in cache.layers for tensor in vars(layer).values())
    last = decoder(tokens_BT[kept, 9:], torch.full((2, 1), 9), cache)
    torch.testing.assert_close(last[:, 0], decoder(tokens_BT[kept])[:, -1], atol=1e-5, rtol=0)


def test_a_cache_has_the_models_dtype() -> None:
    cache = tiny_decoder(depth=3).to(torch.bfloat16).new_cache(5, 7)
    assert len(cache.layers) == 3
    for layer in cache.layers:
        assert {tensor.dtype for tensor in vars(layer).values()} == {torch.bfloat16}
