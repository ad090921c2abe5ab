"""Budgets in words, and the steps that they allow."""

import pytest

from groundup.accounting.budget import Budget, parse_budget, parse_budgets, steps_within
from groundup.accounting.language_model import parameters, training_flops_per_token
from groundup.core.errors import ConfigError
from groundup.models.lstm_config import LstmConfig
from groundup.models.presets import llama
from groundup.stages.config import PretrainConfig


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("10min", Budget(600, "seconds")),
        ("90s", Budget(90, "seconds")),
        ("1.5 h", Budget(5400, "seconds")),
        ("1e15flops", Budget(1e15, "flops")),
        ("1e15FLOPs", Budget(1e15, "flops")),
        ("2e6tok", Budget(2e6, "tokens")),
        ("20tok/param", Budget(20, "tokens_per_parameter")),
        ("4epochs", Budget(4, "epochs")),
    ],
)
def test_words(text: str, budget: Budget) -> None:
    assert parse_budget(text) == budget
    assert parse_budgets(text) == (budget,)


def test_several_with_commas() -> None:
    assert parse_budgets("1h, 4epochs") == (Budget(3600, "seconds"), Budget(4, "epochs"))
    for text in ("1h,", ",", "1h,4", "1h 4epochs"):
        with pytest.raises(ConfigError, match="is none; write"):
            PretrainConfig(budget=text)


@pytest.mark.parametrize("text", ["10", "min", "ten min", "-5min", "0h", "1e999flops", "1.2.3h", "5 parsecs", "1e15"])
def test_what_is_no_budget(text: str) -> None:
    with pytest.raises(ConfigError, match="write 10min, 2h, 1e15flops, 2e6tok or 20tok/param"):
        PretrainConfig(budget=text)


@pytest.mark.parametrize("model", [llama(512, 64, 32, 2, 2, 1, 64), LstmConfig(512, 64, 32, 1)], ids=lambda m: m.kind)
def test_steps(model) -> None:
    assert steps_within(Budget(20, "tokens_per_parameter"), model, 1000) == round(parameters(model) * 20 / 1000)
    assert steps_within(Budget(1e12, "flops"), model, 1000) == round(1e12 / training_flops_per_token(model) / 1000)
    assert steps_within(Budget(12_400, "tokens"), model, 1000) == 12
    assert steps_within(Budget(1, "tokens"), model, 1000) == 1
