"""What holds for every mixer that carries a state from token to token: caches, padding, packed documents, bf16."""

import pytest
import torch
from recurrent_mixers import DELTA_RULES, LINEAR_ATTENTIONS, PACKED, STATE_SPACES, D, randn, random_mixer
from torch import Tensor
from torch.testing import assert_close

from groundup.models.cache import LayerCache, StateCache
from groundup.models.mixer_config import LinearAttention, SequenceMixer, StateSpace

MIXERS = {**DELTA_RULES, **STATE_SPACES, **LINEAR_ATTENTIONS}
mixers = pytest.mark.parametrize("config", MIXERS.values(), ids=MIXERS)
WHOLE = torch.arange(150)


@mixers
@pytest.mark.parametrize("steps", [[149], [1, 148], [64, 1, 1, 83], [7, 60, 82], [1, 1, 1, 1, 2, 61, 82]], ids=str)
@torch.no_grad()
def test_cached_is_uncached_for_rows_of_every_length(config: SequenceMixer, steps: list[int]) -> None:
    lengths, rows_B = torch.tensor([149, 1, 2, 3, 64, 97]), torch.arange(6)
    module, x_BTD, rtol = random_mixer(config), randn(6, 150, D), 0 if isinstance(config, LinearAttention) else 1e-5
    expected, cache, first = module(x_BTD, WHOLE, None), module.new_cache(6, 150), 0
    for step in steps:
        at_T = torch.arange(first, first + step)
        positions_BT = torch.where(at_T < lengths[:, None], at_T, -1)
        found = module(x_BTD[:, at_T], positions_BT, cache)
        assert found.isfinite().all()
        real_BT = positions_BT >= 0
        assert_close(found[real_BT], expected[:, at_T][real_BT], atol=1e-5, rtol=rtol)
        first += step
    last = module(x_BTD[rows_B, lengths][:, None], lengths[:, None], cache)  # and each row goes on at its own end
    assert_close(last[:, 0], expected[rows_B, lengths], atol=1e-5, rtol=rtol)


def memories(cache: LayerCache, config: SequenceMixer) -> list[Tensor]:
    """The state, and what the convolution remembers where there is one."""
    assert isinstance(cache, StateCache)
    assert (cache.tail_BWC is not None) == hasattr(config, "convolution")
    return [cache.state] if cache.tail_BWC is None else [cache.state, cache.tail_BWC]


@mixers
@pytest.mark.parametrize("T", [1, 3])
@torch.no_grad()
def test_padding_changes_no_memory(config: SequenceMixer, T: int) -> None:
    module = random_mixer(config)
    cache, padding = module.new_cache(2, 20), (randn(2, T, D, seed=3), torch.full((2, T), -1))
    assert module(*padding, cache).isfinite().all()
    assert not any(memory.any() for memory in memories(cache, config))
    module(randn(2, 9, D), torch.arange(9), cache)
    before = [memory.clone() for memory in memories(cache, config)]
    assert module(*padding, cache).isfinite().all()
    assert all(torch.equal(old, new) for old, new in zip(before, memories(cache, config), strict=True))


@mixers
@torch.no_grad()
def test_documents_of_a_packed_row_are_as_alone(config: SequenceMixer) -> None:
    module, x_BTD = random_mixer(config), randn(2, 150, D)
    found = module(x_BTD, torch.stack((PACKED, WHOLE)), None)
    assert_close(found[1:], module(x_BTD[1:], WHOLE, None), atol=1e-6, rtol=0)
    for first in (PACKED == 0).nonzero()[:, 0].tolist():
        length = int((PACKED[first:] == torch.arange(150 - first)).sum())
        alone = module(x_BTD[:1, first : first + length], torch.arange(length), None)
        assert_close(found[:1, first : first + length], alone, atol=1e-5, rtol=0)


@mixers
@torch.no_grad()
def test_rows_and_what_comes_later_do_not_matter(config: SequenceMixer) -> None:
    module, x_BTD, atol = random_mixer(config), randn(3, 150, D), 2e-6 if isinstance(config, StateSpace) else 1e-6
    found = module(x_BTD, WHOLE, None)
    assert_close(module(x_BTD[1:2], WHOLE, None), found[1:2], atol=atol, rtol=0)
    for t in (1, 63, 64, 100):
        changed_BTD = x_BTD.clone()
        changed_BTD[:, t:] += 10
        changed = module(changed_BTD, WHOLE, None)
        assert_close(changed[:, :t], found[:, :t], atol=atol, rtol=0)
        assert not torch.allclose(changed[:, t:], found[:, t:], atol=1e-2)


@mixers
@torch.no_grad()
def test_bf16_gives_bf16_and_a_state_of_fp32(config: SequenceMixer) -> None:
    module, x_BTD = random_mixer(config), randn(2, 80, D)
    expected = module(x_BTD, torch.arange(80), None)
    small, cache = module.bfloat16(), module.new_cache(2, 81)
    found = small(x_BTD.bfloat16(), torch.arange(80), cache)
    assert found.dtype == torch.bfloat16
    assert (found.float() - expected).abs().max() < 0.05 * expected.abs().max()
    assert small(x_BTD[:, :1].bfloat16(), torch.full((2, 1), 80), cache).isfinite().all()
    state, *tails = memories(cache, config)
    assert state.dtype == torch.float32
    assert all(tail.dtype == torch.bfloat16 for tail in tails)
