"""Weights of one model in another: the same shape, experts out of an MLP, and what does not fit."""

from dataclasses import replace

import pytest
import torch

from groundup.core.errors import InputError
from groundup.models.config import DecoderConfig, Layer
from groundup.models.decoder import Decoder
from groundup.models.initialization import initialize
from groundup.models.mixer_config import Attention, GatedMLP, MixtureOfExperts
from groundup.training.warm_start import warm_weights

DENSE = DecoderConfig(31, 16, 32, 2, layers=(Layer(Attention(2, 1), GatedMLP(48)),))


def experts(**changes: int) -> tuple[Layer, ...]:
    return (Layer(Attention(2, 1), MixtureOfExperts(4, 2, **changes)),)


def decoder(config: DecoderConfig, seed: int) -> Decoder:
    model = Decoder(config).eval()
    initialize(model, seed)
    return model


def started(config: DecoderConfig, known: Decoder) -> Decoder:
    model = decoder(config, 7)
    model.load_state_dict(warm_weights(model.state_dict(), known.state_dict()))
    return model


def logits(model: Decoder) -> torch.Tensor:
    with torch.no_grad():
        return model.unembed(model(torch.arange(24).reshape(2, 12)))


def test_the_same_shape_takes_all() -> None:
    known = decoder(DENSE, 0)
    assert torch.equal(logits(started(replace(DENSE, z_loss=1e-4), known)), logits(known))


@pytest.mark.parametrize("rate", [0.0, 1e-3])
@pytest.mark.parametrize("chosen", [2, 3, 4])
def test_experts_that_are_copies_compute_what_the_mlp_did(chosen: int, rate: float) -> None:
    known = decoder(DENSE, 0)
    experts = MixtureOfExperts(4, chosen, hidden_width=48, balance_bias_rate=rate)
    config = replace(DENSE, layers=(Layer(Attention(2, 1), experts),))
    model = started(config, known)
    torch.testing.assert_close(logits(model), logits(known), atol=1e-5, rtol=0)
    block = model.blocks[0].get_submodule("channel")
    assert torch.equal(block.router, decoder(config, 7).blocks[0].get_submodule("channel").router)
    assert block.gate.untyped_storage().nbytes() == 4 * 4 * 48 * 32  # copies of their own


def test_only_some_layers_may_become_experts() -> None:
    known = decoder(DENSE, 0)
    mixed = replace(DENSE, layers=(DENSE.layers[0], Layer(Attention(2, 1), MixtureOfExperts(4, 2, hidden_width=48))))
    torch.testing.assert_close(logits(started(mixed, known)), logits(known), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"width": 64}, "embedding is 31 x 32 in the checkpoint and 31 x 64 in this model"),
        ({"depth": 3}, r"The checkpoint has no blocks\.2\..*, which this model needs"),
        ({"depth": 1}, r"The checkpoint has blocks\.1\..*, for which this model has no place"),
        ({"layers": experts(hidden_width=40)}, "channel.gate is 48 x 32 in the checkpoint and 4 x 40 x 32"),
        ({"layers": experts(hidden_width=48, shared_width=8)}, "has no .*shared_"),
    ],
)
def test_what_does_not_fit(changes: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        started(replace(DENSE, **changes), decoder(DENSE, 0))


def test_experts_do_not_become_an_mlp() -> None:
    experts = replace(DENSE, layers=(Layer(Attention(2, 1), MixtureOfExperts(4, 2, hidden_width=48)),))
    with pytest.raises(InputError, match="has no place"):
        started(DENSE, decoder(experts, 0))
