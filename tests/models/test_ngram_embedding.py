"""Embeddings of n-grams against Python integers and a loop over tokens; caches and packing: `test_any_decoder.py`."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from groundup.accounting.decoder import parameters
from groundup.core.errors import ConfigError
from groundup.models.config import DecoderConfig
from groundup.models.decoder import Decoder
from groundup.models.initialization import initialize
from groundup.models.ngram_embedding import NgramEmbedding, hashed
from groundup.optim.build import build_optimizers
from groundup.optim.config import OptimizerConfig

BUCKETS, D = 50, 6


def bucket_by_hand(tokens: list[int], buckets: int) -> int:
    """Newest token first; integers without bounds, cut to 64 bits with a sign, as int64 has it."""
    key = 0
    for token in tokens:
        key = (key + token + 1) * 0x9E3779B1 % 2**64
        key = key - 2**64 if key >= 2**63 else key
        key ^= key >> 15
    return key % buckets


def by_hand(module: NgramEmbedding, tokens: list[int], positions: list[int]) -> Tensor:
    rows = []
    for at, position in enumerate(positions):
        row = torch.zeros(D)
        for table_ND, length in zip(module.tables, module.lengths, strict=True):
            window = [tokens[at - back] if back <= position else -1 for back in range(length)]
            row = row + table_ND[bucket_by_hand(window, BUCKETS)]
        rows.append(row)
    return torch.stack(rows)


def module_with(lengths: tuple[int, ...]) -> NgramEmbedding:
    module = NgramEmbedding(lengths, BUCKETS, D)
    torch.nn.init.normal_(module.tables, generator=torch.Generator().manual_seed(0))
    return module


@pytest.mark.parametrize("lengths", [(2,), (4,), (2, 3), (3, 2, 5)])
@pytest.mark.parametrize("positions", [list(range(12)), [0, 1, 2, 0, 1, 2, 3, 4, 0, 0, 1, 2]], ids=["one", "packed"])
def test_it_is_the_sum_over_lengths(lengths: tuple[int, ...], positions: list[int]) -> None:
    module, tokens_BT = (
        module_with(lengths),
        torch.randint(100_000, (3, 12), generator=torch.Generator().manual_seed(1)),
    )
    found = module(tokens_BT, torch.tensor(positions), None)
    for row, tokens in zip(found, tokens_BT.tolist(), strict=True):
        assert_close(row, by_hand(module, tokens, positions))


def test_buckets_are_filled_evenly() -> None:
    """All pairs of 300 tokens in 1,000 buckets: χ² over its 999 degrees of freedom is near 1 for a good hash."""
    first, second = torch.meshgrid(torch.arange(300), torch.arange(300), indexing="ij")
    counts = torch.bincount(hashed([first.flatten(), second.flatten()], 1000), minlength=1000).double()
    assert ((counts - 90) ** 2 / 90).sum().item() / 999 < 1.2
    forwards, backwards = hashed([first, second], 1 << 40), hashed([second, first], 1 << 40)
    assert (forwards == backwards).sum() == 300  # the order counts


def test_a_decoder_starts_without_them_and_trains_them() -> None:
    config = DecoderConfig(vocab_size=40, context_length=8, width=64, depth=1, ngram_lengths=(2, 3), ngram_buckets=32)
    plain, with_them = (Decoder(DecoderConfig(**{**vars(config), "ngram_lengths": each})) for each in ((), (2, 3)))
    for decoder in (plain, with_them):
        initialize(decoder, 0)
    tokens_BT = torch.randint(40, (2, 8), generator=torch.Generator().manual_seed(2))
    assert_close(with_them(tokens_BT), plain(tokens_BT))
    assert sum(each.numel() for each in with_them.parameters()) == parameters(config)
    with_them.token_losses(tokens_BT, tokens_BT).mean().backward()
    assert with_them.ngrams is not None
    touched = with_them.ngrams.tables.grad.abs().amax(dim=-1) > 0
    assert 0 < touched.sum() <= 2 * 2 * 8
    groups = {
        group["name"]: group for each in build_optimizers(with_them, OptimizerConfig()) for group in each.param_groups
    }
    assert any(each is with_them.ngrams.tables for each in groups["embedding"]["params"])


@pytest.mark.parametrize("lengths", [(1,), (0, 2), (2, 2)])
def test_impossible_lengths_are_refused(lengths: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="give different lengths of 2 tokens or more"):
        DecoderConfig(ngram_lengths=lengths)
