"""Number formats of a training: which one its weights have, and which the operands of its matrix products.

               weights   products of weights   gradients   masters, moments
    float32    fp32      fp32                  fp32        fp32, the weights are the masters
    bfloat16   bf16      bf16                  bf16        fp32
    autocast   fp32      bf16                  fp32        fp32, the weights are the masters
    float16    fp16      fp16                  fp32        fp32
    float8     bf16      float8, emulated      bf16        fp32

Softmax, norms, states of recurrent mixers, routers and the loss are fp32 in each of them. Products of attention and of
the unembedding have the format of the others, but with `float8` they are bf16, as is common: an error in a logit is one
in the loss, and no layer behind it can make up for it.

float16 has gradients that vanish in fp16, so the loss is scaled (`loss_scaler.py`) and the gradients become fp32
before they are unscaled. What is in which format in a training that runs is told by `dtype_table.py`.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch

from groundup.kernels.float8 import float8_products


class Precision(NamedTuple):
    """A way to compute, by its name; the format that weights are kept in, and the one that a processor multiplies."""

    name: str
    weights: torch.dtype
    products: torch.dtype

    def computing(self, device: torch.device) -> AbstractContextManager[object]:
        """Inside the block, forward passes on the device have these products. A backward pass needs it only where it
        computes activations again."""
        if self.name == "autocast":
            return torch.autocast(device.type, self.products)
        if self.name == "float8":
            return float8_products()
        return nullcontext()


PRECISIONS = {
    each.name: each
    for each in (
        Precision("float32", torch.float32, torch.float32),
        Precision("bfloat16", torch.bfloat16, torch.bfloat16),
        Precision("autocast", torch.float32, torch.bfloat16),
        Precision("float16", torch.float16, torch.float16),
        Precision("float8", torch.bfloat16, torch.bfloat16),
    )
}


def precision_of(dtype: torch.dtype | Precision) -> Precision:
    """A format alone means that weights and products have it."""
    return dtype if isinstance(dtype, Precision) else PRECISIONS[str(dtype).removeprefix("torch.")]
