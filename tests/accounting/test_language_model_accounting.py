"""Parameters and FLOPs of every kind of model, beside the modules themselves and what PyTorch counts."""

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from groundup.accounting.language_model import parameters, training_flops_per_token
from groundup.models.building import build_model
from groundup.models.config import DecoderConfig, Layer, Norm
from groundup.models.hierarchical_config import FixedPatches, HierarchicalConfig, SpacePatches
from groundup.models.initialization import initialize
from groundup.models.lstm_config import LstmConfig
from groundup.models.mixer_config import Attention, GatedMLP

LOCAL = (Layer(Attention(2, 2), GatedMLP(24)),)
GLOBAL = (Layer(Attention(4, 2), GatedMLP(48)),)
HIERARCHICAL = HierarchicalConfig(260, 64, FixedPatches(8), 32, 2, GLOBAL, 16, 2, 1, LOCAL)
CONFIGS = [
    DecoderConfig(97, 64, 32, 2, layers=GLOBAL),
    LstmConfig(97, 64, 16, 3),
    LstmConfig(97, 64, 16, 3, tie_embeddings=True),
    HIERARCHICAL,
    replace(HIERARCHICAL, tie_embeddings=True, norm=Norm("layer", bias=True)),
    replace(HIERARCHICAL, patches=SpacePatches()),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.kind)
def test_parameters_are_those_of_the_model(config: DecoderConfig) -> None:
    with torch.device("meta"):
        model = build_model(config)
    assert parameters(config) == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("config", CONFIGS[:-1], ids=lambda config: config.kind)
def test_flops_are_those_that_pytorch_counts(config: DecoderConfig) -> None:
    """Patches of 8 and one for the first token: the counter sees 8 of 64 bytes and that one, accounting 8."""
    model = build_model(config).eval()
    initialize(model, 0)
    tokens_BT = torch.randint(97, (2, 64))
    with FlopCounterMode(display=False) as counter:
        model.token_losses(tokens_BT, tokens_BT)
    assert 3 * counter.get_total_flops() == pytest.approx(training_flops_per_token(config) * 128, rel=0.03)


def test_patches_of_unknown_size_are_words() -> None:
    words, eight = replace(HIERARCHICAL, patches=SpacePatches()), HIERARCHICAL
    six = replace(HIERARCHICAL, patches=FixedPatches(6))
    assert training_flops_per_token(eight) < training_flops_per_token(words) <= training_flops_per_token(six)
