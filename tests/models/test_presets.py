"""Published models by name: their numbers of parameters, and the dial that makes others."""

import math

import pytest

from groundup.accounting.decoder import matrix_parameters, parameters
from groundup.core.errors import ConfigError, MissingError
from groundup.models.mixer_config import Attention
from groundup.models.presets import PRESETS, of_depth, preset

# As published with the weights (number of parameters on the model's page, without buffers).
PUBLISHED = {
    "gpt2-small": 124_439_808,
    "gpt2-medium": 354_823_168,
    "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
    "llama3-8b": 8_030_261_248,
    "llama3-70b": 70_553_706_496,
    "llama3-405b": 405_853_388_800,
    "qwen3-0.6b": 596_049_920,
    "qwen3-1.7b": 1_720_574_976,
    "qwen3-4b": 4_022_468_096,
    "qwen3-8b": 8_190_735_360,
    "qwen3-14b": 14_768_307_200,
    "qwen3-32b": 32_762_123_264,
    "qwen3-30b-a3b": 30_532_122_624,
    "qwen3-235b-a22b": 235_093_634_560,
    "gemma3-270m": 268_098_176,
    "mistral-7b": 7_241_732_096,
    "mixtral-8x7b": 46_702_792_704,
    "olmo2-1b": 1_484_916_736,
    "olmo2-7b": 7_298_617_344,
    "olmo2-13b": 13_716_198_400,
    "olmo2-32b": 32_234_279_936,
    "cs336-tinystories": 22_696_448,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_the_published_ones(name: str) -> None:
    assert parameters(preset(name)) == PUBLISHED[name]


def test_deepseek_v3_has_671_billion_of_which_37_are_active() -> None:
    config = preset("deepseek-v3")
    assert parameters(config) == pytest.approx(671e9, rel=1e-3)
    assert matrix_parameters(config) + config.vocab_size * config.width == pytest.approx(37.6e9, rel=0.02)


def test_every_preset_is_a_config() -> None:
    for name, make in PRESETS.items():
        assert make().depth > 1, name


def test_the_dial_turns_everything() -> None:
    small, large = of_depth(8), of_depth(32)
    attention = large.config.layers[0].sequence
    assert isinstance(attention, Attention)
    assert (large.config.width, attention.num_heads, attention.head_width) == (2048, 16, 128)
    assert large.tokens == 20 * matrix_parameters(large.config)
    assert small.learning_rate_factor == pytest.approx(math.sqrt(768 / 512))
    assert preset("depth=8") == small.config


def test_what_there_is_not() -> None:
    with pytest.raises(MissingError, match="There is no preset 'llama3-8'; did you mean 'llama3-8b'"):
        preset("llama3-8")
    with pytest.raises(ConfigError, match="depth is 7; it must be even"):
        preset("depth=7")
    with pytest.raises(ConfigError, match="does not say a depth"):
        preset("depth=many")
