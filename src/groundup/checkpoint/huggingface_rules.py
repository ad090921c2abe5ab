"""How Hugging Face's names and layouts of weights correspond to ours, as data.

A rule names our tensors, theirs, and the form that turns the one into the other. Rules whose tensors a model does not
have (biases, a tied unembedding) are passed over; what no rule explains is an error on either side. `{layer}` and
`{expert}` stand for numbers.
"""

from collections.abc import Callable, Container, Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from groundup.core.errors import InputError
from groundup.models import mixer_config
from groundup.models.config import DecoderConfig, Layer

Form = Literal["same", "transposed", "less_one", "experts", "heads", "rotary_queries", "rotary_key"]
Shapes = Mapping[str, torch.Size]


class Rule(NamedTuple):
    """`ours`, joined along the first axis and brought into the form, is `theirs`, in models that have the weight
    `present` and not the weight `absent` where such are named."""

    ours: tuple[str, ...]
    theirs: str
    form: Form = "same"
    present: str = ""
    absent: str = ""

    def applies(self, names: Container[str]) -> bool:
        """Whether a model with these weights has the ones of the rule."""
        wanted = (*self.ours, self.present) if self.present else self.ours
        return all(name in names for name in wanted) and self.absent not in names


class Rules(NamedTuple):
    """One family's: at the top, and in each layer by the kind of its mixers; `prefix` is that of a layer."""

    top: tuple[Rule, ...]
    prefix: str
    norms: tuple[Rule, ...]
    sequence: Mapping[str, tuple[Rule, ...]]
    channel: Mapping[str, tuple[Rule, ...]]


def _linear(ours: str, theirs: str) -> tuple[Rule, Rule]:
    """A matrix and its bias."""
    return Rule((ours,), f"{theirs}.weight"), Rule((f"{ours}_bias",), f"{theirs}.bias")


TOP = (
    Rule(("embedding",), "model.embed_tokens.weight"),
    Rule(("final_norm.gain",), "model.norm.weight"),
    Rule(("unembedding",), "lm_head.weight"),
)
ATTENTION = (
    *_linear("query", "self_attn.q_proj"),
    *_linear("key", "self_attn.k_proj"),
    *_linear("value", "self_attn.v_proj"),
    *_linear("output", "self_attn.o_proj"),
    Rule(("query_gain",), "self_attn.q_norm.weight"),
    Rule(("key_gain",), "self_attn.k_norm.weight"),
)
GATED = (*_linear("gate", "mlp.gate_proj"), *_linear("up", "mlp.up_proj"), *_linear("down", "mlp.down_proj"))
PRE_NORMS = (
    Rule(("sequence_norm.gain",), "input_layernorm.weight"),
    Rule(("channel_norm.gain",), "post_attention_layernorm.weight"),
)
LLAMA = Rules(TOP, "model.layers.{layer}.", PRE_NORMS, {"attention": ATTENTION}, {"gated": GATED})

OLMO2 = LLAMA._replace(
    norms=(
        Rule(("sequence_output_norm.gain",), "post_attention_layernorm.weight"),
        Rule(("channel_output_norm.gain",), "post_feedforward_layernorm.weight"),
    )
)


