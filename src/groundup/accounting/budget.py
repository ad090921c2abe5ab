"""How long to train, from what there is: time, FLOPs, tokens, tokens for each parameter, or text. No torch.

20 tokens a parameter is where a model of given compute is best (Hoffmann et al. 2022, arXiv:2203.15556); a small model
that is to be used much is trained on more. Up to four passes through a text teach almost what new text would; what more
of them add decays to nothing (Muennighoff et al. 2023, arXiv:2305.16264).
"""

import math
import re
from typing import Literal, NamedTuple

from groundup.accounting.language_model import parameters, training_flops_per_token
from groundup.core.errors import ConfigError
from groundup.models.model_config import ModelConfig

Unit = Literal["seconds", "flops", "tokens", "tokens_per_parameter", "epochs"]
UNITS: dict[str, tuple[Unit, float]] = {
    "s": ("seconds", 1.0),
    "min": ("seconds", 60.0),
    "h": ("seconds", 3600.0),
    "flops": ("flops", 1.0),
    "tok": ("tokens", 1.0),
    "tok/param": ("tokens_per_parameter", 1.0),
    "epochs": ("epochs", 1.0),
}


class Budget(NamedTuple):
    """An amount of one of the units."""

    amount: float
    unit: Unit


def parse_budgets(text: str) -> tuple[Budget, ...]:
    """Budgets with commas between, such as 1h,4epochs; the one that allows the fewest steps is meant."""
    return tuple(parse_budget(part) for part in text.split(","))


def parse_budget(text: str) -> Budget:
    """A budget from words such as 10min, 1e15flops, 2e6tok, 20tok/param, 4epochs."""
    match = re.fullmatch(r"\s*([0-9.]+(?:e[+-]?[0-9]+)?)\s*([a-z/]+)\s*", text.lower())
    try:
        amount = float(match[1]) if match else math.nan
    except ValueError:
        amount = math.nan
    if match is None or match[2] not in UNITS or not 0 < amount < math.inf:
        raise ConfigError(
            f"The budget {text!r} is none; write 10min, 2h, 1e15flops, 2e6tok or 20tok/param, 4epochs, or several with "
            "commas, such as 1h,4epochs."
        )
    unit, size = UNITS[match[2]]
    return Budget(amount * size, unit)


def steps_within(budget: Budget, model: ModelConfig, tokens_per_step: int) -> int:
    """The steps that the budget allows, at least one; how far seconds and epochs go depends on machine and text."""
    match budget.unit:
        case "tokens":
            tokens = budget.amount
        case "tokens_per_parameter":
            tokens = budget.amount * parameters(model)
        case "flops":
            tokens = budget.amount / training_flops_per_token(model)
        case "seconds" | "epochs":
            raise AssertionError(f"how far {budget.unit} go does not follow from the model")
    return max(1, round(tokens / tokens_per_step))
