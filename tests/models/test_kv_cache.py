"""The cache: what is written where, who sees what, and rows that leave."""

import torch
from tiny_decoders import tiny_config, tiny_decoder, tiny_tokens

from groundup.models.cache import KVCache


def test_keys_and_values_land_at_their_positions_only() -> None:
    config = tiny_config(depth=1)
    layer = KVCache(config, 2, 10, torch.float32).layers[0]
    positions_BT = torch.tensor([[0, 1, 2], [4, 5, 6]])
    k_BGTK, v_BGTK = (torch.randn(2, config.num_kv_heads, 3, config.head_width) for _ in range(2))
    keys_BGSK, values_BGSK = layer.update(positions_BT, k_BGTK, v_BGTK)
    for row in range(2):
        for slot in range(10):
            at = (positions_BT[row] == slot).nonzero()
            written = (k_BGTK[row, :, at[0, 0]], v_BGTK[row, :, at[0, 0]]) if len(at) else None
            for found, index in ((keys_BGSK, 0), (values_BGSK, 1)):
                expected = written[index] if written else torch.zeros_like(found[row, :, slot])
                assert torch.equal(found[row, :, slot], expected)


def test_a_query_sees_the_slots_up_to_its_position() -> None:
    layer = KVCache(tiny_config(), 2, 6, torch.float32).layers[0]
    positions_BT = torch.tensor([[0, 3], [5, 1]])
    expected = [[[slot <= position for slot in range(6)] for position in row] for row in positions_BT.tolist()]
    assert layer.visible(positions_BT).tolist() == expected


@torch.no_grad()
def test_what_lies_behind_a_position_is_not_seen() -> None:
    decoder, tokens_BT = tiny_decoder(), tiny_tokens(2, 8)
    cache = KVCache(decoder.config, 2, 12, torch.float32)
    for layer in cache.layers:
        layer.keys_BGSK.fill_(50.0)
        layer.values_BGSK.fill_(-50.0)
    found = decoder(tokens_BT, torch.arange(8).expand(2, -1), cache)
    torch.testing.assert_close(found, decoder(tokens_BT), atol=1e-5, rtol=0)


@torch.no_grad()
def test_rows_that_stay_go_on_as_if_alone() -> None:
    decoder, tokens_BT = tiny_decoder(), tiny_tokens(4, 10)
    cache = KVCache(decoder.config, 4, 10, torch.float32)
    decoder(tokens_BT[:, :9], torch.arange(9).expand(4, -1), cache)
    kept = torch.tensor([3, 1])
    cache.keep_rows(kept)
    assert all(layer.keys_BGSK.shape[0] == layer.values_BGSK.shape[0] == 2 for layer in cache.layers)
    last = decoder(tokens_BT[kept, 9:], torch.full((2, 1), 9), cache)
    torch.testing.assert_close(last[:, 0], decoder(tokens_BT[kept])[:, -1], atol=1e-5, rtol=0)


def test_shapes_and_dtype_are_those_asked_for() -> None:
    config = tiny_config(depth=3)
    cache = KVCache(config, 5, 7, torch.bfloat16)
    assert len(cache.layers) == 3
    for layer in cache.layers:
        for tensor in (layer.keys_BGSK, layer.values_BGSK):
            assert tensor.shape == (5, config.num_kv_heads, 7, config.head_width)
            assert tensor.dtype == torch.bfloat16
