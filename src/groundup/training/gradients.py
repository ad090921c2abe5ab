"""Gradients of a batch, as one or a part of its rows at a time, so that memory holds the activations of a part.

    ∇L = Σ_i (w_i / w) ∇L_i        w_i the weights of part i's targets, w those of all

which is the gradient of the whole batch's mean loss, up to rounding. (What depends on the whole batch, as the balance
of experts does, is taken for each part by itself.)
"""

import torch
from torch import Tensor

from groundup.batches.batch import Batch
from groundup.models.language_model import LanguageModel
from groundup.training.objectives import Objective
from groundup.training.precision import PRECISIONS, Precision


def backward(
    model: LanguageModel,
    batch: Batch,
    objective: Objective,
    parts: int = 1,
    precision: Precision = PRECISIONS["float32"],
    scale: float = 1.0,
) -> tuple[float, dict[str, float]]:
    """Fill the gradients, those of `scale` times the loss; returns the loss and the objective's metrics, means over the
    parts weighted as above."""
    if parts == 1:
        return _differentiate(model, batch, objective, precision, scale)
    whole, total, means = batch.weights_BT.sum(), 0.0, dict[str, float]()
    sums: dict[Tensor, Tensor] = {}
    for part in split(batch, parts):
        share = (part.weights_BT.sum() / whole).item()
        if share == 0:  # nothing of it is trained on, and a mean over nothing is no number
            continue
        loss, metrics = _differentiate(model, part, objective, precision, share * scale)
        total += share * loss
        means = {name: means.get(name, 0.0) + share * value for name, value in metrics.items()}
        _collect(model, sums)
    for parameter, gradient in sums.items():
        parameter.grad = gradient.to(parameter.grad_dtype)
    return total, means


def _differentiate(
    model: LanguageModel, batch: Batch, objective: Objective, precision: Precision, factor: float
) -> tuple[float, dict[str, float]]:
    """Add the gradient of `factor` times the loss."""
    with precision.computing(batch.tokens_BT.device):
        loss, metrics = objective(model, batch)
        with torch.autocast(loss.device.type, enabled=False):  # it would round products of gradients that are fp32
            (loss * factor).backward()
    return loss.item(), metrics


def split(batch: Batch, parts: int) -> list[Batch]:
    """Rows first to last in parts of one size."""
    rows = len(batch.tokens_BT) // parts
    assert rows * parts == len(batch.tokens_BT), f"{len(batch.tokens_BT)} rows in {parts} parts"
    pieces = [[None] * parts if field is None else field.split(rows) for field in batch]
    return [Batch(*part) for part in zip(*pieces, strict=True)]


@torch.no_grad()
def _collect(model: LanguageModel, sums: dict[Tensor, Tensor]) -> None:
    """Move gradients to fp32 sums: in bf16, a sum of eight would be rounded eight times."""
    for parameter in model.parameters():
        if parameter.grad is None:
            continue
        if parameter in sums:
            sums[parameter] += parameter.grad
        else:
            sums[parameter] = parameter.grad.float()
        parameter.grad = None
