"""Parts of Hugging Face's `config.json` that several families say in the same words."""

import math
from collections.abc import Mapping
from typing import Any

from groundup.core.config import nearest
from groundup.core.errors import InputError
from groundup.models.config import DecoderConfig, Norm
from groundup.models.mixer_config import Activation, Attention, GatedMLP
from groundup.models.position_config import LinearScaling, Llama3Scaling, Rotary, RotaryScaling, YarnScaling

Values = Mapping[str, Any]
ACTIVATIONS: dict[str, Activation] = {
    "silu": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "relu2": "squared_relu",
}
THEIR_ACTIVATIONS = {"silu": "silu", "gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh", "relu": "relu"}


def read_top(values: Values) -> dict[str, Any]:
    """What every family but GPT-2 says in the same words."""
    return {
        "vocab_size": values["vocab_size"],
        "context_length": values["max_position_embeddings"],
        "width": values["hidden_size"],
        "depth": values["num_hidden_layers"],
        "norm": Norm("rms", epsilon=values["rms_norm_eps"]),
        "tie_embeddings": values.get("tie_word_embeddings", False),
    }


def write_top(config: DecoderConfig) -> dict[str, Any]:
    return {
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.context_length,
        "hidden_size": config.width,
        "num_hidden_layers": config.depth,
        "rms_norm_eps": config.norm.epsilon,
        "tie_word_embeddings": config.tie_embeddings,
        "attention_dropout": 0.0,
    }


def read_rotary(values: Values, kind: str | None = None, default_base: float = 10_000.0) -> Rotary:
    """Of `rope_parameters`, or of the older `rope_theta` and `rope_scaling`; `kind` of layer where they differ."""
    given = values.get("rope_parameters") or {
        "rope_theta": values.get("rope_theta", default_base),
        **(values.get("rope_scaling") or {}),
    }
    given = given[kind] if kind is not None and kind in given else given
    fraction = given.get("partial_rotary_factor", values.get("partial_rotary_factor", 1.0))
    return Rotary(base=float(given.get("rope_theta", default_base)), fraction=fraction, scaling=_read_scaling(given))


def _read_scaling(given: Values) -> RotaryScaling | None:
    kind = given.get("rope_type", given.get("type", "default"))
    match kind:
        case "default":
            return None
        case "linear":
            return LinearScaling(given["factor"])
        case "llama3":
            return Llama3Scaling(
                given["factor"],
                given["low_freq_factor"],
                given["high_freq_factor"],
                given["original_max_position_embeddings"],
            )
        case "yarn":
            return YarnScaling(
                given["factor"],
                given["original_max_position_embeddings"],
                given.get("beta_fast") or 32.0,
                given.get("beta_slow") or 1.0,
                _yarn_attention_factor(given),
            )
    raise InputError(f"config.json stretches rotary positions by {kind!r}; groundup knows linear, llama3 and yarn.")


def _yarn_attention_factor(given: Values) -> float | None:
    """DeepSeek gives it as a ratio of two."""
    if given.get("attention_factor") is not None:
        return given["attention_factor"]
    if given.get("mscale") and given.get("mscale_all_dim"):
        return yarn_scale(given["factor"], given["mscale"]) / yarn_scale(given["factor"], given["mscale_all_dim"])
    return None


def yarn_scale(factor: float, mscale: float) -> float:
    return 0.1 * mscale * math.log(factor) + 1


def write_rotary(rotary: Rotary) -> dict[str, Any]:
    values: dict[str, Any] = {"rope_type": "default", "rope_theta": rotary.base}
    if rotary.fraction != 1:
        values["partial_rotary_factor"] = rotary.fraction
    match rotary.scaling:
        case LinearScaling(factor=factor):
            values |= {"rope_type": "linear", "factor": factor}
        case Llama3Scaling() as llama:
            values |= {
                "rope_type": "llama3",
                "factor": llama.factor,
                "low_freq_factor": llama.low_frequency_factor,
                "high_freq_factor": llama.high_frequency_factor,
                "original_max_position_embeddings": llama.original_context,
            }
        case YarnScaling() as yarn:
            values |= {
                "rope_type": "yarn",
                "factor": yarn.factor,
                "original_max_position_embeddings": yarn.original_context,
                "beta_fast": yarn.beta_fast,
                "beta_slow": yarn.beta_slow,
                "attention_factor": yarn.attention_factor,
            }
    return values


def read_attention(values: Values, rotary: Rotary, **more: Any) -> Attention:  # noqa: ANN401 - its fields
    heads = values["num_attention_heads"]
    return Attention(
        num_heads=heads,
        num_kv_heads=values.get("num_key_value_heads") or heads,
        head_width=values.get("head_dim") or values["hidden_size"] // heads,
        position=rotary,
        **{"qk_norm": "none", "bias": values.get("attention_bias", False), **more},
    )


def write_attention(attention: Attention) -> dict[str, Any]:
    assert isinstance(attention.position, Rotary)
    return {
        "num_attention_heads": attention.num_heads,
        "num_key_value_heads": attention.num_kv_heads,
        "head_dim": attention.head_width,
        "rope_parameters": write_rotary(attention.position),
        "attention_bias": attention.bias,
    }


def read_gated(values: Values) -> GatedMLP:
    name = values.get("hidden_act") or values.get("hidden_activation") or "silu"
    if name not in ACTIVATIONS:
        raise InputError(f"config.json names the activation {name!r}; {nearest(name, ACTIVATIONS)}")
    return GatedMLP(values["intermediate_size"], ACTIVATIONS[name], values.get("mlp_bias", False))


def write_gated(mlp: GatedMLP) -> dict[str, Any]:
    return {
        "intermediate_size": mlp.hidden_width,
        "hidden_act": THEIR_ACTIVATIONS[mlp.activation],
        "mlp_bias": mlp.bias,
    }
