"""A batch that grows: small at first, when gradients agree and many updates help more than exact ones; no torch.

GPT-3 raised it in a line over the first billions of tokens (Brown et al. 2020, arXiv:2005.14165, appendix B), Llama 3
doubled it twice (Grattafiori et al. 2024, arXiv:2407.21783, section 3.4.1). Rows are counted here, so that the
batch of a step and where its data begins stay functions of the step.
"""

import math
from dataclasses import dataclass
from typing import Literal

from groundup.core.errors import ConfigError


@dataclass(frozen=True)
class BatchRamp:
    """From `start` of the batch (1: no ramp) to all of it over `steps`: in a line, or by doubling at even distances."""

    start: float = 1.0
    steps: int = 0
    shape: Literal["linear", "doubling"] = "linear"

    def __post_init__(self) -> None:
        if not 0 < self.start <= 1:
            raise ConfigError(f"start is {self.start}; it must be above 0 and at most 1 (no ramp).")
        if self.steps < 0:
            raise ConfigError(f"steps is {self.steps}; it must be 0 (no ramp) or more.")
        if self.shape not in ("linear", "doubling"):
            raise ConfigError(f"shape is {self.shape!r}; choose 'linear' or 'doubling'.")


def batch_share(ramp: BatchRamp, step: int) -> float:
    """The share of the full batch at `step` (0-based)."""
    if step >= ramp.steps:
        return 1.0
    if ramp.shape == "linear":
        return ramp.start + (1 - ramp.start) * step / ramp.steps
    doublings = math.ceil(math.log2(1 / ramp.start))
    return min(1.0, ramp.start * 2 ** (step * doublings // ramp.steps))


def rows_at(ramp: BatchRamp, step: int, batch_size: int, multiple: int = 1) -> int:
    """The rows of the batch of `step`: the share of `batch_size`, rounded to a multiple, at least one of it."""
    if step >= ramp.steps:
        return batch_size
    whole = round(batch_share(ramp, step) * batch_size / multiple) * multiple
    return min(batch_size, max(multiple, whole))


def rows_before(ramp: BatchRamp, step: int, batch_size: int, multiple: int = 1) -> int:
    """The rows of all batches before `step`: where its data begins."""
    ramping = sum(rows_at(ramp, earlier, batch_size, multiple) for earlier in range(min(step, ramp.steps)))
    return ramping + max(0, step - ramp.steps) * batch_size
