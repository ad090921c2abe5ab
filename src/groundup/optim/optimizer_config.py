"""Optimizers as data. Each class here has a file of the same subject with its update; learning rates and weight decay
stand beside them in `config.py`.

    Sgd       sgd.py           Adam    adam.py       Muon   muon.py    matrices only
    AdaGrad   adagrad.py       AdamW   adamw.py      Soap   soap.py
    RmsProp   rmsprop.py       Lion    lion.py

Weight decay λ enters the gradient, g + λθ, in Sgd, AdaGrad, RmsProp and Adam, as in their papers' time; in AdamW, Lion,
Muon and Soap it shrinks the weights beside the update, θ - αλθ (arXiv:1711.05101).
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from groundup.core.errors import ConfigError


@dataclass(frozen=True)
class Sgd:
    """Gradient descent with momentum; `dampening` is the share of each gradient that momentum leaves out."""

    momentum: float = 0.9
    nesterov: bool = False
    dampening: float = 0.0
    kind: Literal["sgd"] = "sgd"

    def __post_init__(self) -> None:
        require_share(self, "momentum")
        if not 0 <= self.dampening <= 1:
            raise ConfigError(f"dampening is {self.dampening}; it must be between 0 and 1.")
        if self.nesterov and (self.momentum == 0 or self.dampening > 0):
            raise ConfigError(
                f"Nesterov's gradient needs momentum above 0 and no dampening; they are {self.momentum} and "
                f"{self.dampening}."
            )


@dataclass(frozen=True)
class AdaGrad:
    """Each entry's rate falls with the root of the sum of its squared gradients."""

    epsilon: float = 1e-10
    kind: Literal["adagrad"] = "adagrad"

    def __post_init__(self) -> None:
        require_epsilon(self.epsilon)


@dataclass(frozen=True)
class RmsProp:
    """Each entry's gradient divided by the root of its mean square; `centered` subtracts the squared mean from that."""

    decay: float = 0.99
    epsilon: float = 1e-8
    momentum: float = 0.0
    centered: bool = False
    kind: Literal["rmsprop"] = "rmsprop"

    def __post_init__(self) -> None:
        require_share(self, "decay", "momentum")
        require_epsilon(self.epsilon)


@dataclass(frozen=True)
class Adam:
    """Momentum divided by the root of the mean square, both corrected for their start at 0."""

    beta1: float = 0.9
    beta2: float = 0.95
    epsilon: float = 1e-8
    kind: Literal["adam"] = "adam"

    def __post_init__(self) -> None:
        require_share(self, "beta1", "beta2")
        require_epsilon(self.epsilon)


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay."""

    beta1: float = 0.9
    beta2: float = 0.95
    epsilon: float = 1e-8
    kind: Literal["adamw"] = "adamw"

    def __post_init__(self) -> None:
        require_share(self, "beta1", "beta2")
        require_epsilon(self.epsilon)


@dataclass(frozen=True)
class Lion:
    """The sign of a momentum. Every entry moves by the whole learning rate, so that is 3 to 10 times smaller than
    Adam's, and weight decay as much larger (arXiv:2302.06675)."""

    beta1: float = 0.9
    beta2: float = 0.99
    kind: Literal["lion"] = "lion"

    def __post_init__(self) -> None:
        require_share(self, "beta1", "beta2")


@dataclass(frozen=True)
class Muon:
    """Momentum made orthogonal by `iterations` of Newton-Schulz; for matrices only."""

    momentum: float = 0.95
    iterations: int = 5
    kind: Literal["muon"] = "muon"

    def __post_init__(self) -> None:
        require_share(self, "momentum")
        if self.iterations < 1:
            raise ConfigError(f"iterations is {self.iterations}; it must be at least 1.")


@dataclass(frozen=True)
class Soap:
    """Adam in the eigenbasis of Shampoo, which is turned every `frequency` steps. A side of a matrix that is longer
    than `largest_side` keeps its own basis; a vector keeps it anyway, which is AdamW."""

    beta1: float = 0.95
    beta2: float = 0.95
    epsilon: float = 1e-8
    frequency: int = 10
    largest_side: int = 2048
    kind: Literal["soap"] = "soap"

    def __post_init__(self) -> None:
        require_share(self, "beta1", "beta2")
        require_epsilon(self.epsilon)
        for name in ("frequency", "largest_side"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1.")


VectorOptimizer = Annotated[Sgd | AdaGrad | RmsProp | Adam | AdamW | Lion | Soap, Field(discriminator="kind")]
"""What can update a parameter of any shape."""
Optimizer = Annotated[Sgd | AdaGrad | RmsProp | Adam | AdamW | Lion | Muon | Soap, Field(discriminator="kind")]


def require_share(config: object, *names: str) -> None:
    """Raise a `ConfigError` for the first named field that is not from 0 to below 1."""
    for name in names:
        if not 0 <= getattr(config, name) < 1:  # so written that NaN is refused too
            raise ConfigError(f"{name} is {getattr(config, name)}; it must be at least 0 and below 1.")


def require_epsilon(epsilon: float) -> None:
    if not 0 < epsilon < math.inf:
        raise ConfigError(f"epsilon is {epsilon}; it must be above 0 and finite.")
