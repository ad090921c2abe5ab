"""Models in llama.cpp's layout: one GGUF file with the config, the weights and the tokenizer.

Read are the architectures of `gguf_families.py` in any tensor type of `gguf_tensors.py`, all weights to fp32. Written
are F32, F16, BF16 and Q8_0; as llama.cpp's converter does it, vectors and a few small tensors stay F32, and rows that
are no whole blocks of Q8_0 become F16.

Two things lie differently in a file than with us. The llama architecture turns neighbours (x_2i, x_2i+1) where we turn
halves (x_i, x_i+K/2), so the rows of its queries and keys are interleaved, head by head. DeepSeek's matrices for keys
and values are cut into heads, those for keys transposed, as attention to latents wants them.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from groundup.checkpoint.gguf_families import ROPE_FACTORS, cannot_hold, metadata_of, read_config
from groundup.checkpoint.gguf_file import Container, StoredTensor, Value, read_container, write_container
from groundup.checkpoint.gguf_tensors import BF16, F16, F32, Q8_0, TensorType
from groundup.checkpoint.huggingface import shapes_of
from groundup.checkpoint.huggingface_families import explicit
from groundup.checkpoint.huggingface_rules import halves, interleaved, to_ours, to_theirs
from groundup.core.config import nearest
from groundup.core.errors import ConfigError, InputError
from groundup.core.logging import get_logger
from groundup.models.config import DecoderConfig, Layer
from groundup.models.mixer_config import Attention, LatentAttention, MixtureOfExperts
from groundup.models.position_config import Llama3Scaling, Rotary
from groundup.models.positions import inverse_frequencies
from groundup.tokenization.bpe import BytePairTokenizer
from groundup.tokenization.chat import END_OF_TEXT
from groundup.tokenization.gpt2_files import printable_vocabulary
from groundup.tokenization.patterns import PATTERNS
from groundup.tokenization.tokenizer_file import printable_merges

Dtype = Literal["f32", "f16", "bf16", "q8_0"]
KINDS: Mapping[str, TensorType] = {"f32": F32, "f16": F16, "bf16": BF16, "q8_0": Q8_0}
FILE_TYPES = {"f32": 0, "f16": 1, "bf16": 32, "q8_0": 7}
ALWAYS_F32 = ("ffn_gate_inp.weight", "position_embd.weight")
NORMAL, CONTROL, UNUSED = 1, 3, 5  # types of tokens
# llama.cpp knows pre-token patterns by names of models only.
LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PRE_TOKENIZERS = {
    PATTERNS["gpt2"]: "gpt-2",
    PATTERNS["digits"]: "refact",
    PATTERNS["cl100k"]: "dbrx",
    PATTERNS["o200k"]: "gpt-4o",
    LLAMA3_PATTERN: "llama-bpe",
    LLAMA3_PATTERN.replace("{1,3}", ""): "qwen2",
}
NEARLY = {  # where two of them cut text in another way than ours
    "refact": "two or more spaces in front of a digit",
    "gpt-4o": "letters with combining marks",
}
ENDS = (END_OF_TEXT, "<|end_of_text|>", "</s>", "<eos>")
logger = get_logger(__name__)


def read_gguf(path: Path) -> tuple[DecoderConfig, dict[str, Tensor]]:
    """Config and weights by our names, fp32."""
    container = read_container(path)
    architecture, config = read_config(container, str(path))
    theirs = {name: torch.from_numpy(tensor.weights()) for name, tensor in container.tensors.items()}
    _check_rope_factors(theirs.pop(ROPE_FACTORS, None), config, path)
    shapes = {name: tensor.shape for name, tensor in to_file_layout(architecture.name, config, _empty(config)).items()}
    ours = to_ours(architecture.rules, config, theirs, shapes)
    return config, to_our_layout(architecture.name, config, ours)


def write_gguf(
    config: DecoderConfig,
    weights: Mapping[str, Tensor],
    path: Path,
    dtype: Dtype = "f32",
    tokenizer: BytePairTokenizer | None = None,
) -> Path:
    """Write a file; a `ConfigError` where no architecture can hold the decoder, or no GGUF the tokenizer.

    Weights that only training uses (further prediction heads) are left out.
    """
    if dtype not in KINDS:
        raise ConfigError(f"GGUF files are not written in {dtype!r}; {nearest(dtype, KINDS)}")
    config = for_use(config)
    architecture, metadata = metadata_of(config)
    used = {name: weights[name].detach().cpu().float() for name in shapes_of(config)}
    theirs = to_theirs(architecture.rules, config, to_file_layout(architecture.name, config, used))
    factors = rope_factors(config)
    if factors is not None:
        theirs[ROPE_FACTORS] = factors
    tensors = {name: (_kind(name, tensor, dtype), tensor.numpy()) for name, tensor in theirs.items()}
    described = {
        name: StoredTensor(kind, array.shape, np.empty(0, np.uint8)) for name, (kind, array) in tensors.items()
    }
    if changed := difference(config, read_config(Container(metadata, described), str(path))[1]):
        raise cannot_hold(f"; as {architecture.name}, its {changed}")
    about = {"general.file_type": FILE_TYPES[dtype], "general.quantization_version": 2}
    vocabulary = _tokenizer_metadata(tokenizer, config.vocab_size)
    return write_container(path, {**metadata, **about, **vocabulary}, tensors)


def _kind(name: str, tensor: Tensor, dtype: Dtype) -> TensorType:
    if tensor.ndim == 1 or name.endswith(ALWAYS_F32):
        return F32
    return F16 if dtype == "q8_0" and tensor.shape[-1] % Q8_0.weights else KINDS[dtype]


def _empty(config: DecoderConfig) -> dict[str, Tensor]:
    """Weights without content, for their shapes."""
    return {name: torch.empty(shape, device="meta") for name, shape in shapes_of(config).items()}


def to_file_layout(name: str, config: DecoderConfig, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights by our names, with the rows and axes as an architecture's files have them."""
    return _in_layout(name, config, weights, interleaved, _split_heads)


