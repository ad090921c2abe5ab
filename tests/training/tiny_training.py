"""A training of a few steps on a short, regular text, and a hash of all that it carries."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from groundup.batches.windows import WindowSource
from groundup.models.presets import llama
from groundup.optim.config import OptimizerConfig
from groundup.optim.optimizer_config import AdamW, Muon, Soap
from groundup.optim.schedule_config import Cosine, Wsd
from groundup.training.loop import Tick, train
from groundup.training.objectives import next_token
from groundup.training.state import Dtype, TrainState

VOCAB = 23
MODEL = llama(VOCAB, context_length=16, width=32, depth=2, num_heads=2, num_kv_heads=1, mlp_width=48, qk_norm=True)
STEPS = 8
OPTIMIZERS = {"muon": Muon(), "adamw": AdamW(), "soap": Soap(frequency=2)}
SCHEDULES = {"cosine": Cosine(), "wsd": Wsd()}


def optimizer_config(**changes: Any) -> OptimizerConfig:
    return OptimizerConfig(**{"warmup_steps": 2, **changes})


def source(seed: int = 0) -> WindowSource:
    """A text in which each token follows from the one before: t → 3t + 1, with a seldom jump."""
    random = np.random.default_rng(0)
    tokens = [1]
    for _ in range(1500):
        tokens.append((3 * tokens[-1] + 1) % VOCAB if random.random() < 0.95 else int(random.integers(VOCAB)))
    return WindowSource(np.array(tokens, dtype=np.uint16), 8, MODEL.context_length, seed)


def fresh(config: OptimizerConfig, dtype: Dtype = torch.float32, seed: int = 0) -> TrainState:
    return TrainState(MODEL, config, dtype, seed)


def run(state: TrainState, config: OptimizerConfig, until: int, steps: int = STEPS) -> list[Tick]:
    """Train to step `until` of a training of `steps`, as a stage does that is stopped in between."""
    ticks = train(state, source(), next_token, config, steps)
    return [next(ticks) for _ in range(until - state.step)]


def everything(state: TrainState) -> str:
    """SHA-256 over weights, masters and all optimizer state, by name."""
    digest = hashlib.sha256(str(state.step).encode())
    for name, parameter in state.model.named_parameters():
        owner = next(o for o in state.optimizers if parameter in o.state)
        parts: dict[str, Any] = {"weight": parameter.detach(), **owner.state[parameter]}
        for key in sorted(parts):
            value = parts[key]
            data = value.contiguous().view(torch.uint8).numpy().tobytes() if isinstance(value, Tensor) else value
            digest.update(f"{name} {key} {data!r}".encode())
    return digest.hexdigest()


def tokenizer_folder(place: Path) -> Path:
    place.mkdir(exist_ok=True)
    (place / "tokenizer.json").write_text("{}")
    return place
