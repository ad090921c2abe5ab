"""Products with weights that are packed once: y = x Wᵀ, for x of some rows, bf16.

A processor's bf16 instructions take pairs of numbers from tiles of the weight. So PyTorch's product first brings the
whole weight into tiles, in every call, and with few rows that is most of the work. A weight that many steps use is
packed once instead, by oneDNN (`mkldnn._reorder_linear_weight`), and the product takes it as it is. Measured on two
cores for 2,048 x 768: 1.7 times as fast at 8 rows, 1.4 at 32, 1.05 at 512, and the same numbers to the last bit. It
costs a second copy of the weights.

It is an operation of its own because a compiler cannot look into what is packed. Inside `packed_products` it packs what
it meets first, outside and where a processor has no such instructions it is the plain product.

Shapes: N rows, I in, O out.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

_weights: "PackedWeights | None" = None  # None outside `packed_products`


class PackedWeights:
    """The packed forms of a model's weights, by address; what was written to since is packed again."""

    def __init__(self) -> None:
        self._packed: dict[int, tuple[int, Tensor, Tensor]] = {}

    def of(self, weight_OI: Tensor) -> Tensor:
        """The packed form."""
        version = 0 if weight_OI.is_inference() else weight_OI._version
        found = self._packed.get(weight_OI.data_ptr())
        if found is None or found[0] != version or found[1].shape != weight_OI.shape:
            packed = torch.ops.mkldnn._reorder_linear_weight(weight_OI, None)
            found = self._packed[weight_OI.data_ptr()] = (version, weight_OI, packed)  # held, so is its address
        return found[2]


@contextmanager
def packed_products(weights: PackedWeights | None) -> Iterator[None]:
    """Inside the block, products with bf16 weights are `packed_product`, if there is a place for what is packed.

    To be used around compiled functions.
    """
    global _weights
    before, _weights = _weights, weights
    try:
        yield
    finally:
        _weights = before


def can_pack(device: torch.device) -> bool:
    """Whether the processor has such instructions."""
    return (
        device.type == "cpu" and torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


def packs(weight_OI: Tensor) -> bool:
    """Whether a product with this weight is to be packed."""
    return _weights is not None and weight_OI.dtype == torch.bfloat16 and weight_OI.ndim == 2


@torch.library.custom_op("groundup::packed_product", mutates_args=())
def packed_product(x_NI: Tensor, weight_OI: Tensor) -> Tensor:
    """x Wᵀ (N, O), of bf16."""
    if _weights is None:
        return x_NI @ weight_OI.mT
    return torch.ops.mkldnn._linear_pointwise(x_NI, _weights.of(weight_OI), None, "none", [], "")


@packed_product.register_fake
def _(x_NI: Tensor, weight_OI: Tensor) -> Tensor:
    return x_NI.new_empty(len(x_NI), len(weight_OI))
