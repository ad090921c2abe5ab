"""What Hugging Face's `config.json` says of a decoder, in both directions, one family after the other.

Each family has `read(values) -> DecoderConfig` and `write(config) -> values`. Which one can hold a config is found out
by trying: `write` gives the family's values for it, and `read` must give the config back.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from groundup.checkpoint import huggingface_rules as rules
from groundup.checkpoint.huggingface_parts import (
    ACTIVATIONS,
    THEIR_ACTIVATIONS,
    Values,
    read_attention,
    read_gated,
    read_rotary,
    read_top,
    write_attention,
    write_gated,
    write_rotary,
    write_top,
    yarn_scale,
)
from groundup.core.config import nearest
from groundup.core.errors import ConfigError, InputError
from groundup.models.config import DecoderConfig, Layer, Norm
from groundup.models.mixer_config import (
    Attention,
    DenseMLP,
    GatedMLP,
    LatentAttention,
    MixtureOfExperts,
    NoChannel,
)
from groundup.models.position_config import NoPosition, Rotary, YarnScaling


class Family(NamedTuple):
    """`architecture` is the class in transformers, `rules` how the weights correspond."""

    model_type: str
    architecture: str
    rules: rules.Rules
    read: Callable[[Values], DecoderConfig]
    write: Callable[[DecoderConfig], dict[str, Any]]


def explicit(config: DecoderConfig) -> DecoderConfig:
    """The same decoder with every derived width written out and the shortest pattern that gives its layers."""
    first, rest = config.first_layers, config.all_layers[len(config.first_layers) :]
    return replace(
        config,
        layers=_shortest_pattern([_explicit_layer(layer, config.width) for layer in rest or config.layers]),
        first_layers=tuple(_explicit_layer(layer, config.width) for layer in first),
    )


def _explicit_layer(layer: Layer, width: int) -> Layer:
    sequence, channel = layer.sequence, layer.channel
    if isinstance(sequence, Attention):
        sequence = replace(sequence, head_width=sequence.width_of_head(width))
    if not isinstance(channel, NoChannel):
        channel = replace(channel, hidden_width=channel.hidden(width))
    return Layer(sequence, channel)


def _read_llama(values: Values) -> DecoderConfig:
    return DecoderConfig(
        **read_top(values), layers=(Layer(read_attention(values, read_rotary(values)), read_gated(values)),)
    )


def _write_llama(config: DecoderConfig) -> dict[str, Any]:
    layer = config.layers[0]
    assert isinstance(layer.sequence, Attention)
    assert isinstance(layer.channel, GatedMLP)
    return {**write_top(config), **write_attention(layer.sequence), **write_gated(layer.channel)}


def _read_mistral(values: Values) -> DecoderConfig:
    attention = read_attention(values, read_rotary(values), window=values.get("sliding_window"))
    return DecoderConfig(**read_top(values), layers=(Layer(attention, read_gated(values)),))


def _write_mistral(config: DecoderConfig) -> dict[str, Any]:
    attention = config.layers[0].sequence
    assert isinstance(attention, Attention)
    return {**_write_llama(config), "sliding_window": attention.window}


def _read_qwen3(values: Values) -> DecoderConfig:
    attention = read_attention(values, read_rotary(values), qk_norm="head")
    return DecoderConfig(**read_top(values), layers=(Layer(attention, read_gated(values)),))


def _read_olmo2(values: Values) -> DecoderConfig:
    attention = read_attention(values, read_rotary(values), qk_norm="width")
    return DecoderConfig(**read_top(values), placement="reordered", layers=(Layer(attention, read_gated(values)),))


def _read_gemma3(values: Values) -> DecoderConfig:
    kinds = values["layer_types"]
    sequences = {
        kind: read_attention(
            values,
            read_rotary(values, kind, 10_000.0 if kind == "sliding_attention" else 1_000_000.0),
            qk_norm="head",
            window=values["sliding_window"] if kind == "sliding_attention" else None,
            scale=values["query_pre_attn_scalar"] ** -0.5,
            soft_cap=values.get("attn_logit_softcapping"),
        )
        for kind in dict.fromkeys(kinds)
    }
    return DecoderConfig(
        **read_top(values),
        placement="double",
        layers=_shortest_pattern([Layer(sequences[kind], read_gated(values)) for kind in kinds]),
        embedding_scale=values["hidden_size"] ** 0.5,
        logit_soft_cap=values.get("final_logit_softcapping"),
    )


def _write_gemma3(config: DecoderConfig) -> dict[str, Any]:
    mlp = config.layers[0].channel
    sequences = [layer.sequence for layer in config.all_layers]
    assert isinstance(mlp, GatedMLP)
    attentions = [sequence for sequence in sequences if isinstance(sequence, Attention)]
    assert len(attentions) == len(sequences)
    first = attentions[0]
    assert first.scale is not None
    rotaries = {_layer_type(one): one.position for one in attentions}
    windows = {one.window for one in attentions if one.window is not None}
    assert all(isinstance(rotary, Rotary) for rotary in rotaries.values())
    values = {
        **write_top(config),
        **write_attention(first),
        **write_gated(mlp),
        "layer_types": [_layer_type(one) for one in attentions],
        "rope_parameters": {kind: write_rotary(rotary) for kind, rotary in rotaries.items()},  # type: ignore[arg-type]
        "sliding_window": windows.pop() if windows else config.context_length,
        "query_pre_attn_scalar": _whole(first.scale**-2),
        "attn_logit_softcapping": first.soft_cap,
        "final_logit_softcapping": config.logit_soft_cap,
        "hidden_activation": write_gated(mlp)["hidden_act"],
    }
    for kind in ("sliding_attention", "full_attention"):
        values["rope_parameters"].setdefault(kind, {"rope_type": "default", "rope_theta": 10_000.0})
    return values


def _layer_type(attention: Attention) -> str:
    return "full_attention" if attention.window is None else "sliding_attention"


def _shortest_pattern(layers: list[Layer]) -> tuple[Layer, ...]:
    """The shortest pattern whose repetition is these layers."""
    for length in range(1, len(layers)):
        if all(layer == layers[place % length] for place, layer in enumerate(layers)):
            return tuple(layers[:length])
    return tuple(layers)


def _whole(value: float) -> float:
    """As an integer where rounding alone kept it from being one."""
    return round(value) if math.isclose(value, round(value), rel_tol=1e-9) else value


def _read_mixtral(values: Values) -> DecoderConfig:
    attention = read_attention(values, read_rotary(values), window=values.get("sliding_window"))
    experts = MixtureOfExperts(
        num_experts=values["num_local_experts"],
        experts_per_token=values["num_experts_per_tok"],
        hidden_width=values["intermediate_size"],
        activation=read_gated(values).activation,
        balance_loss=values.get("router_aux_loss_coef", 0.0),
    )
    return DecoderConfig(**read_top(values), layers=(Layer(attention, experts),))


def _write_mixtral(config: DecoderConfig) -> dict[str, Any]:
    attention, experts = config.layers[0].sequence, config.layers[0].channel
    assert isinstance(attention, Attention)
    assert isinstance(experts, MixtureOfExperts)
    return {
        **write_top(config),
        **write_attention(attention),
        "sliding_window": attention.window,
        "num_local_experts": experts.num_experts,
        "num_experts_per_tok": experts.experts_per_token,
        "intermediate_size": experts.hidden_width,
        "hidden_act": THEIR_ACTIVATIONS[experts.activation],
        "router_aux_loss_coef": experts.balance_loss,
    }


def _read_deepseek_v3(values: Values) -> DecoderConfig:
    rotary = read_rotary(values)
    head, turned = values["qk_nope_head_dim"], values["qk_rope_head_dim"]
    given = values.get("rope_parameters") or values.get("rope_scaling") or {}
    grown = yarn_scale(given["factor"], given["mscale_all_dim"]) if given.get("mscale_all_dim") else 1.0
    attention = LatentAttention(
        num_heads=values["num_attention_heads"],
        head_width=head,
        value_width=values["v_head_dim"],
        rotary_width=turned,
        latent_width=values["kv_lora_rank"],
        query_latent_width=values.get("q_lora_rank") or 0,
        rotary=rotary,
        scale=None if grown == 1 else grown**2 / math.sqrt(head + turned),
    )
    dense = read_gated(values)
    experts = MixtureOfExperts(
        num_experts=values["n_routed_experts"],
        experts_per_token=values["num_experts_per_tok"],
        hidden_width=values["moe_intermediate_size"],
        shared_width=values["n_shared_experts"] * values["moe_intermediate_size"],
        activation=dense.activation,
        gate="sigmoid",
        normalize=values["norm_topk_prob"],
        scale=values["routed_scaling_factor"],
        balance_bias_rate=0.001,
        groups=values["n_group"],
        groups_per_token=values["topk_group"],
    )
    return DecoderConfig(
        **read_top(values),
        first_layers=(Layer(attention, dense),) * min(values["first_k_dense_replace"], values["num_hidden_layers"]),
        layers=(Layer(attention, experts),),
    )


def _write_deepseek_v3(config: DecoderConfig) -> dict[str, Any]:
    attention, experts = config.layers[0].sequence, config.layers[0].channel
    dense = config.first_layers[0].channel if config.first_layers else GatedMLP(config.width)
    assert isinstance(attention, LatentAttention)
    assert isinstance(experts, MixtureOfExperts)
    assert isinstance(dense, GatedMLP)
    return {
        **write_top(config),
        **write_gated(dense),
        "rope_parameters": {**write_rotary(attention.rotary), **_write_scale(attention)},
        "rope_interleave": True,
        "num_attention_heads": attention.num_heads,
        "num_key_value_heads": attention.num_heads,
        "qk_nope_head_dim": attention.head_width,
        "qk_rope_head_dim": attention.rotary_width,
        "v_head_dim": attention.value_width,
        "kv_lora_rank": attention.latent_width,
        "q_lora_rank": attention.query_latent_width or None,
        "first_k_dense_replace": len(config.first_layers),
        "n_routed_experts": experts.num_experts,
        "num_experts_per_tok": experts.experts_per_token,
        "moe_intermediate_size": experts.hidden_width,
        "n_shared_experts": experts.shared_width // experts.hidden_width,
        "n_group": experts.groups,
        "topk_group": experts.groups_per_token,
        "norm_topk_prob": experts.normalize,
        "routed_scaling_factor": experts.scale,
    }


def _write_scale(attention: LatentAttention) -> dict[str, float]:
    """The factor on scores beside 1/√width, in the words of `yarn_scale`."""
    if attention.scale is None:
        return {}
    assert isinstance(attention.rotary.scaling, YarnScaling)
    grown = math.sqrt(attention.scale * math.sqrt(attention.head_width + attention.rotary_width))
    return {"mscale_all_dim": round((grown - 1) / (yarn_scale(attention.rotary.scaling.factor, 1.0) - 1), 9)}


def _read_gpt2(values: Values) -> DecoderConfig:
    width, heads = values["n_embd"], values["n_head"]
    attention = Attention(heads, heads, width // heads, position=NoPosition(), qk_norm="none", bias=True)
    mlp = DenseMLP(values.get("n_inner") or 4 * width, ACTIVATIONS[values["activation_function"]], bias=True)
    return DecoderConfig(
        vocab_size=values["vocab_size"],
        context_length=values["n_positions"],
        width=width,
        depth=values["n_layer"],
        layers=(Layer(attention, mlp),),
        norm=Norm("layer", epsilon=values["layer_norm_epsilon"], bias=True),
        position_embedding="learned",
        tie_embeddings=values.get("tie_word_embeddings", True),
    )


def _write_gpt2(config: DecoderConfig) -> dict[str, Any]:
    attention, mlp = config.layers[0].sequence, config.layers[0].channel
    assert isinstance(attention, Attention)
    assert isinstance(mlp, DenseMLP)
    return {
        "vocab_size": config.vocab_size,
        "n_positions": config.context_length,
        "n_embd": config.width,
        "n_layer": config.depth,
        "n_head": attention.num_heads,
        "n_inner": mlp.hidden_width,
        "activation_function": {"gelu_tanh": "gelu_new"}.get(mlp.activation, mlp.activation),
        "layer_norm_epsilon": config.norm.epsilon,
        "tie_word_embeddings": config.tie_embeddings,
        "attn_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
    }


FAMILIES = (
    Family("llama", "LlamaForCausalLM", rules.LLAMA, _read_llama, _write_llama),
    Family("qwen3", "Qwen3ForCausalLM", rules.LLAMA, _read_qwen3, _write_llama),
    Family("mistral", "MistralForCausalLM", rules.LLAMA, _read_mistral, _write_mistral),
    Family("mixtral", "MixtralForCausalLM", rules.MIXTRAL, _read_mixtral, _write_mixtral),
    Family("gemma3_text", "Gemma3ForCausalLM", rules.GEMMA3, _read_gemma3, _write_gemma3),
    Family("olmo2", "Olmo2ForCausalLM", rules.OLMO2, _read_olmo2, _write_llama),
    Family("deepseek_v3", "DeepseekV3ForCausalLM", rules.DEEPSEEK_V3, _read_deepseek_v3, _write_deepseek_v3),
    Family("gpt2", "GPT2LMHeadModel", rules.GPT2, _read_gpt2, _write_gpt2),
)


def family_named(model_type: str) -> Family:
    """The family of a `config.json`."""
    for family in FAMILIES:
        if family.model_type == model_type:
            return family
    known = [family.model_type for family in FAMILIES]
    raise InputError(
        f"config.json has the model_type {model_type!r}, which cannot be imported; {nearest(model_type, known)}"
    )


def family_of(config: DecoderConfig) -> tuple[Family, dict[str, Any]]:
    """The family that can hold a config, and its values for it; a `ConfigError` where none can."""
    wanted = explicit(config)
    for family in FAMILIES:
        try:
            values = family.write(wanted)
            if explicit(family.read(values)) == wanted:
                return family, values
        except (AssertionError, KeyError, ZeroDivisionError, ConfigError):
            continue  # it has no words for this one
    raise ConfigError(
        "No Hugging Face family can hold this decoder: its choices must be all those of one of "
        f"{', '.join(family.model_type for family in FAMILIES)}."
    )
