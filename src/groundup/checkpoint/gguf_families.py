"""Metadata keys and tensor names of GGUF's architectures for the decoders that we can build, in both directions.

llama.cpp makes GGUF files from models in Hugging Face's layout, and most metadata are values of `config.json` under
another name. So an architecture is here a table from those values to keys, beside what its code in llama.cpp takes for
granted (the activation, Gemma's scale of scores), and `huggingface_families.py` turns the values into a config and
back. Tensor names are tables of the kind in `huggingface_rules.py`.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from groundup.checkpoint.gguf_file import Container, Value
from groundup.checkpoint.huggingface_families import family_named, family_of
from groundup.checkpoint.huggingface_parts import Values, yarn_scale
from groundup.checkpoint.huggingface_rules import Rule, Rules
from groundup.core.config import nearest
from groundup.core.errors import ConfigError, InputError
from groundup.models.config import DecoderConfig

ROPE_FACTORS = "rope_freqs.weight"
YARN_BETAS = {"beta_fast": 32.0, "beta_slow": 1.0}  # llama.cpp's, whatever the file says
GEMMA3_PATTERN = 6  # every sixth layer sees all tokens, where the file does not say which
GEMMA3_27B_DEPTH = 62  # by which llama.cpp knows the one Gemma with another scale of scores
SIGMOID = 2  # `expert_gating_func`


class Keys:
    """The metadata of one architecture; a missing key is an `InputError` that names it and the file."""

    def __init__(self, container: Container, architecture: str, source: str) -> None:
        self.container, self.architecture, self.source = container, architecture, source

    def get(self, key: str, default: Value = None) -> Value:
        """A value; where there is one for each layer, that of all layers."""
        value = self.container.metadata.get(f"{self.architecture}.{key}", default)
        if not isinstance(value, np.ndarray):
            return value
        if (value != value[0]).any():
            raise self.refused(f"gives each layer its own {self.architecture}.{key}, which groundup cannot")
        return value[0].item()

    def __getitem__(self, key: str) -> Value:
        value = self.get(key)
        if value is None:
            raise InputError(
                f"{self.source} has no {self.architecture}.{key} in its metadata; convert the model again."
            )
        return value

    def refused(self, reason: str) -> InputError:
        return InputError(f"{self.source} {reason}, so this model cannot be read.")


class Architecture(NamedTuple):
    """`keys` maps values of `config.json` to metadata keys. `read` finds the other values; `write` makes the other keys
    and fails on what llama.cpp would compute otherwise."""

    name: str
    keys: Mapping[str, str]
    rules: Rules
    read: Callable[[Keys], dict[str, Any]]
    write: Callable[[Values], dict[str, Value]]


OPTIONAL = ("attention.head_count_kv", "attention.key_length", "final_logit_softcapping")
REAL = ("attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon", "final_logit_softcapping")


def read_config(container: Container, source: str) -> tuple[Architecture, DecoderConfig]:
    """The architecture and the decoder that a file describes; `source` names the file in errors."""
    name = container.metadata.get("general.architecture")
    if name not in ARCHITECTURES:
        raise InputError(f"{source} has the architecture {name!r}; {nearest(str(name), ARCHITECTURES)}")
    if container.metadata.get("split.count", 0) > 1:
        raise InputError(f"{source} is one part of a model in several files; join them with llama.cpp's gguf-split.")
    if "token_embd.weight" not in container.tensors:
        raise InputError(f"{source} has no tensor 'token_embd.weight', so it holds no whole model.")
    architecture, keys = ARCHITECTURES[name], Keys(container, name, source)
    values = {theirs: keys.get(key) if key in OPTIONAL else keys[key] for theirs, key in architecture.keys.items()}
    values |= {
        "vocab_size": container.tensors["token_embd.weight"].shape[0],
        "tie_word_embeddings": "output.weight" not in container.tensors,
        **architecture.read(keys),
    }
    return architecture, family_named(values["model_type"]).read(values)


def metadata_of(config: DecoderConfig) -> tuple[Architecture, dict[str, Value]]:
    """The architecture that can hold a decoder and its metadata; a `ConfigError` where none can."""
    try:
        family, values = family_of(config)
        architecture = ARCHITECTURES[OTHER_NAMES.get(family.model_type, family.model_type)]
        found = {key: values[theirs] for theirs, key in architecture.keys.items() if values.get(theirs) is not None}
        found |= {key: float(found[key]) for key in REAL if key in found}
        found |= {"vocab_size": config.vocab_size, **architecture.write(values)}
    except (AssertionError, ConfigError):
        raise cannot_hold() from None
    return architecture, {
        "general.architecture": architecture.name,
        **{f"{architecture.name}.{key}": value for key, value in found.items()},
    }


def cannot_hold(reason: str = "") -> ConfigError:
    return ConfigError(
        "No GGUF architecture can hold this decoder: its choices must be all those of one of "
        f"{', '.join(ARCHITECTURES)}, as llama.cpp computes it{reason}."
    )


def _read_rope(keys: Keys) -> dict[str, Any]:
    """`rope_parameters`."""
    base = {"rope_theta": keys.get("rope.freq_base", 10_000.0)}
    kind = keys.get("rope.scaling.type", "linear")
    factor = keys.get("rope.scaling.factor") or keys.get("rope.scale_linear") or 1.0
    if ROPE_FACTORS in keys.container.tensors:
        return {**base, **_read_llama3(keys)}
    if kind == "none" or (kind == "linear" and factor == 1):
        return {**base, "rope_type": "default"}
    if kind == "linear":
        return {**base, "rope_type": "linear", "factor": factor}
    if kind != "yarn":
        raise keys.refused(f"stretches rotary positions by {kind!r}, groundup by linear, yarn and llama3 only")
    share = keys.get("rope.scaling.attn_factor", 1.0)
    return {
        **base,
        "rope_type": "yarn",
        "factor": factor,
        "original_max_position_embeddings": keys["rope.scaling.original_context_length"],
        **{beta: keys.get(f"rope.scaling.yarn_{beta}", usual) for beta, usual in YARN_BETAS.items()},
        "attention_factor": None if share == 1 else share * yarn_scale(factor, 1.0),
    }


# Files hold the factors that Llama 3's scaling comes to. The numbers behind them are those of every published model, or
# stand in keys of our own.
LLAMA3_NUMBERS = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}


def _read_llama3(keys: Keys) -> dict[str, Any]:
    factor = keys.get("rope.llama3.factor")
    if factor is None:
        factor = float(keys.container.tensors[ROPE_FACTORS].weights().max())
    numbers = {name: keys.get(f"rope.llama3.{name}", usual) for name, usual in LLAMA3_NUMBERS.items()}
    return {"rope_type": "llama3", "factor": factor, **numbers}


def _write_rope(rope: Values) -> dict[str, Value]:
    found: dict[str, Value] = {"rope.freq_base": float(rope["rope_theta"])}
    kind = rope["rope_type"]
    if kind == "llama3":
        return found | {f"rope.llama3.{name}": rope[name] for name in ("factor", *LLAMA3_NUMBERS)}
    if kind in ("linear", "yarn"):
        found |= {"rope.scaling.type": kind, "rope.scaling.factor": float(rope["factor"])}
    if kind == "yarn":
        assert all(rope[beta] == usual for beta, usual in YARN_BETAS.items())
        found["rope.scaling.original_context_length"] = rope["original_max_position_embeddings"]
        if rope["attention_factor"] is not None:
            found["rope.scaling.attn_factor"] = rope["attention_factor"] / yarn_scale(rope["factor"], 1.0)
    return found


def _write_heads(values: Values) -> dict[str, Value]:
    """What the architectures with plain attention over rotary positions share."""
    return {
        "attention.value_length": values["head_dim"],
        "rope.dimension_count": values["head_dim"],
        **_write_rope(values["rope_parameters"]),
    }


def _read_llama(keys: Keys) -> dict[str, Any]:
    experts = keys.get("expert_count", 0)
    return {
        "model_type": "mixtral" if experts else "llama",
        "rope_parameters": _read_rope(keys),
        "attention_bias": "blk.0.attn_q.bias" in keys.container.tensors,
        "mlp_bias": "blk.0.ffn_up.bias" in keys.container.tensors,
        **({"num_local_experts": experts, "num_experts_per_tok": keys["expert_used_count"]} if experts else {}),
    }


def _write_llama(values: Values) -> dict[str, Value]:
    if "num_local_experts" not in values:
        return _write_heads(values)
    experts = {"expert_count": values["num_local_experts"], "expert_used_count": values["num_experts_per_tok"]}
    return {**_write_heads(values), **experts}


def _read_qwen3(keys: Keys) -> dict[str, Any]:
    return {"model_type": "qwen3", "rope_parameters": _read_rope(keys)}


def _read_olmo2(keys: Keys) -> dict[str, Any]:
    if keys.get("attention.sliding_window", 0):
        raise keys.refused("has layers with a sliding window (OLMo 3), groundup's olmo2 has none")
    return {"model_type": "olmo2", "rope_parameters": _read_rope(keys)}


def _write_unlike_llama(values: Values) -> dict[str, Value]:
    """No Llama 3 scaling: only the code of llama itself reads `rope_freqs`."""
    assert values["rope_parameters"]["rope_type"] != "llama3"
    return _write_heads(values)


def _write_olmo2(values: Values) -> dict[str, Value]:
    assert not values["tie_word_embeddings"]  # llama.cpp wants output.weight
    assert values["hidden_size"] == values["num_attention_heads"] * values["head_dim"]
    return _write_unlike_llama(values)


def _read_gemma3(keys: Keys) -> dict[str, Any]:
    depth, width, heads = keys["block_count"], keys["embedding_length"], keys["attention.head_count"]
    head = keys.get("attention.key_length", width // heads)
    window = keys.get("attention.sliding_window", 0)
    pattern = keys.container.metadata.get("gemma3.attention.sliding_window_pattern", GEMMA3_PATTERN)
    if not isinstance(pattern, np.ndarray):
        pattern = np.array([layer % pattern < pattern - 1 for layer in range(depth)])
    kinds = ["sliding_attention" if window and slides else "full_attention" for slides in pattern]
    near = {"rope_type": "default", "rope_theta": keys.get("rope.freq_base_swa", 10_000.0)}
    return {
        "model_type": "gemma3_text",
        "hidden_act": "gelu_pytorch_tanh",
        "layer_types": kinds,
        "sliding_window": window,
        "rope_parameters": {"sliding_attention": near, "full_attention": _read_rope(keys)},
        "query_pre_attn_scalar": width // heads if depth == GEMMA3_27B_DEPTH else head,
    }


def _write_gemma3(values: Values) -> dict[str, Value]:
    kinds, rope = values["layer_types"], values["rope_parameters"]
    far, near = rope["full_attention"], rope["sliding_attention"]
    assert far["rope_type"] in ("default", "linear")
    assert near["rope_type"] == "default"
    found = _write_heads({**values, "rope_parameters": far})
    if "sliding_attention" in kinds:
        found["attention.sliding_window"] = values["sliding_window"]
        found["attention.sliding_window_pattern"] = np.array([kind == "sliding_attention" for kind in kinds])
        found["rope.freq_base_swa"] = float(near["rope_theta"])
    return found


def _read_gpt2(keys: Keys) -> dict[str, Any]:
    return {"model_type": "gpt2", "activation_function": "gelu_new"}


def _read_deepseek2(keys: Keys) -> dict[str, Any]:
    if keys.get("expert_gating_func") != SIGMOID:
        raise keys.refused("scores experts by a softmax (DeepSeek-V2), groundup's deepseek2 by a sigmoid (V3)")
    rope = _read_rope(keys)
    if rope["rope_type"] == "yarn":  # llama.cpp takes `mscale` for equal to `mscale_all_dim`
        rope |= {"attention_factor": 1.0, "mscale_all_dim": 10 * keys["rope.scaling.yarn_log_multiplier"]}
    return {
        "model_type": "deepseek_v3",
        "rope_parameters": rope,
        "qk_nope_head_dim": keys["attention.key_length_mla"] - keys["rope.dimension_count"],
        "norm_topk_prob": keys.get("expert_weights_norm", False),
        "routed_scaling_factor": keys.get("expert_weights_scale", 1.0),
        "n_group": keys.get("expert_group_count", 1),
        "topk_group": keys.get("expert_group_used_count", 1),
    }


def _write_deepseek2(values: Values) -> dict[str, Value]:
    """As llama.cpp computes it: attention over one latent head, which is all that is cached."""
    assert values["q_lora_rank"]
    rope = values["rope_parameters"]
    assert rope["rope_type"] in ("default", "yarn")
    found = _write_rope({**rope, "attention_factor": None})
    if rope["rope_type"] == "yarn":
        assert rope["attention_factor"] == 1
        found["rope.scaling.yarn_log_multiplier"] = 0.1 * rope["mscale_all_dim"]
    return found | {
        "attention.head_count_kv": 1,
        "attention.key_length": values["kv_lora_rank"] + values["qk_rope_head_dim"],
        "attention.value_length": values["kv_lora_rank"],
        "attention.key_length_mla": values["qk_nope_head_dim"] + values["qk_rope_head_dim"],
        "expert_gating_func": SIGMOID,
        "expert_weights_norm": values["norm_topk_prob"],
        "expert_weights_scale": float(values["routed_scaling_factor"]),
        "expert_group_count": values["n_group"],
        "expert_group_used_count": values["topk_group"],
    }


def _weight(ours: str, theirs: str) -> Rule:
    return Rule((ours,), f"{theirs}.weight")


def _linear(ours: str, theirs: str) -> tuple[Rule, Rule]:
    """A matrix and its bias."""
    return _weight(ours, theirs), Rule((f"{ours}_bias",), f"{theirs}.bias")


TOP_RULES = (
    _weight("embedding", "token_embd"),
    _weight("final_norm.gain", "output_norm"),
    _weight("unembedding", "output"),
)
ATTENTION = (
    *_linear("query", "attn_q"),
    *_linear("key", "attn_k"),
    *_linear("value", "attn_v"),
    *_linear("output", "attn_output"),
    _weight("query_gain", "attn_q_norm"),
    _weight("key_gain", "attn_k_norm"),
)
PRE_NORMS = (_weight("sequence_norm.gain", "attn_norm"), _weight("channel_norm.gain", "ffn_norm"))
OUTPUT_NORMS = (
    _weight("sequence_output_norm.gain", "post_attention_norm"),
    _weight("channel_output_norm.gain", "post_ffw_norm"),
)
GATED = tuple(rule for name in ("gate", "up", "down") for rule in _linear(name, f"ffn_{name}"))
MIXTURE = (
    _weight("router", "ffn_gate_inp"),
    Rule(("balance_bias",), "exp_probs_b.bias"),
    *(_weight(name, f"ffn_{name}_exps") for name in ("gate", "up", "down")),
    *(_weight(f"shared_{name}", f"ffn_{name}_shexp") for name in ("gate", "up", "down")),
)
LATENT_ATTENTION = (
    _weight("query_latent", "attn_q_a"),
    _weight("query_latent_gain", "attn_q_a_norm"),
    Rule(("query",), "attn_q_b.weight", "rotary_queries"),
    Rule(("latent", "rotary_key"), "attn_kv_a_mqa.weight", "rotary_key"),
    _weight("latent_gain", "attn_kv_a_norm"),
    _weight("key", "attn_k_b"),
    _weight("value", "attn_v_b"),
    _weight("output", "attn_output"),
)
RULES = Rules(  # a family uses those whose weights it has
    TOP_RULES,
    "blk.{layer}.",
    (*PRE_NORMS, *OUTPUT_NORMS),
    {"attention": ATTENTION, "latent_attention": LATENT_ATTENTION},
    {"gated": GATED, "mixture": MIXTURE},
)
GPT2_RULES = Rules(
    (*TOP_RULES, _weight("position_embedding", "position_embd"), Rule(("final_norm.bias",), "output_norm.bias")),
    RULES.prefix,
    (*PRE_NORMS, Rule(("sequence_norm.bias",), "attn_norm.bias"), Rule(("channel_norm.bias",), "ffn_norm.bias")),
    {
        "attention": (
            Rule(("query", "key", "value"), "attn_qkv.weight"),
            Rule(("query_bias", "key_bias", "value_bias"), "attn_qkv.bias"),
            *_linear("output", "attn_output"),
        )
    },
    {"dense": (*_linear("up", "ffn_up"), *_linear("down", "ffn_down"))},
)
TOP = {
    "max_position_embeddings": "context_length",
    "hidden_size": "embedding_length",
    "num_hidden_layers": "block_count",
    "intermediate_size": "feed_forward_length",
    "num_attention_heads": "attention.head_count",
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
}
HEADS = {**TOP, "num_key_value_heads": "attention.head_count_kv", "head_dim": "attention.key_length"}
GPT2 = {
    "n_positions": "context_length",
    "n_embd": "embedding_length",
    "n_layer": "block_count",
    "n_inner": "feed_forward_length",
    "n_head": "attention.head_count",
    "layer_norm_epsilon": "attention.layer_norm_epsilon",
}
DEEPSEEK2 = {
    **TOP,
    "first_k_dense_replace": "leading_dense_block_count",
    "q_lora_rank": "attention.q_lora_rank",
    "kv_lora_rank": "attention.kv_lora_rank",
    "qk_rope_head_dim": "rope.dimension_count",
    "v_head_dim": "attention.value_length_mla",
    "moe_intermediate_size": "expert_feed_forward_length",
    "n_routed_experts": "expert_count",
    "num_experts_per_tok": "expert_used_count",
    "n_shared_experts": "expert_shared_count",
}
ARCHITECTURES = {
    architecture.name: architecture
    for architecture in (
        Architecture("llama", HEADS, RULES, _read_llama, _write_llama),
        Architecture("qwen3", HEADS, RULES, _read_qwen3, _write_unlike_llama),
        Architecture(
            "gemma3",
            {**HEADS, "final_logit_softcapping": "final_logit_softcapping"},
            RULES,
            _read_gemma3,
            _write_gemma3,
        ),
        Architecture("olmo2", HEADS, RULES, _read_olmo2, _write_olmo2),
        Architecture("gpt2", GPT2, GPT2_RULES, _read_gpt2, lambda values: {}),
        Architecture("deepseek2", DEEPSEEK2, RULES, _read_deepseek2, _write_deepseek2),
    )
}
OTHER_NAMES = {"mistral": "llama", "mixtral": "llama", "gemma3_text": "gemma3", "deepseek_v3": "deepseek2"}
