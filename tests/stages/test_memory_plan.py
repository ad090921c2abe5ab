"""Which layers are computed again is what accounting says, against all choices there are."""

from dataclasses import replace

import pytest

from groundup.core.errors import ConfigError
from groundup.models.presets import llama
from groundup.stages.config import PretrainConfig
from groundup.stages.memory_plan import fitted, predicted_memory, require_memory

CONFIG = PretrainConfig(model=llama(width=64, depth=12, num_heads=4, num_kv_heads=4, context_length=256), batch_size=32)


def gigabytes(recompute: int, config: PretrainConfig = CONFIG) -> float:
    return sum(predicted_memory(config, "bfloat16", recompute).values()) / 1e9


def test_what_fits_is_left_alone() -> None:
    assert fitted(CONFIG) == CONFIG
    roomy = replace(CONFIG, memory_limit=gigabytes(0) * 1.01)
    assert fitted(roomy) == roomy
    own_choice = replace(CONFIG, memory_limit=gigabytes(12), recompute=12)
    assert fitted(own_choice) == own_choice


def test_the_number_of_layers_that_takes_least_is_chosen() -> None:
    least = min(range(1, 13), key=gigabytes)
    assert gigabytes(least) < gigabytes(0) / 2  # else this would show nothing
    limit = (gigabytes(least) + gigabytes(0)) / 2
    assert fitted(replace(CONFIG, memory_limit=limit)).recompute == least


def test_what_cannot_fit_is_refused_with_both_sizes() -> None:
    least = min(gigabytes(each) for each in range(1, 13))
    with pytest.raises(ConfigError, match=f"{gigabytes(0):.2f} GB, {least:.2f} GB where .* raise accumulate"):
        fitted(replace(CONFIG, memory_limit=least / 2))


@pytest.mark.parametrize("limit", [-1.0, float("nan"), float("inf")])
def test_a_limit_is_a_number(limit: float) -> None:
    with pytest.raises(ConfigError, match="memory_limit"):
        replace(CONFIG, memory_limit=limit)


def test_a_step_beyond_the_machine_is_refused() -> None:
    with pytest.raises(ConfigError, match="this machine has"):
        require_memory(replace(CONFIG, batch_size=2**20))
    require_memory(CONFIG)
