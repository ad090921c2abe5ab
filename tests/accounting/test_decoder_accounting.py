"""Arithmetic about a config against the model that is built from it: counted parameters, counted FLOPs."""

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from groundup.accounting.decoder import matrix_parameters, parameters
from groundup.accounting.flops import training_flops
from groundup.models.config import DecoderConfig
from groundup.models.decoder import Decoder
from groundup.models.initialization import initialize
from groundup.models.presets import llama

SHAPES = [
    {},
    {"tie_embeddings": True},
    {"qk_norm": False},
    {"num_kv_heads": 1, "depth": 5},
    {"num_heads": 8, "num_kv_heads": 2, "width": 48, "mlp_width": 33},
    {"tie_embeddings": True, "qk_norm": False, "depth": 1, "vocab_size": 301},
]


def config(**changes: Any) -> DecoderConfig:
    shape = {
        "vocab_size": 97,
        "width": 32,
        "depth": 2,
        "num_heads": 4,
        "num_kv_heads": 2,
        "mlp_width": 48,
        "qk_norm": True,
    }
    return llama(**{**shape, "context_length": 64, **changes})


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_parameters_are_those_of_the_model(shape: dict[str, Any]) -> None:
    with torch.device("meta"):
        model = Decoder(config(**shape))
    assert parameters(config(**shape)) == sum(parameter.numel() for parameter in model.parameters())
    matrices = sum(p.numel() for name, p in model.named_parameters() if p.ndim == 2 and name != "embedding")
    table = model.embedding.numel() if model.config.tie_embeddings else 0  # a tied table is the unembedding
    assert matrix_parameters(config(**shape)) == matrices + table


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_flops_are_those_that_pytorch_counts(shape: dict[str, Any]) -> None:
    """At 64 positions attention is one block, so that nothing is saved by the causal mask, as the formula has it."""
    model = Decoder(config(**shape))
    initialize(model, 0)
    tokens_BT = torch.randint(97, (2, 64))
    with FlopCounterMode(display=False) as counter:
        model.token_losses(tokens_BT, tokens_BT).mean().backward()
    assert counter.get_total_flops() == training_flops(config(**shape)).total * tokens_BT.numel()


def test_a_known_model() -> None:
    """GPT-2's shape as a Llama: 12 layers of 4·768² + 3·768·2048, and 50,257·768 to unembed."""
    shape = {"vocab_size": 50_257, "context_length": 1024, "width": 768, "depth": 12, "num_heads": 12}
    gpt2 = config(**shape, num_kv_heads=12, mlp_width=2048, qk_norm=False, tie_embeddings=True)
    assert matrix_parameters(gpt2) == 123_532_032
    assert parameters(gpt2) == 123_532_032 + 25 * 768
    assert training_flops(gpt2).total == 6 * 123_532_032 + 12 * 12 * 768 * 1024
