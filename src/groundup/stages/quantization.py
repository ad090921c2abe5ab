"""A checkpoint with its weights in 8 or 4 bits, and what that costs: bits per byte, size, speed.

The result is a checkpoint like others, `OUT/checkpoints/step_...`: serving, generation, chat and evaluation take it.
Training and export take it too, as the weights that it stands for.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from groundup.checkpoint.store import WEIGHTS, Checkpoint, read_checkpoint, write_checkpoint
from groundup.core.errors import InputError, MissingError, OutputError
from groundup.core.files import write_json
from groundup.core.progress import progress
from groundup.evaluation.bits_per_byte import bits_per_byte, document_likelihoods, document_windows
from groundup.inference.engine import Engine, find_checkpoint, load_engine, pad
from groundup.inference.float8_cache import float8_cache_losses
from groundup.inference.quantization import quantized_weights
from groundup.inference.quantization_config import QuantizationConfig
from groundup.inference.requests import Request, Sampling
from groundup.stages.texts import train_and_heldout
from groundup.tokenization.chat import END_OF_TEXT

CALIBRATION_WINDOWS = 32
SPEED_TOKENS = 48


def quantize_checkpoint(
    source: Path, out: Path, config: QuantizationConfig, corpus: Path | None, measure: bool = True
) -> dict[str, Any]:
    """Write the quantised checkpoint and, with a corpus, `OUT/quality.json`; returns what that says."""
    checkpoint = find_checkpoint(source)
    if "quantization" in checkpoint.state:
        raise InputError(f"{checkpoint.path} is quantised already; start from the checkpoint that it was made of.")
    if config.method == "awq" and corpus is None:
        raise MissingError("awq needs texts to see the activations of; name some with --corpus.")
    if out.exists() and any(out.iterdir()):
        raise OutputError(f"{out} is not empty; choose a new folder, so that nothing is lost.")
    train, heldout = ([], []) if corpus is None else train_and_heldout(corpus)
    engine = load_engine(checkpoint.path, torch.float32)
    model, tokenizer = engine.model, engine.tokenizer

    def calibration() -> None:
        windows = document_windows(tokenizer, train, model.config.context_length)[:CALIBRATION_WINDOWS]
        with progress("calibrate", len(windows)) as advance:
            for window in windows:
                model.unembed(model(pad([window.ids[: model.config.context_length]])))
                advance(1)

    state = quantized_weights(model, config, calibration)
    # What is not quantised is used in 16 bits, but 1-dimensional gains and biases are too small to matter.
    state = {name: v.bfloat16() if v.dtype == torch.float32 and _is_table(name, v) else v for name, v in state.items()}
    told = {**checkpoint.state, "quantization": asdict(config), "quantized_from": checkpoint.fingerprint}
    path = write_checkpoint(out / "checkpoints", checkpoint.state["step"], checkpoint.config, state, told, tokenizer)
    quality: dict[str, Any] = {"checkpoint": str(path), "quantization": asdict(config)}
    quality["bytes"] = {"before": _size(checkpoint), "after": _size(read_checkpoint(path))}
    if measure and corpus is not None:
        engines = {"before": load_engine(checkpoint.path), "after": load_engine(path)}
        found = {when: measured(engine, heldout) for when, engine in engines.items()}
        quality |= {what: {when: found[when][what] for when in found} for what in found["before"]}
        model = engines["before"].model
        quality["bits_per_byte_of_float8_cache"] = score(
            engines["before"], heldout, partial(float8_cache_losses, model)
        )
    write_json(out / "quality.json", quality)
    return quality


def measured(engine: Engine, heldout: Sequence[str]) -> dict[str, float]:
    """Bits per byte of held-out texts, and tokens per second of one greedy request."""
    bits = score(engine, heldout, engine.model.token_losses)
    mark = engine.tokenizer.special_tokens[END_OF_TEXT]
    request = Request((mark,), Sampling(min(SPEED_TOKENS, engine.context_length - 1), temperature=0))
    engine.generate([request])
    began = time.perf_counter()
    ids = engine.generate([request])[0].ids
    return {"bits_per_byte": bits, "tokens_per_second": len(ids) / (time.perf_counter() - began)}


def score(engine: Engine, heldout: Sequence[str], token_losses: Callable[[Tensor, Tensor], Tensor]) -> float:
    """Bits per byte by these losses."""
    windows = document_windows(engine.tokenizer, heldout, engine.context_length)
    with progress("score", len(windows)) as advance:
        return bits_per_byte(document_likelihoods(engine.model, heldout, windows, advance, token_losses)).estimate


def _is_table(name: str, value: Tensor) -> bool:
    return value.ndim >= 2 and not name.endswith(("scales_OG", "router"))


def _size(checkpoint: Checkpoint) -> int:
    return (checkpoint.path / WEIGHTS).stat().st_size
