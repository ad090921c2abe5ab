"""From a config to optimizers: which parameter goes to which, and the global gradient norm."""

import torch
from torch import Tensor, nn

from groundup.optim.adamw import AdamW
from groundup.optim.config import OptimizerConfig
from groundup.optim.muon import Muon

# Where the hidden matrices of a decoder, of the hierarchical one, and of an LSTM lie.
HIDDEN = ("blocks.", "prediction_heads.", "encoder_blocks.", "global_blocks.", "decoder_blocks.", "layers.")


def build_optimizers(model: nn.Module, config: OptimizerConfig) -> list[torch.optim.Optimizer]:
    """Matrices of the layers to the matrix optimizer; embeddings, unembedding, convolutions and vectors to AdamW, which
    does not decay them."""
    named = list(model.named_parameters())
    matrices = [p for name, p in named if is_matrix(name, p)]
    embedding = [p for name, p in named if name == "embedding"]
    rest = [p for name, p in named if name != "embedding" and not is_matrix(name, p)]
    tied = all(name != "unembedding" for name, _ in named)  # then the embedding is an output matrix, of small entries
    embedding_rate = config.learning_rate if tied else config.embedding_learning_rate
    betas = (config.beta1, config.beta2)
    undecayed = [
        {"params": embedding, "weight_decay": 0.0, "lr": embedding_rate},
        {"params": rest, "weight_decay": 0.0},
    ]
    if config.matrix_optimizer == "adamw":
        groups = [{"params": matrices, "weight_decay": config.weight_decay}, *undecayed]
        optimizers: list[torch.optim.Optimizer] = [AdamW(groups, lr=config.learning_rate, betas=betas)]
    else:
        optimizers = [
            Muon(matrices, lr=config.matrix_learning_rate, weight_decay=config.weight_decay),
            AdamW(undecayed, lr=config.learning_rate, betas=betas),
        ]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers


def is_matrix(name: str, parameter: Tensor) -> bool:
    """Whether a parameter is a hidden matrix or a stack of them, which maps activations to activations."""
    hidden = name.startswith(HIDDEN) or name in ("patch_input", "patch_output")
    return hidden and parameter.ndim >= 2 and not name.endswith("convolution")


def set_learning_rates(optimizers: list[torch.optim.Optimizer], fraction: float) -> None:
    """Set every group to a fraction of its peak learning rate."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * fraction


@torch.no_grad()
def clip_gradients(model: nn.Module, max_norm: float) -> float:
    """Scale all gradients by max_norm / (norm + 1e-6) if their global norm is larger; returns the norm before."""
    gradients: list[Tensor] = [p.grad for p in model.parameters() if p.grad is not None]
    norms = torch.stack([torch.linalg.vector_norm(gradient, dtype=torch.float32) for gradient in gradients])
    norm = torch.linalg.vector_norm(norms).item()
    if norm >= max_norm:
        for gradient in gradients:
            gradient.mul_(max_norm / (norm + 1e-6))
    return norm
