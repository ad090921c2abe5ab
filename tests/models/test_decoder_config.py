"""Shapes that cannot work are refused in a sentence."""

from typing import Any

import pytest

from groundup.core.config import decode, encode
from groundup.core.errors import ConfigError
from groundup.models.config import DecoderConfig


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *(({name: 0}, f"{name} is 0; it must be at least 1") for name in ("vocab_size", "depth", "mlp_width")),
        ({"num_heads": 0}, "num_heads is 0; it must be at least 1"),
        ({"context_length": -1}, "context_length is -1; it must be at least 1"),
        ({"width": 250}, "width 250 is not a multiple of num_heads 4; change one of them"),
        ({"width": 12}, "width / num_heads is 3; rotary positions need an even head width"),
        ({"num_kv_heads": 3}, "num_heads 4 is not a multiple of num_kv_heads 3; change one of them"),
        ({"num_kv_heads": 8}, "num_heads 4 is not a multiple of num_kv_heads 8"),
        ({"rope_base": 0.0}, "rope_base is 0.0; it must be above 0 and finite"),
        ({"norm_epsilon": float("nan")}, "norm_epsilon is nan; it must be above 0 and finite"),
    ],
)
def test_an_impossible_shape_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DecoderConfig(**changes)


def test_the_config_survives_json() -> None:
    config = DecoderConfig(width=64, num_heads=8, num_kv_heads=2, qk_norm=False, tie_embeddings=True)
    assert decode(DecoderConfig, encode(config)) == config
    assert config.head_width == 8
