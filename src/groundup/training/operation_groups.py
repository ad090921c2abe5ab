"""What the operations of a step are for, and how much of the step each kind takes.

    matmul          products with weights: projections, feed-forward, unembedding, and their gradients
    attention       what mixes tokens: scores, softmax, weighted sums, states
    normalisation   norms between layers
    loss            what follows the logits
    elementwise     activations, residual sums, masks, reductions
    copies          number formats changed, tensors joined, laid out anew, looked up or filled
    optimizer       gradient norm, clipping and update, with the products of Muon
    other           views, Python, PyTorch's own bookkeeping

Each operation is in one group, by the phase in which it runs, the part of the model that it belongs to, and its name. A
compiler fuses neighbours into one kernel, whose name lists what is in it: it is put where the most characteristic of
them belongs. So borders between attention, normalisation and elementwise work shift between a compiled step and one
that is not. The share of matrix products counts all of them: those of weights, of attention and of the optimizer.
"""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import torch

from groundup.training.step_trace import Operation

GROUPS = ("matmul", "attention", "normalisation", "loss", "elementwise", "copies", "optimizer", "other")
PRODUCTS = ("mm", "addmm", "_scaled_mm", "mv", "addmv")
BATCHED_PRODUCTS = ("bmm", "baddbmm")
MIXING = ("softmax", "scaled_dot_product", "flash_attention")
COPYING = frozenset(
    (
        *("copy_", "_to_copy", "to", "clone", "contiguous", "cat", "stack", "repeat", "pad", "constant_pad_nd"),
        *("index", "index_select", "index_add_", "index_put_", "_index_put_impl_", "gather", "scatter", "scatter_add_"),
        *("embedding", "embedding_dense_backward", "nonzero", "tril", "triu", "fill_", "zero_", "zeros", "zeros_like"),
        *("ones", "new_zeros", "slice_backward", "select_backward", "slice_scatter", "select_scatter"),
    )
)
REDUCTIONS = ("cumsum", "sort", "topk", "argsort", "max", "min")
KERNEL = "cpp_fused_"  # in the names that TorchInductor gives
IN_A_NORM = ("rsqrt", "div_expand")  # forward, and the gradient of a mean


class Row(NamedTuple):
    """All calls of one name in one group: how often in a step, and their own seconds in a step."""

    name: str
    group: str
    calls: float
    seconds: float
    product: bool


def rows(operations: Sequence[Operation], steps: int) -> list[Row]:
    """A row for each name and group, the longest first; means over the steps."""
    totals: dict[tuple[str, str], list[float]] = {}
    for each in operations:
        total = totals.setdefault((each.name, group_of(each)), [0, 0.0])
        total[0] += 1
        total[1] += each.seconds
    found = [
        Row(name, group, calls / steps, seconds / steps, is_product(name))
        for (name, group), (calls, seconds) in totals.items()
    ]
    return sorted(found, key=lambda row: -row.seconds)


def group_seconds(rows: Sequence[Row]) -> dict[str, float]:
    """Own seconds of each group in a step, in the order of `GROUPS`; they sum to the step."""
    return {group: sum(row.seconds for row in rows if row.group == group) for group in GROUPS}


def product_seconds(rows: Sequence[Row]) -> float:
    """Own seconds of all matrix products in a step."""
    return sum(row.seconds for row in rows if row.product)


def group_of(operation: Operation) -> str:
    """The group of one operation."""
    short = operation.name.removeprefix("aten::")
    if operation.phase in ("clipping", "optimizer"):
        return "optimizer"
    if short in PRODUCTS:
        return "matmul"
    if short in BATCHED_PRODUCTS or any(word in short for word in MIXING):
        return "attention"
    kind = _kind(operation.name)
    if kind == "other":
        return kind
    if operation.region:
        return operation.region
    if KERNEL in short and any(word in short for word in IN_A_NORM):
        return "normalisation"
    return kind


def is_product(name: str) -> bool:
    """Whether an operation is a matrix product, batched or not."""
    return name.removeprefix("aten::") in PRODUCTS + BATCHED_PRODUCTS


@cache
def _kind(name: str) -> str:
    """By its name alone: elementwise, copies, or other."""
    if KERNEL in name:
        return "elementwise"
    short = name.removeprefix("aten::")
    if short == name:
        return "other"
    if short in COPYING:
        return "copies"
    packet = getattr(torch.ops.aten, short.rstrip("_"), None)  # not all forms in place are tagged
    overloads = packet.overloads() if packet is not None else ()
    tags = {tag for overload in overloads for tag in getattr(packet, overload).tags}
    computes = torch.Tag.pointwise in tags or torch.Tag.reduction in tags
    return "elementwise" if computes or short in REDUCTIONS else "other"