def _less_one(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """Gemma multiplies by 1 + weight where we multiply by a gain."""
    return tuple(rule._replace(form="less_one") if rule.ours[0].endswith("gain") else rule for rule in rules)


GEMMA3 = Rules(
    _less_one(TOP),
    LLAMA.prefix,
    _less_one(
        (
            Rule(("sequence_norm.gain",), "input_layernorm.weight"),
            Rule(("sequence_output_norm.gain",), "post_attention_layernorm.weight"),
            Rule(("channel_norm.gain",), "pre_feedforward_layernorm.weight"),
            Rule(("channel_output_norm.gain",), "post_feedforward_layernorm.weight"),
        )
    ),
    {"attention": _less_one(ATTENTION)},
    {"gated": GATED},
)
MIXTRAL = LLAMA._replace(
    channel={
        "mixture": (
            Rule(("router",), "block_sparse_moe.gate.weight"),
            Rule(("gate",), "block_sparse_moe.experts.{expert}.w1.weight", "experts"),
            Rule(("up",), "block_sparse_moe.experts.{expert}.w3.weight", "experts"),
            Rule(("down",), "block_sparse_moe.experts.{expert}.w2.weight", "experts"),
        )
    }
)
DEEPSEEK_V3 = LLAMA._replace(
    sequence={
        "latent_attention": (
            Rule(("query_latent",), "self_attn.q_a_proj.weight"),
            Rule(("query_latent_gain",), "self_attn.q_a_layernorm.weight"),
            Rule(("query",), "self_attn.q_proj.weight", "rotary_queries", absent="query_latent"),
            Rule(("query",), "self_attn.q_b_proj.weight", "rotary_queries", present="query_latent"),
            Rule(("latent", "rotary_key"), "self_attn.kv_a_proj_with_mqa.weight", "rotary_key"),
            Rule(("latent_gain",), "self_attn.kv_a_layernorm.weight"),
            Rule(("key", "value"), "self_attn.kv_b_proj.weight", "heads"),
            Rule(("output",), "self_attn.o_proj.weight"),
        )
    },
    channel={
        "gated": GATED,
        "mixture": (
            Rule(("router",), "mlp.gate.weight"),
            Rule(("balance_bias",), "mlp.gate.e_score_correction_bias"),
            *(
                Rule((name,), f"mlp.experts.{{expert}}.{name}_proj.weight", "experts")
                for name in ("gate", "up", "down")
            ),
            *(Rule((f"shared_{name}",), f"mlp.shared_experts.{name}_proj.weight") for name in ("gate", "up", "down")),
        ),
    },
)
GPT2 = Rules(
    (
        Rule(("embedding",), "transformer.wte.weight"),
        Rule(("position_embedding",), "transformer.wpe.weight"),
        Rule(("final_norm.gain",), "transformer.ln_f.weight"),
        Rule(("final_norm.bias",), "transformer.ln_f.bias"),
        Rule(("unembedding",), "lm_head.weight"),
    ),
    "transformer.h.{layer}.",
    tuple(
        Rule((f"{ours}_norm.{ours_part}",), f"{theirs}.{their_part}")
        for ours, theirs in (("sequence", "ln_1"), ("channel", "ln_2"))
        for ours_part, their_part in (("gain", "weight"), ("bias", "bias"))
    ),
    {
        "attention": (
            Rule(("query", "key", "value"), "attn.c_attn.weight", "transposed"),
            Rule(("query_bias", "key_bias", "value_bias"), "attn.c_attn.bias"),
            Rule(("output",), "attn.c_proj.weight", "transposed"),
            Rule(("output_bias",), "attn.c_proj.bias"),
        )
    },
    {
        "dense": (
            Rule(("up",), "mlp.c_fc.weight", "transposed"),
            Rule(("up_bias",), "mlp.c_fc.bias"),
            Rule(("down",), "mlp.c_proj.weight", "transposed"),
            Rule(("down_bias",), "mlp.c_proj.bias"),
        )
    },
)


def rules_of(rules: Rules, config: DecoderConfig) -> list[tuple[Rule, Layer | None]]:
    """Every rule of a model with whole names, and the layer that it belongs to."""
    found: list[tuple[Rule, Layer | None]] = [(rule, None) for rule in rules.top]
    for number, layer in enumerate(config.all_layers):
        prefix, block = rules.prefix.format(layer=number), f"blocks.{number}."
        parts = (("", rules.norms), ("sequence.", rules.sequence[layer.sequence.kind]))
        for ours, some in (*parts, ("channel.", rules.channel[layer.channel.kind])):
            for rule in some:
                present, absent = (f"{block}{ours}{name}" if name else "" for name in (rule.present, rule.absent))
                named = tuple(f"{block}{ours}{name}" for name in rule.ours)
                found.append((Rule(named, prefix + rule.theirs, rule.form, present, absent), layer))
    return found


def to_theirs(rules: Rules, config: DecoderConfig, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our weights under their names."""
    theirs: dict[str, Tensor] = {}
    explained: set[str] = set()
    for rule, layer in rules_of(rules, config):
        if not rule.applies(weights):
            continue
        explained.update(rule.ours)
        ours = [weights[name] for name in rule.ours]
        if rule.form == "experts":
            for expert, matrix in enumerate(ours[0]):
                theirs[rule.theirs.replace("{expert}", str(expert))] = matrix.clone()
        else:
            theirs[rule.theirs] = _join(rule.form, ours, layer).contiguous()
    unexplained = sorted(weights.keys() - explained)
    assert not unexplained, f"no rule for {unexplained}"
    return theirs


def to_ours(rules: Rules, config: DecoderConfig, theirs: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
    """Their weights under our names; `shapes` are those that the model of the config has."""
    ours: dict[str, Tensor] = {}
    used: set[str] = set()
    for rule, layer in rules_of(rules, config):
        if not rule.applies(shapes):
            continue
        names = [rule.theirs]
        if rule.form == "experts":
            names = [rule.theirs.replace("{expert}", str(expert)) for expert in range(shapes[rule.ours[0]][0])]
        missing = [name for name in names if name not in theirs]
        if missing:
            raise InputError(f"The file has no tensor {missing[0]!r}, which its config promises.")
        used.update(names)
        found = [theirs[name] for name in names]
        sizes = [shapes[name][0] for name in rule.ours]
        parts = [torch.stack(found)] if rule.form == "experts" else _split(rule.form, found[0], sizes, layer)
        for name, part in zip(rule.ours, parts, strict=True):
            if part.shape != shapes[name]:
                raise InputError(
                    f"The tensor {names[0]!r} has the shape {list(found[0].shape)}, which does not make {name!r} of "
                    f"{list(shapes[name])}; the file does not belong to its config."
                )
            ours[name] = part.contiguous()
    surplus = sorted(name for name in theirs.keys() - used if not _is_derived(name, ours))
    if surplus:
        raise InputError(f"The file has a tensor {surplus[0]!r} ({len(surplus)} in all) that its config does not name.")
    return ours


def _is_derived(name: str, ours: Mapping[str, Tensor]) -> bool:
    """Buffers that old files hold, and the second copy of a tied table."""
    return name.endswith((".attn.bias", ".attn.masked_bias", "rotary_emb.inv_freq")) or (
        name == "lm_head.weight" and "unembedding" not in ours
    )


def _join(form: Form, ours: list[Tensor], layer: Layer | None) -> Tensor:
    match form:
        case "transposed":
            return torch.cat(ours).mT
        case "less_one":
            return ours[0] - 1
        case "heads":
            return torch.cat([part.unflatten(0, (_latent(layer).num_heads, -1)) for part in ours], dim=1).flatten(0, 1)
        case "rotary_queries":
            return _each_head(ours[0], _latent(layer), interleaved)
        case "rotary_key":
            return torch.cat((ours[0], interleaved(ours[1], len(ours[1]))))
    return torch.cat(ours)


def _split(form: Form, theirs: Tensor, sizes: list[int], layer: Layer | None) -> list[Tensor]:
    match form:
        case "transposed":
            return _cut(theirs.mT, sizes)
        case "less_one":
            return [theirs + 1]
        case "heads":
            heads = _latent(layer).num_heads
            parts = _cut(theirs.unflatten(0, (heads, -1)), [size // heads for size in sizes], axis=1)
            return [part.flatten(0, 1) for part in parts]
        case "rotary_queries":
            return [_each_head(theirs, _latent(layer), halves)]
        case "rotary_key":
            latent, rotary = _cut(theirs, sizes)
            return [latent, halves(rotary, len(rotary))]
    return _cut(theirs, sizes)


def _cut(tensor: Tensor, sizes: list[int], axis: int = 0) -> list[Tensor]:
    """Parts of these sizes; the whole in the place of the first where they do not add up, for the caller to refuse."""
    return list(tensor.split(sizes, dim=axis)) if sum(sizes) == tensor.shape[axis] else [tensor] * len(sizes)


def _latent(layer: Layer | None) -> mixer_config.LatentAttention:
    assert layer is not None
    assert isinstance(layer.sequence, mixer_config.LatentAttention)
    return layer.sequence


def _each_head(query: Tensor, config: mixer_config.LatentAttention, change: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Reorder the rotary rows of each head's query."""
    per_head = query.unflatten(0, (config.num_heads, -1))
    plain, rotary = per_head[:, : config.head_width], per_head[:, config.head_width :]
    changed = change(rotary.flatten(0, 1), rotary.shape[1]).view_as(rotary)
    return torch.cat((plain, changed), dim=1).flatten(0, 1)


def interleaved(rows: Tensor, head_width: int) -> Tensor:
    """Rows x_0 .. x_{k-1}, y_0 .. y_{k-1} of each head as x_0, y_0, x_1, y_1, for programs that turn neighbours by
    rotary positions: we turn halves."""
    return rows.unflatten(0, (-1, 2, head_width // 2)).transpose(1, 2).flatten(0, 2)


def halves(rows: Tensor, head_width: int) -> Tensor:
    """The inverse of `interleaved`."""
    return rows.unflatten(0, (-1, head_width // 2, 2)).transpose(1, 2).flatten(0, 2)
