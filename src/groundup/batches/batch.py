"""One batch of next-token examples, and what produces batches."""

from typing import NamedTuple, Protocol

from torch import Tensor


class Batch(NamedTuple):
    """Shapes (B, T): input ids, the ids that follow them, and each target's weight in the loss (0 = not trained on)."""

    tokens_BT: Tensor
    targets_BT: Tensor
    weights_BT: Tensor


class BatchSource(Protocol):
    """A pure function of the step: the same source and step always give the same batch."""

    def batch(self, step: int) -> Batch: ...
