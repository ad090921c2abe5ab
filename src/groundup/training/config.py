"""What the training loop does beside the optimizer, as data; no torch."""

import math
from dataclasses import dataclass
from typing import Literal

from groundup.core.errors import ConfigError


@dataclass(frozen=True)
class GuardConfig:
    """Against spikes. An update whose loss or gradient norm is not finite, or whose norm is above `factor` times the
    median of the last `window` ones, is skipped with its batch. After `patience` skips in a row training goes back to
    the last checkpoint and continues behind the batches that led here (Chowdhery et al. 2022, arXiv:2204.02311, section
    5.1), `rollbacks` times at most. A factor of 0 is no guard: what is not finite ends the training."""

    factor: float = 0.0
    window: int = 64
    patience: int = 4
    rollbacks: int = 2

    def __post_init__(self) -> None:
        if not (self.factor == 0 or 1 < self.factor < math.inf):
            raise ConfigError(f"The guard's factor is {self.factor}; it must be above 1, or 0 for no guard.")
        for name, least in (("window", 4), ("patience", 1), ("rollbacks", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"The guard's {name} is {getattr(self, name)}; it must be at least {least}.")


@dataclass(frozen=True)
class AverageConfig:
    """A mean of the weights beside them (`optim/averaging.py`), updated `every` so many steps: "exponential" with a
    `decay`, or "latest" over the last `snapshots`. It is evaluated beside the weights and saved at the end."""

    kind: Literal["none", "exponential", "latest"] = "none"
    decay: float = 0.99
    snapshots: int = 6
    every: int = 1

    def __post_init__(self) -> None:
        if self.kind not in ("none", "exponential", "latest"):
            raise ConfigError(f"The average's kind is {self.kind!r}; choose none, exponential or latest.")
        if not 0 <= self.decay < 1:
            raise ConfigError(f"The average's decay is {self.decay}; it must be at least 0 and below 1.")
        for name in ("snapshots", "every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"The average's {name} is {getattr(self, name)}; it must be at least 1.")
