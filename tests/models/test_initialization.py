"""Fresh weights: the stated distributions, a first loss near ln V, and nothing but the seed decides."""

import math

import pytest
import torch
from tiny_decoders import tiny_config, tiny_tokens

from groundup.models.config import DecoderConfig
from groundup.models.decoder import Decoder
from groundup.models.initialization import initialize
from groundup.models.presets import llama

CUT_NORMAL_STD = 0.98658  # of a standard normal cut at 3


def fresh(config: DecoderConfig, seed: int = 0) -> Decoder:
    decoder = Decoder(config)
    initialize(decoder, seed)
    return decoder


def expected_std(name: str, shape: torch.Size, config: DecoderConfig) -> float:
    std = math.sqrt(2 / (shape[0] + shape[1]))
    if name == "embedding":
        return 1.0
    if name == "unembedding":
        return std / math.sqrt(config.width)
    return std / math.sqrt(2 * config.depth) if name.endswith(("output", "down")) else std


def test_each_weight_has_its_distribution() -> None:
    config = llama(vocab_size=500, width=128, depth=3, num_heads=4, num_kv_heads=2, mlp_width=300, qk_norm=True)
    for name, parameter in fresh(config).named_parameters():
        if parameter.ndim == 1:
            assert torch.equal(parameter, torch.ones_like(parameter)), name
            continue
        std = expected_std(name, parameter.shape, config)
        assert parameter.std().item() == pytest.approx(std * CUT_NORMAL_STD, rel=0.03), name
        assert abs(parameter.mean().item()) < 0.04 * std, name
        assert parameter.abs().max().item() <= 3 * std * (1 + 1e-6), name
        assert parameter.abs().max().item() > 2.6 * std, name


@pytest.mark.parametrize("depth", [1, 8])
def test_the_first_loss_is_near_that_of_a_guess(depth: int) -> None:
    config = tiny_config(depth=depth, vocab_size=512, width=64)
    assert first_loss(config) == pytest.approx(math.log(512), abs=0.02)


def test_the_first_loss_of_tied_embeddings_is_near_that_of_a_guess() -> None:
    config = tiny_config(vocab_size=512, width=64, tie_embeddings=True)
    assert first_loss(config) == pytest.approx(math.log(512), abs=0.15)


def first_loss(config: DecoderConfig) -> float:
    tokens_BT = tiny_tokens(8, 33)
    with torch.no_grad():
        return fresh(config).token_losses(tokens_BT[:, :-1], tokens_BT[:, 1:]).mean().item()


def test_the_residual_stream_does_not_grow_with_depth() -> None:
    widths = []
    for depth in (2, 24):
        decoder = fresh(tiny_config(depth=depth))
        streams = []
        decoder.blocks[-1].register_forward_hook(lambda *arguments, streams=streams: streams.append(arguments[-1]))
        with torch.no_grad():
            decoder(tiny_tokens(4, 30))
        widths.append(streams[0].square().mean().sqrt().item())
    assert widths[1] < 1.15 * widths[0]


def test_the_seed_decides_and_nothing_else() -> None:
    torch.manual_seed(1)
    first = fresh(tiny_config(), seed=5).state_dict()
    torch.manual_seed(2)
    again, other = fresh(tiny_config(), seed=5).state_dict(), fresh(tiny_config(), seed=6).state_dict()
    for name, weight in first.items():
        assert torch.equal(weight, again[name]), name
        assert weight.ndim == 1 or not torch.equal(weight, other[name]), name


def test_drawing_leaves_pytorchs_own_generator_alone() -> None:
    before = torch.get_rng_state()
    fresh(tiny_config())
    assert torch.equal(torch.get_rng_state(), before)
