"""Models of other programs as checkpoints, and back: folders in Hugging Face's layout, and GGUF files."""

from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from groundup.checkpoint.gguf import read_gguf, write_gguf
from groundup.checkpoint.huggingface import read_huggingface, write_huggingface
from groundup.checkpoint.store import write_checkpoint
from groundup.core.errors import ConfigError, InputError, MissingError, OutputError
from groundup.core.logging import get_logger
from groundup.inference.engine import find_checkpoint
from groundup.models.config import DecoderConfig
from groundup.tokenization.bpe import BytePairTokenizer
from groundup.tokenization.chat import END_OF_TEXT
from groundup.tokenization.vocabulary_files import load_vocabulary

GGUF = ".gguf"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
GGUF_DTYPES: dict[str, Literal["f32", "f16", "bf16", "q8_0"]] = {
    "float32": "f32",
    "float16": "f16",
    "bfloat16": "bf16",
    "q8_0": "q8_0",
}
logger = get_logger(__name__)


def import_model(source: Path, out: Path, tokenizer: Path | None = None) -> dict[str, Any]:
    """Write `out/checkpoints/step_00000000` from a folder with `config.json` and safetensors files, or a `.gguf` file.

    The tokenizer is the folder's unless one is named; where it is of a kind that groundup does not know, the model is
    imported without, for training and measuring on token ids.
    """
    if not source.exists():
        raise MissingError(f"There is no {source}; name a folder with config.json, or a .gguf file.")
    if out.exists() and any(out.iterdir()):
        raise OutputError(f"{out} is not empty; choose a new folder, so that nothing is lost.")
    config, weights = read_gguf(source) if source.suffix == GGUF else read_huggingface(source)
    weights = {name: weight.float() for name, weight in weights.items()}
    words = _vocabulary(source, tokenizer)
    if words is not None and words.vocab_size > config.vocab_size:
        raise InputError(
            f"The tokenizer has {words.vocab_size} tokens and the model {config.vocab_size}; they do not belong "
            "together."
        )
    state = {"imported_from": source.name}
    path = write_checkpoint(out / "checkpoints", 0, config, weights, state, words)
    count = sum(weight.numel() for weight in weights.values())
    return {"checkpoint": str(path), "parameters": count, "tokenizer": words is not None}


def export_model(source: Path, out: Path, dtype: str) -> Path:
    """Write a checkpoint's model for other programs: a `.gguf` file, or else a folder in Hugging Face's layout."""
    checkpoint = find_checkpoint(source)
    config = checkpoint.config
    if not isinstance(config, DecoderConfig):
        raise InputError(f"{source} holds a model of kind {config.kind}; only decoders can be exported.")
    words = BytePairTokenizer.load(checkpoint.tokenizer) if checkpoint.tokenizer.exists() else None
    if out.exists() and (out.is_file() or any(out.iterdir())):
        raise OutputError(f"{out} is there already; choose another name, so that nothing is lost.")
    known = GGUF_DTYPES if out.suffix == GGUF else DTYPES
    if dtype not in known:
        raise ConfigError(f"dtype {dtype!r} cannot be written to {out.name}; choose one of {', '.join(known)}.")
    if out.suffix == GGUF:
        return write_gguf(config, checkpoint.weights(), out, GGUF_DTYPES[dtype], words)
    weights: dict[str, Tensor] = {name: weight.to(DTYPES[dtype]) for name, weight in checkpoint.weights().items()}
    marks: dict[str, int] = {}
    if words is not None and END_OF_TEXT in words.special_tokens:
        marks = dict.fromkeys(("bos_token_id", "eos_token_id"), words.special_tokens[END_OF_TEXT])
    return write_huggingface(config, weights, out, marks, words)


def _vocabulary(source: Path, named: Path | None) -> BytePairTokenizer | None:
    """The tokenizer that is named, or the folder's if it is of a kind that is known here."""
    if named is not None:
        return load_vocabulary(named)
    try:
        return load_vocabulary(source if source.is_dir() else source.parent)
    except (InputError, MissingError, ConfigError) as error:
        logger.warning("imported without a tokenizer: %s", error)
        return None
