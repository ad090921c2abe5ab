"""A small model's checkpoint content, and roots with several steps, for the tests of checkpoints."""

from pathlib import Path

import torch
from torch import Tensor

from groundup.checkpoint.store import write_checkpoint
from groundup.models.presets import llama

CONFIG = llama(vocab_size=11, context_length=8, width=8, depth=1, num_heads=2, num_kv_heads=1, mlp_width=8)


def weights_at(step: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(step)
    return {"embedding": torch.randn(11, 8, generator=generator), "final_gain": torch.randn(8, generator=generator)}


def optimizer_at(step: int) -> dict[str, Tensor]:
    return {"embedding.momentum": weights_at(step)["embedding"] * 2, "final_gain.step": torch.tensor(step)}


def tokenizer_folder(root: Path) -> Path:
    """A tokenizer as a run holds it: its file, and the run's own files."""
    folder = root / "tokenizer-run"
    folder.mkdir(exist_ok=True)
    for name in ("tokenizer.json", "config.json", "result.json", "log.txt"):
        (folder / name).write_text(f"{name} of a tokenizer")
    return folder


def save(root: Path, step: int, keep: int = 2, with_optimizer: bool = True, keep_every: int = 0) -> Path:
    optimizer = optimizer_at(step) if with_optimizer else None
    state = {"seconds": step / 4}
    tokenizer = tokenizer_folder(root.parent)
    return write_checkpoint(root, step, CONFIG, weights_at(step), state, tokenizer, optimizer, keep, keep_every)


def steps_in(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())
