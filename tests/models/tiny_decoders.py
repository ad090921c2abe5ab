"""Small decoders for tests, in every shape that the config allows."""

from typing import Any

import torch
from torch import Tensor

from groundup.models.config import DecoderConfig
from groundup.models.decoder import Decoder
from groundup.models.initialization import initialize
from groundup.models.presets import llama

TINY: dict[str, Any] = {
    "vocab_size": 97,
    "context_length": 40,
    "width": 32,
    "depth": 2,
    "num_heads": 4,
    "num_kv_heads": 2,
    "mlp_width": 48,
    "rope_base": 500.0,
    "qk_norm": True,
}
SHAPES: dict[str, dict[str, Any]] = {
    "grouped": {},
    "all heads": {"num_kv_heads": 4},
    "one key head": {"num_kv_heads": 1, "depth": 3},
    "no qk norm": {"qk_norm": False},
    "tied": {"tie_embeddings": True},
}


def tiny_config(**changes: Any) -> DecoderConfig:
    return llama(**{**TINY, **changes})


def tiny_decoder(seed: int = 0, **changes: Any) -> Decoder:
    """Initialised, then with gains off 1 and a larger unembedding, so that nothing that matters is hidden."""
    decoder = Decoder(tiny_config(**changes))
    initialize(decoder, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in decoder.named_parameters():
            if parameter.ndim == 1:
                parameter.uniform_(0.5, 1.5, generator=generator)
            elif name == "unembedding":
                parameter.normal_(0, 0.3, generator=generator)
            elif name == "embedding" and decoder.config.tie_embeddings:
                parameter.mul_(0.3)
    return decoder.eval()


def tiny_tokens(B: int, T: int, seed: int = 0) -> Tensor:
    return torch.randint(TINY["vocab_size"], (B, T), generator=torch.Generator().manual_seed(seed))
