"""Small models of several kinds, and batches of random ids for them."""

import torch

from groundup.batches.batch import Batch
from groundup.models.config import DecoderConfig, Layer
from groundup.models.hierarchical_config import HierarchicalConfig
from groundup.models.lstm_config import LstmConfig
from groundup.models.mixer_config import Attention, DeltaRule, GatedMLP, MixtureOfExperts, SharedAttention
from groundup.models.model_config import ModelConfig

PLAIN = Layer(Attention(2, 1), GatedMLP(48))
SHARED = Layer(SharedAttention(), GatedMLP(48))
EXPERTS = Layer(Attention(2, 1), MixtureOfExperts(4, 2, hidden_width=24))
SHAPES: dict[str, ModelConfig] = {
    "attention": DecoderConfig(31, 12, 32, 4, layers=(PLAIN,)),
    "shared keys": DecoderConfig(31, 12, 32, 4, layers=(PLAIN, SHARED)),
    "experts": DecoderConfig(31, 12, 32, 2, layers=(EXPERTS,)),
    "delta": DecoderConfig(31, 12, 32, 2, layers=(Layer(DeltaRule(2), GatedMLP(48)),), prediction_heads=1),

    "hierarchical": HierarchicalConfig(260, 12, width=32, depth=2, layers=(PLAIN,), local_width=16,
                                       encoder_depth=1, decoder_depth=1, local_layers=(PLAIN,)),
    "lstm": LstmConfig(31, 12, 16, 2),
}  # fmt: skip


def batch_of(rows: int, seed: int = 0) -> Batch:
    """Random ids (rows, 12), all targets of weight 1."""
    ids = torch.randint(31, (rows, 13), generator=torch.Generator().manual_seed(seed))
    return Batch(ids[:, :-1].contiguous(), ids[:, 1:].contiguous(), torch.ones(rows, 12))
