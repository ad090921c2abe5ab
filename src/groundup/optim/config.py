"""What the optimizer does, as data; no torch."""

import math
from dataclasses import dataclass

from groundup.core.errors import ConfigError


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW for everything, or Muon for the matrices inside blocks and AdamW for the rest (`matrix_optimizer`).

    The embedding has a learning rate of its own: its entries start at size 1, those of matrices near 1/√width, and
    Adam moves every entry by about the learning rate.

    The learning rate rises over `warmup_steps`, then stays ("constant"), or falls to `final_fraction` of its peak:
    along a cosine from the end of the warm-up ("cosine"), or in a line over the last `decay_fraction` of the steps
    ("wsd").
    """

    matrix_optimizer: str = "muon"
    matrix_learning_rate: float = 0.02
    learning_rate: float = 3e-3
    embedding_learning_rate: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    weight_decay: float = 0.1
    schedule: str = "cosine"
    warmup_steps: int = 20
    decay_fraction: float = 0.6
    final_fraction: float = 0.0
    clip_norm: float = 1.0

    def __post_init__(self) -> None:
        if self.matrix_optimizer not in ("adamw", "muon"):
            raise ConfigError(f"matrix_optimizer is {self.matrix_optimizer!r}; choose 'adamw' or 'muon'.")
        if self.schedule not in ("constant", "cosine", "wsd"):
            raise ConfigError(f"schedule is {self.schedule!r}; choose 'constant', 'cosine' or 'wsd'.")
        for name in ("matrix_learning_rate", "learning_rate", "embedding_learning_rate"):
            if not 0 < getattr(self, name) < math.inf:  # so written that NaN is refused too
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be above 0 and finite.")
        if not self.clip_norm > 0:
            raise ConfigError(f"clip_norm is {self.clip_norm}; it must be above 0 (infinity clips nothing).")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 0 and below 1.")
        for name in ("weight_decay", "final_fraction"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be between 0 and 1.")
        if not 0 < self.decay_fraction <= 1:
            raise ConfigError(f"decay_fraction is {self.decay_fraction}; it must be above 0 and at most 1.")
        if self.warmup_steps < 0:
            raise ConfigError(f"warmup_steps is {self.warmup_steps}; it must be 0 or more.")
