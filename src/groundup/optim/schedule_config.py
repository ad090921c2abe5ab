"""How the learning rate goes on after the warm-up, as data; `schedules.py` computes it."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from groundup.core.errors import ConfigError


@dataclass(frozen=True)
class Constant:
    """It stays."""

    kind: Literal["constant"] = "constant"


@dataclass(frozen=True)
class Linear:
    """It falls in a line from the end of the warm-up to `final_fraction` of its peak at the last step."""

    final_fraction: float = 0.0
    kind: Literal["linear"] = "linear"

    def __post_init__(self) -> None:
        require_final_fraction(self.final_fraction)


@dataclass(frozen=True)
class Cosine:
    """It falls along half a cosine from the end of the warm-up to `final_fraction` of its peak at the last step."""

    final_fraction: float = 0.0
    kind: Literal["cosine"] = "cosine"

    def __post_init__(self) -> None:
        require_final_fraction(self.final_fraction)


@dataclass(frozen=True)
class Wsd:
    """Warm-up, stable, decay: it stays, then falls over the last `decay_fraction` of the steps, or over the last
    `decay_steps` where that is not 0, in a line or as 1 - √progress (`shape`).

    Before the decay it does not depend on the number of steps. So one stable run serves many horizons: from any of its
    checkpoints a decay of its own may branch off (`schedules.branch`).
    """

    decay_fraction: float = 0.6
    decay_steps: int = 0
    final_fraction: float = 0.0
    shape: Literal["linear", "sqrt"] = "linear"
    kind: Literal["wsd"] = "wsd"

    def __post_init__(self) -> None:
        if not 0 < self.decay_fraction <= 1:
            raise ConfigError(f"decay_fraction is {self.decay_fraction}; it must be above 0 and at most 1.")
        if self.decay_steps < 0:
            raise ConfigError(f"decay_steps is {self.decay_steps}; it must be 0 (by decay_fraction) or more.")
        if self.shape not in ("linear", "sqrt"):
            raise ConfigError(f"shape is {self.shape!r}; choose 'linear' or 'sqrt'.")
        require_final_fraction(self.final_fraction)


@dataclass(frozen=True)
class InverseSquareRoot:
    """It falls as 1/√step from the end of the warm-up, whatever the number of steps."""

    kind: Literal["inverse_square_root"] = "inverse_square_root"


Schedule = Annotated[Constant | Linear | Cosine | Wsd | InverseSquareRoot, Field(discriminator="kind")]


def require_final_fraction(final_fraction: float) -> None:
    if not 0 <= final_fraction <= 1:  # so written that NaN is refused too
        raise ConfigError(f"final_fraction is {final_fraction}; it must be between 0 and 1.")
