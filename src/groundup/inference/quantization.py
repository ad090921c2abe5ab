"""Weights in 8 or 4 bits: made from a checkpoint, put into a model, and measured.

    rtn   each number is rounded to the nearest
    awq   columns that see large activations are scaled up first: with t_i = a_i^α, a_i the mean |x_i| of calibration
          texts, Q(W diag(t)) diag(1/t) has smaller errors where they count (Lin et al. 2023, arXiv:2306.00978, eq. 4-5)

α is the best of a grid by the error of the weight's outputs, E |(Ŵ - W) x|² = tr((Ŵ - W) C (Ŵ - W)ᵀ) with C = E x xᵀ,
so that no activation is kept. The paper scales weights that share an input together and folds 1/t into the norm before
them; here each weight has its own t, which is divided out as the input is read, in any kind of mixer.

Quantised are the matrices that stand in plain products. Norms, convolutions, routers, tables that are only looked up
and the matrices that latent attention absorbs keep 16 bits.

Shapes: O out, I in, G groups, N tokens.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from groundup.core.errors import InputError
from groundup.inference.quantization_config import QuantizationConfig
from groundup.models.language_model import LanguageModel
from groundup.models.latent_attention import LatentAttention
from groundup.models.quantized_weight import quantize, replace_weight, restore

NAMES = {
    *("query", "key", "value", "output", "query_latent", "latent", "rotary_key"),  # of sequence mixers
    *("gate", "up", "down", "shared_gate", "shared_up", "shared_down"),  # of channel mixers
    *("unembedding", "embedding"),
}
EXPONENTS = [step / 20 for step in range(20)]  # α of the paper's grid; 0 is rounding to nearest


def quantized_weights(
    model: LanguageModel, config: QuantizationConfig, calibration: Callable[[], None] | None = None
) -> dict[str, Tensor]:
    """The state of the model with its matrices quantised; the model itself stays as it is.

    `calibration` runs the model on texts, for `awq`.
    """
    chosen = dict(quantizable(model))
    if not chosen:
        raise InputError("This model has no matrix that could be quantised.")
    inputs: dict[str, Observed] = {}
    if config.method == "awq":
        assert calibration is not None, "AWQ needs texts to see the activations of"
        with observed(model, chosen) as inputs, torch.inference_mode():
            calibration()
    state = {name: value for name, value in model.state_dict().items() if name not in chosen}
    for name, weight in chosen.items():
        group = config.group_of(weight.shape[-1])
        seen = inputs.get(name)
        if seen is None or not seen.count:  # a table that texts look up, or an expert that no token came to
            values, scales, input_scales = *quantize(weight, config.bits, group), None
        else:
            values, scales, input_scales = activation_aware(weight, config.bits, group, seen)
        state[f"{name}.values_OV"], state[f"{name}.scales_OG"] = values, scales
        if input_scales is not None:
            state[f"{name}.input_scales_I"] = input_scales
    return state


def quantizable(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Names and weights that stand in plain products only."""
    tied = getattr(getattr(model, "config", None), "tie_embeddings", False)
    for prefix, module in model.named_modules():
        for name, weight in module.named_parameters(recurse=False):
            absorbed = isinstance(module, LatentAttention) and name in ("key", "value")
            looked_up = name == "embedding" and not tied
            if name in NAMES and weight.ndim >= 2 and weight.shape[-1] % 2 == 0 and not absorbed and not looked_up:
                yield f"{prefix}.{name}".lstrip("."), weight.detach()


# --- activation-aware scaling -----------------------------------------------------------------------------------------


class Observed(nn.Module):
    """A weight that remembers, of the inputs it was given, Σ x xᵀ and Σ |x|."""

    def __init__(self, weight_OI: Tensor) -> None:
        super().__init__()
        self.weight_OI, self.count = weight_OI, 0
        columns = weight_OI.shape[-1]
        self.products_II = torch.zeros(columns, columns)
        self.sizes_I = torch.zeros(columns)

    def forward(self, x: Tensor) -> Tensor:
        x_NI = x.flatten(0, -2).float()
        self.products_II += x_NI.mT @ x_NI
        self.sizes_I += x_NI.abs().sum(dim=0)
        self.count += len(x_NI)
        return x @ self.weight_OI.mT

    def __getitem__(self, rows: Tensor) -> Tensor:
        return self.weight_OI[rows]


@contextmanager
def observed(model: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[dict[str, Observed]]:
    """Inside the block, the inputs of those weights are observed. Stacks of experts are not: each sees other tokens."""
    parameters = {name: model.get_parameter(name) for name, weight in weights.items() if weight.ndim == 2}
    inputs = {name: Observed(parameter.detach()) for name, parameter in parameters.items()}
    try:
        for name, seen in inputs.items():
            replace_weight(model, name, seen)
        yield inputs
    finally:
        for name, parameter in parameters.items():
            replace_weight(model, name, parameter)


def activation_aware(weight_OI: Tensor, bits: int, group: int, seen: Observed) -> tuple[Tensor, Tensor, Tensor | None]:
    """Values, scales and input scales with the least error of outputs over the exponents of the grid."""
    weight_OI = weight_OI.float()
    sizes_I = (seen.sizes_I / seen.count).clamp(min=1e-4)
    best: tuple[Tensor, Tensor, Tensor | None] | None = None
    least = float("inf")
    for exponent in EXPONENTS:
        t_I = sizes_I**exponent
        t_I = t_I / (t_I.amax() * t_I.amin()).sqrt()  # as the paper's code does: around 1, so that fp32 is fine
        values, scales = quantize(weight_OI * t_I, bits, group)
        off_OI = restore(values, scales) / t_I - weight_OI
        error = ((off_OI @ seen.products_II) * off_OI).sum().item()
        if error < least:
            best, least = (values, scales, t_I if exponent else None), error
    assert best is not None, "the inputs of a weight are no numbers"
    return best
