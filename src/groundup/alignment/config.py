"""What alignment does, as data; no torch."""

from dataclasses import dataclass

from groundup.core.errors import ConfigError

AGGREGATIONS = ("grpo", "dapo", "dr_grpo")
REWARDS = ("exact", "random")


@dataclass(frozen=True)
class GrpoConfig:
    """Group-relative policy optimisation.

    Each step samples `group_size` answers to each of `prompts` instructions at temperature 1 and updates the policy
    `updates` times, each time on its own share of the groups. `reward` "exact" is 1 for the right answer, else 0;
    "random" is a fair coin, a control that must not help. `kl_coefficient` weighs the divergence from the policy that
    training started from; 0 leaves it, and its cost, out.
    """

    steps: int = 100
    prompts: int = 32
    group_size: int = 8
    updates: int = 1
    clip_low: float = 0.2
    clip_high: float = 0.2
    aggregation: str = "dapo"
    normalize_std: bool = True
    kl_coefficient: float = 0.0
    reward: str = "exact"
    max_tokens: int = 16

    def __post_init__(self) -> None:
        for name in ("steps", "prompts", "updates", "max_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if not 0 <= self.kl_coefficient < float("inf"):
            raise ConfigError(f"kl_coefficient is {self.kl_coefficient}; it must be 0 or more, and finite.")
        if self.group_size < 2:
            raise ConfigError(f"group_size is {self.group_size}; a group needs at least 2 answers to compare.")
        if self.prompts % self.updates:
            raise ConfigError(f"prompts ({self.prompts}) must be a multiple of updates ({self.updates}).")
        if self.aggregation not in AGGREGATIONS:
            raise ConfigError(f"aggregation is {self.aggregation!r}; choose one of {', '.join(AGGREGATIONS)}.")
        if self.reward not in REWARDS:
            raise ConfigError(f"reward is {self.reward!r}; choose one of {', '.join(REWARDS)}.")
