"""What the optimizer does, as data; no torch."""

import math
import re
from dataclasses import dataclass, field

from groundup.core.errors import ConfigError
from groundup.optim.optimizer_config import AdamW, Muon, Optimizer, VectorOptimizer
from groundup.optim.schedule_config import Cosine, Schedule

MUON_LEARNING_RATE = 0.02


@dataclass(frozen=True)
class Rule:
    """An exception for the parameters whose names hold `pattern` (a regular expression; `^` and `$` tie it to the
    ends): the learning rate times a factor, a weight decay or an optimizer of their own, or no training at all.

    With another optimizer a matrix starts from `learning_rate`, with Muon from 0.02.
    """

    pattern: str
    learning_rate_factor: float = 1.0
    weight_decay: float | None = None
    optimizer: Optimizer | None = None
    frozen: bool = False

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise ConfigError(f"The pattern {self.pattern!r} is not a regular expression: {error}.") from None
        require_rate("learning_rate_factor", self.learning_rate_factor)
        if self.weight_decay is not None:
            require_decay(self.weight_decay)


@dataclass(frozen=True)
class OptimizerConfig:
    """An optimizer for the matrices inside blocks and one for the rest: embeddings, unembedding, convolutions, vectors.

    `matrix_learning_rate` None is 0.02 with Muon, whose updates have a size of their own, else `learning_rate`. The
    embedding has a rate of its own: its entries start at size 1, those of matrices near 1/√width, and Adam moves every
    entry by about the learning rate. Weight decay is for the matrices only.

    All rates rise over `warmup_steps` and then follow the `schedule`. The first of the `rules` whose pattern a name
    holds applies to that parameter; rules are given in a config file.

    Optimizers are sgd, adagrad, rmsprop, adam, adamw, lion, soap, and for matrices muon; schedules constant, linear,
    cosine, wsd, inverse_square_root. Each has options of its own, which appear when it is chosen by
    `--optimizer.matrices.kind`, `--optimizer.rest.kind`, `--optimizer.schedule.kind`.
    """

    matrices: Optimizer = field(default_factory=Muon)
    matrix_learning_rate: float | None = None
    rest: VectorOptimizer = field(default_factory=AdamW)
    learning_rate: float = 3e-3
    embedding_learning_rate: float = 0.1
    weight_decay: float = 0.1
    schedule: Schedule = field(default_factory=Cosine)
    warmup_steps: int = 20
    clip_norm: float = 1.0
    rules: tuple[Rule, ...] = ()

    def __post_init__(self) -> None:
        if self.matrix_learning_rate is not None:
            require_rate("matrix_learning_rate", self.matrix_learning_rate)
        for name in ("learning_rate", "embedding_learning_rate"):
            require_rate(name, getattr(self, name))
        if not self.clip_norm > 0:
            raise ConfigError(f"clip_norm is {self.clip_norm}; it must be above 0 (infinity clips nothing).")
        require_decay(self.weight_decay)
        if self.warmup_steps < 0:
            raise ConfigError(f"warmup_steps is {self.warmup_steps}; it must be 0 or more.")

    def matrix_rate(self, optimizer: Optimizer) -> float:
        """The peak learning rate of a matrix that this optimizer, the config's or a rule's, updates."""
        if optimizer == self.matrices and self.matrix_learning_rate is not None:
            return self.matrix_learning_rate
        return MUON_LEARNING_RATE if isinstance(optimizer, Muon) else self.learning_rate


def require_rate(name: str, rate: float) -> None:
    if not 0 < rate < math.inf:  # so written that NaN is refused too
        raise ConfigError(f"{name} is {rate}; it must be above 0 and finite.")


def require_decay(weight_decay: float) -> None:
    if not 0 <= weight_decay <= 1:
        raise ConfigError(f"weight_decay is {weight_decay}; it must be between 0 and 1.")
