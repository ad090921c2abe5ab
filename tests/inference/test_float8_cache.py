"""A cache of float8 numbers, emulated: which numbers it holds, and that nothing else changes."""

import pytest
import torch
from tiny_engines import tiny_engine

from groundup.inference.float8_cache import RoundedSlots, float8_cache_losses, rounded, with_float8


def test_numbers_have_three_bits_of_mantissa():
    values = torch.tensor([1.0, 1.06, 1.07, -17.4, 1000.0, -1000.0, 0.0])
    assert rounded(values).tolist() == [1.0, 1.0, 1.125, -18.0, 448.0, -448.0, 0.0]
    assert rounded(values.bfloat16()).dtype == torch.bfloat16


def test_the_cache_returns_rounded_keys_and_values():
    model = tiny_engine().model
    cache = with_float8(model.new_cache(1, 4))
    layer = cache.layers[0]
    assert isinstance(layer, RoundedSlots)
    k, v = (torch.randn(1, 1, 3, 16, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    keys, values, _ = layer.update(torch.arange(3)[None], k, v)
    assert torch.equal(keys[:, :, :3], rounded(k))
    assert torch.equal(values[:, :, :3], rounded(v))


def test_losses_are_near_those_of_an_exact_cache(monkeypatch: pytest.MonkeyPatch):
    model = tiny_engine().model
    tokens = torch.randint(256, (2, 24), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        exact = model.token_losses(tokens, tokens)
        changed = float8_cache_losses(model, tokens, tokens)
        assert 1e-4 < (changed - exact).abs().mean() < 0.1 * exact.mean()
        monkeypatch.setattr("groundup.inference.float8_cache.rounded", lambda x: x)
        torch.testing.assert_close(float8_cache_losses(model, tokens, tokens), exact)
