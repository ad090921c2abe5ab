"""Parameters and FLOPs of a decoder config, by arithmetic; no torch.

Training costs 6 FLOPs per token and matrix parameter (2 forward, 4 backward: Kaplan et al. 2020, arXiv:2001.08361,
section 2.1), plus the attention scores and sums, 12·L·H·K·T per token without the saving of the causal mask
(Chowdhery et al. 2022, arXiv:2204.02311, appendix B).
"""

from groundup.models.config import DecoderConfig


def matrix_parameters(config: DecoderConfig) -> int:
    """Parameters that take part in a matrix product: blocks and unembedding, not the embedding table or gains."""
    D, K = config.width, config.head_width
    attention = 2 * D * config.num_heads * K + 2 * D * config.num_kv_heads * K
    mlp = 3 * D * config.mlp_width
    return config.depth * (attention + mlp) + config.vocab_size * D


def parameters(config: DecoderConfig) -> int:
    """All trainable parameters."""
    gains = config.depth * (2 * config.width + (2 * config.head_width if config.qk_norm else 0)) + config.width
    embedding = 0 if config.tie_embeddings else config.vocab_size * config.width
    return matrix_parameters(config) + gains + embedding


def training_flops_per_token(config: DecoderConfig) -> int:
    """FLOPs to train on one token at the full context length."""
    attention = 12 * config.depth * config.num_heads * config.head_width * config.context_length
    return 6 * matrix_parameters(config) + attention
