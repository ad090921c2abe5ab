"""The roofline of a training step: how fast its matrix products run, beside what arithmetic and memory allow.

    attainable FLOP/s = min(peak FLOP/s, intensity · bandwidth)        Williams et al. 2009
    intensity of (m × k)(k × n) = 2 m k n / (size · (m k + k n + m n)) FLOPs a byte

Each tensor is counted as read or written once, which is the least; what a cache holds may be less, and products that
fit into caches may lie above the slope. For the weights W (O × I) and N tokens there are three products in a step:

    forward           X Wᵀ      (N × I)(I × O)
    input gradient    G W       (N × O)(O × I)
    weight gradient   Gᵀ X      (O × N)(N × I)
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch

from groundup.kernels.peak import measured_matmul_flops
from groundup.models.language_model import LanguageModel
from groundup.training.operation_groups import BATCHED_PRODUCTS, is_product
from groundup.training.step_trace import Operation

FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT, RECOMPUTED = "forward", "input gradient", "weight gradient", "recomputed"
OPTIMIZER = "optimizer"
SIZES = {"float": 4, "c10::BFloat16": 2, "c10::Half": 2, "double": 8}
ENTRIES, REPEATS = 2**25, 5  # 128 MiB of fp32 each: more than caches hold


class Product(NamedTuple):
    """The products of one kind in a step: those of weights of one shape, of attention, or of the optimizer. `weights`
    names them, `shape` is theirs, (outputs, inputs), where there is one."""

    weights: str
    role: str
    shape: tuple[int, int] | None
    calls: float
    flops: float
    bytes: float
    seconds: float

    @property
    def intensity(self) -> float:
        """FLOPs a byte."""
        return self.flops / self.bytes

    @property
    def rate(self) -> float:
        """FLOP/s achieved."""
        return self.flops / self.seconds if self.seconds else 0.0


class Roofs(NamedTuple):
    """What bounds a step: FLOP/s of matrix products, and bytes a second between memory and processor, read and written
    ones counted, by two kinds of work."""

    peak_flops: float
    copy: float
    triad: float

    @property
    def bandwidth(self) -> float:
        return max(self.copy, self.triad)

    def attainable(self, intensity: float) -> float:
        """FLOP/s at so many FLOPs a byte."""
        return min(self.peak_flops, intensity * self.bandwidth)


def products(operations: Sequence[Operation], steps: int, weights: Mapping[tuple[int, int], str]) -> list[Product]:
    """The matrix products of a step by weights and role, means over the steps; those of weights first, by size."""
    totals: dict[tuple[str, str, tuple[int, int] | None], list[float]] = {}
    for place, each in enumerate(operations):
        if not is_product(each.name) or is_cut_off(operations, place):
            continue
        if (sizes := product_sizes(each)) is not None:
            batch, m, k, n = sizes
            size = SIZES.get(each.dtypes[-1], 4)
            total = totals.setdefault(_kind(each, (m, k, n), weights), [0, 0, 0, 0])
            moved = size * batch * (m * k + k * n + m * n)
            for column, amount in enumerate((1, 2 * batch * m * k * n, moved, each.seconds)):
                total[column] += amount / steps
    found = [Product(*kind, *total) for kind, total in totals.items()]
    roles = (FORWARD, RECOMPUTED, INPUT_GRADIENT, WEIGHT_GRADIENT, "backward", OPTIMIZER)
    return sorted(found, key=lambda each: (each.shape is None, _order(each, weights), roles.index(each.role)))


def is_cut_off(operations: Sequence[Operation], place: int) -> bool:
    """Whether a product was begun and not computed: repeating a forward pass ends as soon as all is there that the
    backward pass needs, and the inputs of the last product are, before it runs. Then nothing follows but the `detach`
    with which its inputs were kept."""
    if not operations[place].recomputed:
        return False
    behind = 0
    for each in operations[place + 1 :]:
        if not each.recomputed:
            break
        if each.name.removeprefix("aten::") != "detach":
            return False
        behind += 1
    return behind > 0


def product_sizes(operation: Operation) -> tuple[int, int, int, int] | None:
    """(batch, m, k, n) of (m × k)(k × n); None where the trace does not tell the shapes."""
    factors = operation.shapes[_first_factor(operation) :][:2]
    if len(factors) < 2:
        return None
    left, right = factors
    if len(left) == len(right) == 3:
        return left[0], left[1], left[2], right[2]
    if len(left) == 2 and len(right) in (1, 2):
        return 1, left[0], left[1], right[1] if len(right) == 2 else 1
    return None


def weight_shapes(model: LanguageModel) -> dict[tuple[int, int], str]:
    """Names of the matrices of each shape (outputs, inputs), side by side: `query, key, value, output`."""
    names: dict[tuple[int, int], list[str]] = {}
    tied = model.config.tie_embeddings
    for full, parameter in model.named_parameters():
        name = full.rpartition(".")[2]
        if parameter.ndim < 2 or name.endswith("convolution") or name in ("position_embedding", "tables"):
            continue
        if name == "embedding":
            if not tied:
                continue
            name = "unembedding"
        shapes = {tuple(parameter.shape[-2:])}
        if parameter.ndim == 3:
            shapes.add((parameter.shape[0] * parameter.shape[1], parameter.shape[2]))
        for outputs, inputs in shapes:
            known = names.setdefault((outputs, inputs), [])
            if name not in known:
                known.append(name)
    return {shape: ", ".join(known) for shape, known in names.items()}


def measured_roofs(dtype: torch.dtype) -> Roofs:
    """Of this machine at the current number of threads: the matrix products of `kernels/peak.py`, a copy, and the triad
    a = b + s·c of STREAM."""
    a, b, c = (torch.ones(ENTRIES) for _ in range(3))
    copy = _best_seconds(lambda: a.copy_(b))
    triad = _best_seconds(lambda: torch.add(b, c, alpha=3.0, out=a))
    return Roofs(measured_matmul_flops(dtype), 2 * a.nbytes / copy, 3 * a.nbytes / triad)


def higher(one: Roofs, other: Roofs) -> Roofs:
    """The better of two measurements: what else the machine does can only lower them."""
    return Roofs(*map(max, one, other))


def _best_seconds(work: Callable[[], object]) -> float:
    """Of a few repeats, after one that does not count."""
    work()
    best = float("inf")
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def _kind(
    operation: Operation, sizes: tuple[int, int, int], weights: Mapping[tuple[int, int], str]
) -> tuple[str, str, tuple[int, int] | None]:
    """Names of the weights, role and shape of a product."""
    m, k, n = sizes
    if operation.phase in ("clipping", "optimizer"):
        return OPTIMIZER, OPTIMIZER, None
    direction = RECOMPUTED if operation.recomputed else FORWARD if operation.phase == "forward" else "backward"
    if operation.name.removeprefix("aten::") in BATCHED_PRODUCTS:
        return "attention", direction, None
    candidates: list[tuple[str, tuple[int, int]]] = []
    if direction != "backward":
        candidates = [(direction, (n, k)), (direction, (m, k))]
    if direction == "backward" or operation.region == "loss":  # which has its gradients in the forward pass
        # Gᵀ X, or (Xᵀ G), begins with a transposed matrix; where N is also a width, shapes alone do not tell
        gradients = [(INPUT_GRADIENT, (k, n)), (INPUT_GRADIENT, (k, m))]
        of_weights = [(WEIGHT_GRADIENT, (m, n)), (WEIGHT_GRADIENT, (n, m))]
        transposed = _left_is_transposed(operation)
        candidates = [*of_weights, *candidates, *gradients] if transposed else [*candidates, *gradients, *of_weights]
    for role, shape in candidates:
        if shape in weights:
            return weights[shape], role, shape
    return "other", direction, None


def _first_factor(operation: Operation) -> int:
    """The number of the first matrix among the inputs: behind what is added to the product, if something is."""
    return 1 if "add" in operation.name else 0


def _left_is_transposed(operation: Operation) -> bool:
    """Whether the first matrix lies in memory column by column."""
    strides = operation.strides[_first_factor(operation) :][:1]
    return bool(strides) and len(strides[0]) == 2 and strides[0][0] == 1 < strides[0][1]


def _order(product: Product, weights: Mapping[tuple[int, int], str]) -> int:
    shapes = list(weights)
    return shapes.index(product.shape) if product.shape is not None else len(shapes) + (product.weights != "attention")
