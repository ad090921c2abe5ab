"""Which updates to skip: those of a batch whose gradient is out of all proportion to the last ones."""

import math
import statistics
from collections.abc import Sequence

from groundup.training.config import GuardConfig

LEAST = 16  # norms before the median means anything; the first steps' fall from step to step


def is_spike(loss: float, norm: float, recent: Sequence[float], config: GuardConfig) -> bool:
    """Whether to skip the update, given the norms of the last updates that were not skipped."""
    if not (math.isfinite(loss) and math.isfinite(norm)):
        return True
    return len(recent) >= min(LEAST, config.window) and norm > config.factor * statistics.median(recent)
