"""A small training to be measured, and traces written by hand."""

from typing import Any

import torch
from tiny_training import MODEL, fresh, optimizer_config, source

from groundup.models.config import DecoderConfig
from groundup.optim.config import OptimizerConfig
from groundup.training.objectives import next_token
from groundup.training.profiling import Training
from groundup.training.state import TrainState

CPU = torch.device("cpu")


def training(
    config: OptimizerConfig | None = None, dtype: torch.dtype = torch.float32, parts: int = 1, recompute: int = 0
) -> Training:
    """Of the model of `tiny_training`, 8 × 16 tokens a step."""
    config = config or optimizer_config()
    state = fresh(config, dtype)
    state.model.recompute = recompute
    return Training(state, source(), next_token, config, 1000, parts)


def training_of(model: DecoderConfig) -> Training:
    """Of any decoder with the vocabulary and context of `MODEL`."""
    assert (model.vocab_size, model.context_length) == (MODEL.vocab_size, MODEL.context_length)
    config = optimizer_config()
    return Training(TrainState(model, config, torch.float32, seed=0), source(), next_token, config, 1000)


def call(name: str, start: float, duration: float, sequence: int = -1, **args: Any) -> dict[str, Any]:
    """An event of a trace, in microseconds; a name with a colon in front of it is a range or a mark."""
    given = {"Sequence number": sequence} if sequence >= 0 else {}
    return {
        "ph": "X",
        "cat": "user_annotation" if name.startswith("groundup") else "cpu_op",
        "name": name,
        "pid": 7,
        "tid": 7,
        "ts": 1000 + start,
        "dur": duration,
        "args": {**given, **{key.replace("_", " "): value for key, value in args.items()}},
    }


def mark(phase: str, at: float) -> dict[str, Any]:
    return call(f"groundup phase: {phase}", at, 0.0)
