"""Which data a training reads and in what form, as data; no torch."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from groundup.core.config import nearest
from groundup.core.errors import ConfigError

CORPUS = "corpus"  # the name of the training's own corpus among the sources of a mixture
TOLERANCE = 1e-6  # by which weights may miss 1


@dataclass(frozen=True)
class MixturePhase:
    """From this share of the training's examples on, each source gives this share of them; one not named gives none."""

    from_share: float
    weights: dict[str, float]


@dataclass(frozen=True)
class DataConfig:
    """The corpus alone, or a mixture. `packing`: "windows" run across documents, which see each other; with
    "documents", rows are packed with whole documents, each isolated.

    `sources` are folders of token shards by name (`groundup tokenizer encode-files` writes them), `weights` the share
    of examples that each gives, the corpus under the name "corpus"; without weights it gives all. `weight_changes` are
    further phases: a curriculum, or better text at the end. `prefetch` batches are read ahead in a thread.
    """

    packing: Literal["windows", "documents"] = "windows"
    sources: dict[str, Path] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    weight_changes: tuple[MixturePhase, ...] = ()
    prefetch: int = 2

    def __post_init__(self) -> None:
        if self.packing not in ("windows", "documents"):
            raise ConfigError(f"packing is {self.packing!r}; choose 'windows' or 'documents'.")
        if self.prefetch < 0:
            raise ConfigError(f"prefetch is {self.prefetch}; it must be 0 (read when needed) or more.")
        if CORPUS in self.sources:
            raise ConfigError(f"A source is called {CORPUS!r}, which is the training's own corpus; rename it.")
        require_phases(self.phases(), {CORPUS, *self.sources})
        for name in self.sources:
            if not any(phase.weights.get(name) for phase in self.phases()):
                raise ConfigError(f"The source {name!r} has no weight in any phase; give it one or leave it out.")

    def phases(self) -> tuple[MixturePhase, ...]:
        """All phases, the first of them from the start."""
        return (MixturePhase(0.0, self.weights or {CORPUS: 1.0}), *self.weight_changes)


def require_phases(phases: Collection[MixturePhase], known: Collection[str]) -> None:
    """Refuse weights that are no shares or name unknown sources, and phases out of order."""
    before = -math.inf
    for phase in phases:
        require_weights(phase, known)
        if not (0 <= phase.from_share < 1 and phase.from_share > before):
            raise ConfigError(
                f"A phase of the mixture begins at {phase.from_share} of the training; phases begin at 0 or more, "
                "below 1, each behind the one before."
            )
        if before == -math.inf and phase.from_share != 0:
            raise ConfigError(f"The first phase of the mixture begins at {phase.from_share}; it must begin at 0.")
        before = phase.from_share


def require_weights(phase: MixturePhase, known: Collection[str]) -> None:
    """Refuse the weights of one phase: an unknown name, a negative weight, a sum that is not 1."""
    weights: Mapping[str, float] = phase.weights
    place = f"from {phase.from_share:g} of the training on"
    for name, weight in weights.items():
        if name not in known:
            raise ConfigError(f"The mixture {place} names an unknown source {name!r}; {nearest(name, known)}")
        if not 0 <= weight <= 1 + TOLERANCE:
            raise ConfigError(f"The mixture {place} gives {name!r} the weight {weight}; it must be between 0 and 1.")
    if abs(math.fsum(weights.values()) - 1) > TOLERANCE:
        raise ConfigError(f"The weights of the mixture {place} sum to {math.fsum(weights.values()):.9g}, not to 1.")
