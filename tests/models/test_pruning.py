"""Smaller decoders out of larger ones: what is kept computes what it did, and what matters least goes first."""

import pytest
import torch

from groundup.core.errors import ConfigError
from groundup.models.building import build_model
from groundup.models.config import DecoderConfig, Layer
from groundup.models.initialization import initialize
from groundup.models.mixer_config import Attention, DenseMLP, GatedMLP, SharedAttention
from groundup.models.pruning import layer_importance, unit_importance, with_fewer_units, without_layers

CONFIG = DecoderConfig(61, 32, 16, 4, (Layer(Attention(2, 1), GatedMLP(hidden_width=24, bias=True)),))
TOKENS = [torch.randint(61, (2, 10), generator=torch.Generator().manual_seed(seed)) for seed in range(3)]


@pytest.fixture
def model():
    decoder = build_model(CONFIG)
    initialize(decoder, 0)
    return decoder.eval()


def smaller(config, weights):
    decoder = build_model(config)
    decoder.load_state_dict(weights)
    return decoder.eval()


def test_layers_that_do_nothing_matter_least_and_are_not_missed(model):
    with torch.no_grad():
        for name in ("sequence.output", "channel.down", "channel.down_bias"):
            model.get_parameter(f"blocks.1.{name}").zero_()
        model.blocks[2].channel.down.mul_(30)
    importance = layer_importance(model, TOKENS)
    assert importance.argmin() == 1
    assert importance[1].abs() < 1e-6
    assert importance.argmax() == 2
    pruned = smaller(*without_layers(CONFIG, model.state_dict(), [0, 2, 3]))
    assert len(pruned.blocks) == 3
    torch.testing.assert_close(pruned(TOKENS[0]), model(TOKENS[0]))


def test_layers_of_several_kinds_keep_theirs():
    other = Layer(Attention(2, 2), DenseMLP(hidden_width=20))
    config = DecoderConfig(61, 32, 16, 5, (CONFIG.layers[0], other), first_layers=(other,))
    decoder = build_model(config)
    found, weights = without_layers(config, decoder.state_dict(), [4, 1])
    assert found.all_layers == (config.all_layers[1], config.all_layers[4])
    smaller(found, weights)
    with pytest.raises(ConfigError, match="gated MLP"):
        unit_importance(decoder, TOKENS)


def test_the_importance_of_a_unit_is_the_mean_size_of_what_it_gives(model):
    seen = []
    model.blocks[1].channel.register_forward_pre_hook(lambda mlp, inputs: seen.append(inputs[0]))
    found = unit_importance(model, TOKENS)[1]
    mlp = model.blocks[1].channel
    x = torch.cat([each.flatten(0, 1) for each in seen])
    units = torch.nn.functional.silu(x @ mlp.gate.T + mlp.gate_bias) * (x @ mlp.up.T + mlp.up_bias)
    torch.testing.assert_close(found / found.sum(), units.abs().mean(dim=0) / units.abs().mean(dim=0).sum())


def test_units_that_give_nothing_are_not_missed(model):
    with torch.no_grad():
        for block in model.blocks:
            block.channel.up[::3] = 0
            block.channel.up_bias[::3] = 0
    found = with_fewer_units(CONFIG, model.state_dict(), unit_importance(model, TOKENS), 16)
    assert found[0].layers[0].channel.hidden_width == 16
    torch.testing.assert_close(smaller(*found)(TOKENS[0]), model(TOKENS[0]))


def test_what_cannot_be_is_refused(model):
    for kept in ([], [4], [1, 1]):
        with pytest.raises(ConfigError, match="layers to keep"):
            without_layers(CONFIG, model.state_dict(), kept)
    shared = DecoderConfig(61, 32, 16, 4, (CONFIG.layers[0], Layer(SharedAttention(), GatedMLP())))
    with pytest.raises(ConfigError, match="share keys"):
        without_layers(shared, {}, [0, 1])
    with pytest.raises(ConfigError, match="25 units"):
        with_fewer_units(CONFIG, model.state_dict(), unit_importance(model, TOKENS), 25)
