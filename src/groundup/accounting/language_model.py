"""Parameters and training FLOPs of a model of any kind, by arithmetic; no torch.

A hierarchical decoder's global layers work once a patch. Where the text decides where patches end, a patch is taken to
be 6 bytes, an English word and its space; then the FLOPs are an estimate.

D width, L local width, V vocabulary.
"""

from dataclasses import replace

from groundup.accounting import decoder
from groundup.accounting.decoder import TRAINING, layers_cost, norm_parameters
from groundup.accounting.flops import forward_flops, training_flops
from groundup.models.config import DecoderConfig
from groundup.models.hierarchical_config import FixedPatches, HierarchicalConfig
from groundup.models.lstm_config import LstmConfig
from groundup.models.model_config import ModelConfig

BYTES_OF_A_WORD = 6


def parameters(config: ModelConfig) -> int:
    """All trainable parameters."""
    match config:
        case DecoderConfig():
            return decoder.parameters(config)
        case LstmConfig():
            D = config.width
            tables = 1 if config.tie_embeddings else 2
            return config.depth * (8 * D**2 + 4 * D) + tables * config.vocab_size * D
        case HierarchicalConfig():
            stacks = (config.encoder, config.global_decoder, config.local_decoder)
            norms = norm_parameters(config.norm, config.width) + norm_parameters(config.norm, config.local_width)
            tables = 1 if config.tie_embeddings else 2
            between = 2 * config.width * config.local_width
            return sum(layers_cost(each).parameters for each in stacks) + between + norms + _table(config) * tables


def training_flops_per_token(config: ModelConfig) -> int:
    """FLOPs to train on one token at the full context length: forward, and twice as much backward."""
    match config:
        case DecoderConfig():
            return training_flops(config).total
        case LstmConfig():
            D = config.width
            return TRAINING * 2 * (config.depth * 8 * D**2 + config.vocab_size * D)
        case HierarchicalConfig():
            fixed = isinstance(config.patches, FixedPatches)
            size = config.patches.size if isinstance(config.patches, FixedPatches) else BYTES_OF_A_WORD
            patches = config.patches.most(config.context_length) if fixed else config.context_length // size or 1
            seen = replace(config.global_decoder, context_length=patches)
            a_patch = forward_flops(seen).layers.total + 4 * config.width * config.local_width
            local = sum(forward_flops(each).layers.total for each in (config.encoder, config.local_decoder))
            return TRAINING * (local + 2 * _table(config) + a_patch * patches // config.context_length)


def _table(config: HierarchicalConfig) -> int:
    """The size of the unembedding."""
    return config.vocab_size * config.local_width