def to_our_layout(name: str, config: DecoderConfig, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `to_file_layout`."""
    return _in_layout(name, config, weights, halves, _joined_heads)


def _in_layout(
    name: str,
    config: DecoderConfig,
    weights: Mapping[str, Tensor],
    turned: Callable[[Tensor, int], Tensor],
    absorbed: Callable[[Tensor, int, bool], Tensor],
) -> dict[str, Tensor]:
    changed = dict(weights)
    for number, layer in enumerate(config.all_layers):
        prefix, sequence = f"blocks.{number}.sequence.", layer.sequence
        if name == "llama" and isinstance(sequence, Attention):
            for part in ("query", "key", "query_bias", "key_bias"):
                if prefix + part in changed:
                    changed[prefix + part] = turned(changed[prefix + part], sequence.width_of_head(config.width))
        elif isinstance(sequence, LatentAttention):
            for part in ("key", "value"):
                changed[prefix + part] = absorbed(changed[prefix + part], sequence.num_heads, part == "key")
    return changed


def _split_heads(matrix: Tensor, heads: int, is_key: bool) -> Tensor:
    by_head = matrix.unflatten(0, (heads, -1))
    return by_head.mT if is_key else by_head


def _joined_heads(by_head: Tensor, heads: int, is_key: bool) -> Tensor:
    return (by_head.mT if is_key else by_head).flatten(0, 1)


def rope_factors(config: DecoderConfig) -> Tensor | None:
    """What llama.cpp divides the frequency of each pair by, (k,), where Llama 3's scaling stretches them."""
    sequence = config.all_layers[0].sequence
    if not isinstance(sequence, Attention) or not isinstance(sequence.position, Rotary):
        return None
    rotary, width = sequence.position, sequence.width_of_head(config.width)
    if not isinstance(rotary.scaling, Llama3Scaling):
        return None
    return inverse_frequencies(replace(rotary, scaling=None), width)[0] / inverse_frequencies(rotary, width)[0]


def _check_rope_factors(found: Tensor | None, config: DecoderConfig, path: Path) -> None:
    """Whether a file's factors are those of the numbers that `read_config` took for them."""
    expected = rope_factors(config)
    if found is not None and (
        expected is None or found.shape != expected.shape or not torch.allclose(found, expected, rtol=1e-4)
    ):
        raise InputError(f"{path} stretches rotary positions by factors that are not those of a published Llama 3.")


def for_use(config: DecoderConfig) -> DecoderConfig:
    """The same decoder, every width written out, without what matters in training only."""
    layers, first_layers = (tuple(map(_layer_for_use, some)) for some in (config.layers, config.first_layers))
    usual = DecoderConfig.prediction_weight
    config = replace(config, dropout=0.0, z_loss=0.0, prediction_heads=0, prediction_weight=usual)
    return explicit(replace(config, layers=layers, first_layers=first_layers))


def _layer_for_use(layer: Layer) -> Layer:
    channel = layer.channel
    if not isinstance(channel, MixtureOfExperts):
        return layer
    rate = 0.001 if channel.balance_bias_rate else 0.0  # not how fast the bias moved matters, but that there is one
    return replace(layer, channel=replace(channel, balance_loss=0.0, router_z_loss=0.0, balance_bias_rate=rate))


def difference(one: Any, other: Any, name: str = "decoder") -> str:  # noqa: ANN401 - configs and what they hold
    """Where two configs differ by more than the rounding of fp32, in which a file keeps numbers; "" if nowhere."""
    if is_dataclass(one) and type(one) is type(other):
        pairs = [(getattr(one, field.name), getattr(other, field.name), field.name) for field in fields(one)]
    elif isinstance(one, tuple) and isinstance(other, tuple) and len(one) == len(other):
        pairs = [(*pair, name) for pair in zip(one, other, strict=True)]
    elif isinstance(one, float) and isinstance(other, (int, float)) and math.isclose(one, other, rel_tol=1e-6):
        return ""
    else:
        return "" if one == other else f"{name} {one!r} would become {other!r}"
    return next(filter(None, (difference(*pair) for pair in pairs)), "")


def _tokenizer_metadata(tokenizer: BytePairTokenizer | None, vocab_size: int) -> dict[str, Value]:
    """A byte-level vocabulary in GPT-2's printable bytes; rows of the embedding without a token get names of no use."""
    if tokenizer is None:
        return {"tokenizer.ggml.model": "none"}
    if tokenizer.vocab_size > vocab_size:
        raise ConfigError(f"The tokenizer has {tokenizer.vocab_size} tokens, but the model only {vocab_size}.")
    pre_tokenizer = PRE_TOKENIZERS.get(tokenizer.pattern)
    if pre_tokenizer is None or tokenizer.normalization is not None:
        what = f"the pattern {tokenizer.pattern!r}" if pre_tokenizer is None else f"{tokenizer.normalization}"
        raise ConfigError(f"llama.cpp has no pre-tokenizer for {what}, so the tokenizer cannot go into a GGUF file.")
    if tokenizer.whole_pieces and pre_tokenizer != "llama-bpe":
        raise ConfigError("llama.cpp would give other ids: this tokenizer has tokens that no merge makes.")
    if pre_tokenizer in NEARLY:
        logger.warning("llama.cpp cuts text like this tokenizer, but for %s.", NEARLY[pre_tokenizer])
    names = {token: name for name, token in printable_vocabulary(tokenizer).items()}
    kinds = np.full(vocab_size, UNUSED, np.int32)
    kinds[list(names)] = NORMAL
    kinds[list(tokenizer.special_tokens.values())] = CONTROL
    found: dict[str, Value] = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre_tokenizer,
        "tokenizer.ggml.tokens": [names.get(token, f"[PAD{token}]") for token in range(vocab_size)],
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.merges": [f"{left} {right}" for left, right in printable_merges(tokenizer)],
        "tokenizer.ggml.add_bos_token": False,
    }
    end = next((tokenizer.special_tokens[name] for name in ENDS if name in tokenizer.special_tokens), None)
    if end is None:
        logger.warning("No special token ends a text (%s), so llama.cpp will take token 11 for it.", ", ".join(ENDS))
        return found
    return found | {"tokenizer.ggml.bos_token_id": end, "tokenizer.ggml.eos_token_id": end}
