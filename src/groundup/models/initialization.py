"""Fresh weights: what each matrix is drawn from, so that signals and the first loss have the right size."""

import math

import torch

from groundup.models.language_model import LanguageModel
from groundup.models.lstm import Lstm

TIED_STD = 0.02
TO_THE_RESIDUAL = ("sequence.output", "channel.down", "channel.shared_down")  # ends of names


@torch.no_grad()
def initialize(model: LanguageModel, seed: int) -> None:
    """Fill the weights: matrices N(0, 2/(in+out)) cut at 3σ, the embedding N(0, 1) cut at 3.

    Vectors (gains, biases, sinks, decays) keep what their modules made them with. A tied embedding is the output matrix
    too: with entries of size 1 the first loss would be in the hundreds, so it starts at N(0, 0.02²), as in GPT-2.

    Matrices that write to the residual stream are scaled by 1/√(2·depth), so that its variance does not grow with depth
    (Radford et al. 2019); the unembedding starts at 1/√D of that of a matrix, so that the first loss is near ln V.
    Embeddings of n-grams start at zero: a row that is met for the first time says nothing.
    An LSTM ends without a norm and its states are small, so its output table starts at 1/√D.
    """
    generator = torch.Generator().manual_seed(seed)
    residual_scale = 1 / math.sqrt(2 * model.config.depth)
    for name, parameter in model.named_parameters():
        if parameter.ndim < 2:
            continue
        if name.startswith("ngrams."):
            parameter.zero_()
            continue
        std = math.sqrt(2 / sum(parameter.shape[-2:]))
        if name in ("embedding", "position_embedding"):
            std = TIED_STD if model.config.tie_embeddings or name != "embedding" else 1.0
        elif name == "unembedding":
            std /= math.sqrt(parameter.shape[-1])
        elif name.endswith("convolution"):
            std = 1 / math.sqrt(parameter.shape[-1])
        elif name.endswith(TO_THE_RESIDUAL):
            std *= residual_scale
        if isinstance(model, Lstm) and parameter is model.output_weight:
            std = 1 / math.sqrt(parameter.shape[-1])
        values = torch.empty(parameter.shape, dtype=torch.float32)
        torch.nn.init.trunc_normal_(values, std=std, a=-3 * std, b=3 * std, generator=generator)
        parameter.copy_(values)
