"""Values that cannot work are refused in a sentence, NaN among them."""

from collections.abc import Callable
from typing import Any

import pytest

from groundup.core.config import decode, encode
from groundup.core.errors import ConfigError
from groundup.optim import optimizer_config as kinds
from groundup.optim.config import OptimizerConfig, Rule
from groundup.optim.schedule_config import Constant, Cosine, InverseSquareRoot, Linear, Wsd

NAN = float("nan")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: OptimizerConfig(learning_rate=0.0), "learning_rate is 0.0; it must be above 0 and finite"),
        (lambda: OptimizerConfig(learning_rate=NAN), "learning_rate is nan"),
        (lambda: OptimizerConfig(matrix_learning_rate=float("inf")), "matrix_learning_rate is inf"),
        (lambda: OptimizerConfig(matrix_learning_rate=0.0), "matrix_learning_rate is 0.0"),
        (lambda: OptimizerConfig(embedding_learning_rate=-0.1), "embedding_learning_rate is -0.1"),
        (lambda: OptimizerConfig(clip_norm=NAN), "clip_norm is nan; it must be above 0"),
        (lambda: OptimizerConfig(clip_norm=-1.0), "clip_norm is -1.0; it must be above 0"),
        (lambda: OptimizerConfig(weight_decay=1.5), "weight_decay is 1.5; it must be between 0 and 1"),
        (lambda: OptimizerConfig(warmup_steps=-1), "warmup_steps is -1; it must be 0 or more"),
        (lambda: Cosine(final_fraction=NAN), "final_fraction is nan; it must be between 0 and 1"),
        (lambda: Linear(final_fraction=-0.1), "final_fraction is -0.1; it must be between 0 and 1"),
        (lambda: Wsd(final_fraction=2.0), "final_fraction is 2.0; it must be between 0 and 1"),
        (lambda: Wsd(decay_fraction=0.0), "decay_fraction is 0.0; it must be above 0 and at most 1"),
        (lambda: Wsd(decay_steps=-1), "decay_steps is -1; it must be 0"),
        (lambda: Wsd(shape="cubic"), "shape is 'cubic'; choose 'linear' or 'sqrt'"),  # type: ignore[arg-type]
        (lambda: kinds.Sgd(momentum=1.0), "momentum is 1.0; it must be at least 0 and below 1"),
        (lambda: kinds.Sgd(dampening=NAN), "dampening is nan; it must be between 0 and 1"),
        (lambda: kinds.Sgd(momentum=0.0, nesterov=True), "Nesterov's gradient needs momentum above 0"),
        (lambda: kinds.Sgd(dampening=0.1, nesterov=True), "no dampening; they are 0.9 and 0.1"),
        (lambda: kinds.AdaGrad(epsilon=0.0), "epsilon is 0.0; it must be above 0 and finite"),
        (lambda: kinds.RmsProp(decay=NAN), "decay is nan; it must be at least 0 and below 1"),
        (lambda: kinds.RmsProp(momentum=-0.1), "momentum is -0.1"),
        (lambda: kinds.Adam(beta1=1.0), "beta1 is 1.0; it must be at least 0 and below 1"),
        (lambda: kinds.AdamW(beta2=-0.1), "beta2 is -0.1; it must be at least 0 and below 1"),
        (lambda: kinds.AdamW(epsilon=NAN), "epsilon is nan"),
        (lambda: kinds.Lion(beta2=1.0), "beta2 is 1.0"),
        (lambda: kinds.Muon(momentum=1.0), "momentum is 1.0"),
        (lambda: kinds.Muon(iterations=0), "iterations is 0; it must be at least 1"),
        (lambda: kinds.Soap(frequency=0), "frequency is 0; it must be at least 1"),
        (lambda: kinds.Soap(largest_side=0), "largest_side is 0; it must be at least 1"),
        (lambda: Rule("blocks.(0"), "The pattern 'blocks.\\(0' is not a regular expression: missing \\)"),
        (lambda: Rule("x", learning_rate_factor=0.0), "learning_rate_factor is 0.0; it must be above 0"),
        (lambda: Rule("x", weight_decay=NAN), "weight_decay is nan; it must be between 0 and 1"),
    ],
)
def test_a_value_that_cannot_work_is_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_the_edges_are_allowed_and_survive_json() -> None:
    rules = (
        Rule("norm", frozen=True),
        Rule("^unembedding$", 0.1, 0.2, kinds.Lion()),
        Rule("up", optimizer=kinds.Muon()),
    )
    for schedule in (Constant(), Linear(1.0), Cosine(), Wsd(1.0, 7, 1.0, "sqrt"), InverseSquareRoot()):
        config = OptimizerConfig(
            kinds.AdamW(beta1=0.0), weight_decay=1.0, schedule=schedule, warmup_steps=0, rules=rules
        )
        assert decode(OptimizerConfig, encode(config)) == config
    assert OptimizerConfig(clip_norm=float("inf")).clip_norm == float("inf")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"matrices": {"kind": "soup"}}, "matrices: .*'soap'"),
        ({"matrices": {"kind": "soap", "frequenzy": 3}}, "unknown key 'matrices.frequenzy'; did you mean 'frequency'"),
        ({"rest": {"kind": "muon"}}, "rest: .*'muon'"),
        ({"schedule": {"kind": "wsd", "decay": 0.2}}, "unknown key 'schedule.decay'; did you mean"),
        ({"schedule": {"kind": "cosine", "final_fraction": 2.0}}, "final_fraction is 2.0"),
        ({"rules": [{"pattern": "a", "factor": 2.0}]}, r"unknown key 'rules\[0\].factor'"),
        ({"rules": [{"pattern": "a", "optimizer": {"kind": "lion", "beta3": 0.5}}]}, "unknown key .*beta3"),
    ],
)
def test_a_file_names_the_place_of_its_mistake(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        decode(OptimizerConfig, data)


def test_a_matrix_has_the_rate_of_its_optimizer() -> None:
    config = OptimizerConfig(learning_rate=0.003)
    assert config.matrix_rate(config.matrices) == 0.02
    assert config.matrix_rate(kinds.AdamW()) == 0.003
    soap = OptimizerConfig(kinds.Soap(), matrix_learning_rate=0.005, learning_rate=0.003)
    assert soap.matrix_rate(soap.matrices) == 0.005
    assert soap.matrix_rate(kinds.Lion()) == 0.003
    assert soap.matrix_rate(kinds.Muon()) == 0.02
