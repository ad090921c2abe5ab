"""Values that cannot work are refused in a sentence, NaN among them."""

from typing import Any

import pytest

from groundup.core.config import decode, encode
from groundup.core.errors import ConfigError
from groundup.optim.config import OptimizerConfig

NAN = float("nan")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"matrix_optimizer": "sgd"}, "matrix_optimizer is 'sgd'; choose 'adamw' or 'muon'"),
        ({"schedule": "linear"}, "schedule is 'linear'; choose 'constant', 'cosine' or 'wsd'"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; it must be above 0 and finite"),
        ({"learning_rate": NAN}, "learning_rate is nan"),
        ({"matrix_learning_rate": float("inf")}, "matrix_learning_rate is inf"),
        ({"embedding_learning_rate": -0.1}, "embedding_learning_rate is -0.1"),
        ({"clip_norm": NAN}, "clip_norm is nan; it must be above 0"),
        ({"clip_norm": -1.0}, "clip_norm is -1.0; it must be above 0"),
        ({"beta1": 1.0}, "beta1 is 1.0; it must be at least 0 and below 1"),
        ({"beta2": -0.1}, "beta2 is -0.1; it must be at least 0 and below 1"),
        ({"weight_decay": 1.5}, "weight_decay is 1.5; it must be between 0 and 1"),
        ({"final_fraction": NAN}, "final_fraction is nan; it must be between 0 and 1"),
        ({"decay_fraction": 0.0}, "decay_fraction is 0.0; it must be above 0 and at most 1"),
        ({"warmup_steps": -1}, "warmup_steps is -1; it must be 0 or more"),
    ],
)
def test_a_value_that_cannot_work_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        OptimizerConfig(**changes)


def test_the_edges_are_allowed_and_survive_json() -> None:
    config = OptimizerConfig(beta1=0.0, weight_decay=1.0, final_fraction=1.0, decay_fraction=1.0, warmup_steps=0)
    assert decode(OptimizerConfig, encode(config)) == config
    assert OptimizerConfig(clip_norm=float("inf")).clip_norm == float("inf")
