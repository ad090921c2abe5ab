"""The baseline: a decoder in the manner of GPT-2, written as such models usually are, trained in fp32.

LayerNorm, GELU, learned positions, tied embeddings, no biases, no dropout, PyTorch's fused attention, PyTorch's
AdamW, no compilation: what nanoGPT's recipe for a CPU does, with the shapes of this benchmark. Matrices and tables
start as N(0, 0.02²), those that write to the residual stream divided by √(2·depth) (Radford et al. 2019).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training_peers.shapes import Shape


class Layer(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width, bias=False)
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.output = nn.Linear(width, width, bias=False)
        self.mlp_norm = nn.LayerNorm(width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        projected = self.query_key_value(self.attention_norm(x_BTD)).chunk(3, dim=-1)
        q_BHTK, k_BHTK, v_BHTK = (each.unflatten(-1, (self.heads, -1)).transpose(1, 2) for each in projected)
        y_BHTK = F.scaled_dot_product_attention(q_BHTK, k_BHTK, v_BHTK, is_causal=True)
        x_BTD = x_BTD + self.output(y_BHTK.transpose(1, 2).flatten(2))
        return x_BTD + self.down(F.gelu(self.up(self.mlp_norm(x_BTD))))


class GPT2Style(nn.Module):
    """Tokens and the tokens that follow them to the mean loss."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embedding = nn.Embedding(shape.vocabulary, shape.width)
        self.positions = nn.Embedding(shape.context, shape.width)
        self.layers = nn.ModuleList(Layer(shape.width, shape.heads) for _ in range(shape.depth))
        self.norm = nn.LayerNorm(shape.width, bias=False)
        for parameter in self.parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.02)
        for layer in self.layers:
            for matrix in (layer.output, layer.down):
                nn.init.normal_(matrix.weight, std=0.02 / math.sqrt(2 * shape.depth))

    def forward(self, tokens_BT: Tensor, targets_BT: Tensor) -> Tensor:
        return F.cross_entropy(self.logits(tokens_BT).flatten(0, 1), targets_BT.flatten())

    def token_losses(self, tokens_BT: Tensor, targets_BT: Tensor) -> Tensor:
        """-log p of each target in nats (B, T), the form in which `groundup.evaluation` scores a model."""
        return F.cross_entropy(self.logits(tokens_BT).transpose(1, 2), targets_BT, reduction="none")

    def logits(self, tokens_BT: Tensor) -> Tensor:
        """Over the vocabulary (B, T, V)."""
        x_BTD = self.embedding(tokens_BT) + self.positions(torch.arange(tokens_BT.shape[1]))
        for layer in self.layers:
            x_BTD = layer(x_BTD)
        return F.linear(self.norm(x_BTD), self.embedding.weight)
