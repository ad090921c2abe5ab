"""Decoders of every architecture that a GGUF file holds, and their answers, for the tests of GGUF files."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from groundup.models.config import DecoderConfig, Layer, Norm
from groundup.models.decoder import Decoder
from groundup.models.mixer_config import Attention, DenseMLP, GatedMLP, LatentAttention, MixtureOfExperts
from groundup.models.position_config import LinearScaling, Llama3Scaling, NoPosition, Rotary, YarnScaling

T = 23
GATED = GatedMLP(48)
NEAR, FAR = Rotary(20_000.0), Rotary(1_000_000.0)
GEMMA3 = {"placement": "double", "embedding_scale": 32**0.5, "tie_embeddings": True, "context_length": 64}


def decoder(*layers: Layer, **more: Any) -> DecoderConfig:
    return DecoderConfig(**{"vocab_size": 61, "context_length": 64, "width": 32, "depth": 3, "layers": layers, **more})


def attention(heads: int = 4, groups: int = 2, width: int = 8, norm: str = "none", **more: Any) -> Attention:
    return Attention(heads, groups, width, qk_norm=norm, **more)


def gemma(rotary: Rotary, window: int | None = None, width: int = 8) -> Layer:
    position = attention(width=width, norm="head", position=rotary, window=window, scale=width**-0.5)
    return Layer(position, GatedMLP(48, "gelu_tanh"))


LATENT = LatentAttention(4, 8, 6, 4, 12, 24)
EXPERTS = MixtureOfExperts(
    num_experts=8,
    hidden_width=16,
    shared_width=32,
    gate="sigmoid",
    scale=2.5,
    balance_bias_rate=0.001,
    groups=4,
    groups_per_token=2,
)
DEEP_YARN = YarnScaling(4.0, 16, attention_factor=1.0)
CASES: dict[str, tuple[str, DecoderConfig]] = {
    "llama": ("llama", decoder(Layer(attention(), GATED))),
    "llama, tied, biases": (
        "llama",
        decoder(Layer(attention(bias=True), GatedMLP(48, bias=True)), tie_embeddings=True, norm=Norm(epsilon=1e-6)),
    ),
    "llama 3": (
        "llama",
        decoder(
            Layer(attention(width=16, position=Rotary(500_000.0, scaling=Llama3Scaling(8.0, 1.0, 4.0, 16))), GATED)
        ),
    ),
    "llama, linear": ("llama", decoder(Layer(attention(position=Rotary(scaling=LinearScaling(4.0))), GATED))),
    "llama, yarn": (
        "llama",
        decoder(Layer(attention(position=Rotary(scaling=YarnScaling(4.0, 16, attention_factor=1.3))), GATED)),
    ),
    "mixtral": ("llama", decoder(Layer(attention(), MixtureOfExperts(6, 2, 40)))),
    "qwen3": ("qwen3", decoder(Layer(attention(width=16, norm="head", position=FAR), GATED), tie_embeddings=True)),
    "qwen3, yarn": (
        "qwen3",
        decoder(Layer(attention(norm="head", position=Rotary(1e6, scaling=YarnScaling(4.0, 16))), GATED)),
    ),
    "gemma3": ("gemma3", decoder(gemma(NEAR, 5), gemma(FAR), **GEMMA3)),
    "gemma3, linear": (
        "gemma3",
        decoder(
            *[gemma(NEAR, 5, 16)] * 5,
            gemma(Rotary(1e6, scaling=LinearScaling(8.0)), None, 16),
            **GEMMA3,
            depth=7,
            logit_soft_cap=3.0,
        ),
    ),
    "olmo2": ("olmo2", decoder(Layer(attention(norm="width"), GATED), placement="reordered")),
    "gpt2": (
        "gpt2",
        decoder(
            Layer(attention(4, 4, position=NoPosition(), bias=True), DenseMLP(128, "gelu_tanh", bias=True)),
            norm=Norm("layer", bias=True),
            position_embedding="learned",
            tie_embeddings=True,
        ),
    ),
    "deepseek v3": (
        "deepseek2",
        decoder(Layer(LATENT, EXPERTS), first_layers=(Layer(LATENT, GATED),)),
    ),
    "deepseek v3, yarn": (
        "deepseek2",
        decoder(
            Layer(
                replace(LATENT, rotary=Rotary(scaling=DEEP_YARN), scale=(0.08 * np.log(4.0) + 1) ** 2 / 12**0.5),
                EXPERTS,
            ),
            first_layers=(),
        ),
    ),
}
every_case = pytest.mark.parametrize("case", CASES)


def random_weights(config: DecoderConfig) -> dict[str, Tensor]:
    """Weights that hide nothing: gains and biases are off their initial values too."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(tensor.shape, generator=generator) * (0.5 if "embedding" in name else 0.2)
        + (1.0 if name.endswith("gain") else 0.0)
        for name, tensor in Decoder(config).state_dict().items()
    }


def loaded(config: DecoderConfig, weights: dict[str, Tensor]) -> Decoder:
    model = Decoder(config)
    model.load_state_dict(weights)
    return model.eval()


def greedy(model: Decoder, prompt: list[int], count: int) -> list[int]:
    tokens = list(prompt)
    cache = model.new_cache(1, len(prompt) + count)
    with torch.no_grad():
        for step in range(count):
            new = tokens if step == 0 else tokens[-1:]
            positions = torch.arange(len(tokens) - len(new), len(tokens))[None]
            tokens.append(int(model.unembed(model(torch.tensor([new]), positions, cache))[0, -1].argmax()))
    return tokens[len(prompt) :]


def tokens_of(config: DecoderConfig) -> list[int]:
    return torch.randint(0, config.vocab_size, (T,), generator=torch.Generator().manual_seed(5)).tolist()


def llama_cpp_answer(path: Path, tokens: list[int], count: int = 0) -> tuple[np.ndarray, list[int]]:
    """Logits (T, V) of llama.cpp and the greedy tokens after these; keys and values are kept in fp32."""
    llama_cpp = pytest.importorskip("llama_cpp")
    model = llama_cpp.Llama(
        str(path), n_ctx=64, n_threads=1, logits_all=True, verbose=False, type_k=0, type_v=0, flash_attn=False
    )
    model.eval(tokens)
    logits = np.array(model.scores[: len(tokens)])
    for _ in range(count):
        model.eval([int(model.scores[model.n_tokens - 1].argmax())])
    chosen = model.input_ids[len(tokens) : model.n_tokens].tolist()
    model.close()
    return logits, chosen
