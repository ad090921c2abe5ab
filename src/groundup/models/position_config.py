"""How a decoder knows the order of its tokens, as data.

    Rotary     queries and keys are turned by an angle that grows with the position (arXiv:2104.09864)
    Alibi      scores fall linearly with the distance (arXiv:2108.12409)
    NoPosition only the causal mask tells (NoPE, arXiv:2305.19466)

These belong to an attention layer; learned and sinusoidal embeddings are added once, before the first layer
(`DecoderConfig.position_embedding`). A scaling stretches rotary angles to contexts longer than those trained on.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from groundup.core.errors import ConfigError


@dataclass(frozen=True)
class LinearScaling:
    """All positions divided by `factor` (position interpolation, arXiv:2306.15595)."""

    factor: float = 2.0
    kind: Literal["linear"] = "linear"

    def __post_init__(self) -> None:
        require_factor(self.factor)


@dataclass(frozen=True)
class NtkScaling:
    """The base grows so that the lowest frequency falls by `factor` and the highest stays (NTK-aware, arXiv:2309.00071,
    section 3.1)."""

    factor: float = 2.0
    kind: Literal["ntk"] = "ntk"

    def __post_init__(self) -> None:
        require_factor(self.factor)


@dataclass(frozen=True)
class YarnScaling:
    """Frequencies that turn often in the original context stay, slow ones are divided by `factor`, between `beta_slow`
    and `beta_fast` turns a ramp; scores grow by `attention_factor`², None for 0.1 ln(factor) + 1 (YaRN,
    arXiv:2309.00071)."""

    factor: float = 4.0
    original_context: int = 4096
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None
    kind: Literal["yarn"] = "yarn"

    def __post_init__(self) -> None:
        require_factor(self.factor)
        require_context(self.original_context)
        require_between("YaRN's beta_slow", self.beta_slow, "beta_fast", self.beta_fast)
        if self.attention_factor is not None and not 0 < self.attention_factor < math.inf:
            raise ConfigError(f"YaRN's attention_factor is {self.attention_factor}; it must be above 0 and finite.")


@dataclass(frozen=True)
class Llama3Scaling:
    """Llama 3.1's (its code; the models: arXiv:2407.21783): frequencies of wavelengths above original_context /
    low_frequency_factor are divided by `factor`, those below original_context / high_frequency_factor stay, between
    them a ramp."""

    factor: float = 8.0
    low_frequency_factor: float = 1.0
    high_frequency_factor: float = 4.0
    original_context: int = 8192
    kind: Literal["llama3"] = "llama3"

    def __post_init__(self) -> None:
        require_factor(self.factor)
        require_context(self.original_context)
        low, high = self.low_frequency_factor, self.high_frequency_factor
        require_between("low_frequency_factor", low, "high_frequency_factor", high)


RotaryScaling = Annotated[LinearScaling | NtkScaling | YarnScaling | Llama3Scaling, Field(discriminator="kind")]


@dataclass(frozen=True)
class Rotary:
    """Pairs (x_i, x_{i+k/2}) of the first k = fraction · head width turned by position / base^(2i/k)."""

    base: float = 10_000.0
    fraction: float = 1.0
    scaling: RotaryScaling | None = None
    kind: Literal["rotary"] = "rotary"

    def __post_init__(self) -> None:
        if not 1 < self.base < math.inf:
            raise ConfigError(f"The rotary base is {self.base}; it must be above 1 and finite.")
        if not 0 < self.fraction <= 1:
            raise ConfigError(f"The rotary fraction is {self.fraction}; it must be above 0 and at most 1.")

    def turned(self, head_width: int) -> int:
        """How many of a head's entries are turned."""
        return round(self.fraction * head_width)


@dataclass(frozen=True)
class Alibi:
    """Head h of H subtracts distance · 2^(-8h/H) from its scores."""

    kind: Literal["alibi"] = "alibi"


@dataclass(frozen=True)
class NoPosition:
    """Nothing but the causal mask."""

    kind: Literal["none"] = "none"


Position = Annotated[Rotary | Alibi | NoPosition, Field(discriminator="kind")]


def require_factor(factor: float) -> None:
    """Contexts are stretched, not shrunk."""
    if not 1 <= factor < math.inf:
        raise ConfigError(f"The rotary scaling's factor is {factor}; it must be at least 1 and finite.")


def require_context(original_context: int) -> None:
    """There was a context to stretch."""
    if original_context < 1:
        raise ConfigError(f"The rotary scaling's original_context is {original_context}; it must be at least 1 token.")


def require_between(name: str, low: float, high_name: str, high: float) -> None:
    """The ends of a ramp, in order."""
    if not 0 < low < high < math.inf:
        raise ConfigError(f"{name} {low} must be above 0 and below {high_name} {high}, which must be finite.")
