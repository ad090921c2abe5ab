"""Checkpoints: self-contained folders that are whole or not there, and that know when they were damaged.

    checkpoints/step_00001000/
        model/weights.safetensors       fp32 weights by parameter name; or quantised ones (`models/quantized_weight.py`)
        optimizer/state.safetensors     optimizer tensors by name (absent in a checkpoint made only for use)
        config.json                     the model's config
        tokenizer/                      the tokenizer's files
        state.json                      step, counters: everything else that resuming needs
        COMPLETE                        SHA-256 of every file above, written last

The folder is filled under a temporary name and renamed. "Latest" is a scan for the highest step whose hashes hold, so a
truncated or altered checkpoint falls back to the one before it. No pickle anywhere.
"""

import errno
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from groundup.core.config import encode
from groundup.core.errors import InputError, MissingError
from groundup.core.files import clear_temporaries, new_directory, read_json, sha256_file, write_json
from groundup.core.logging import get_logger
from groundup.models.model_config import ModelConfig, decode_model
from groundup.models.quantized_weight import restored_weights
from groundup.tokenization.bpe import BytePairTokenizer

logger = get_logger(__name__)
WEIGHTS, OPTIMIZER = "model/weights.safetensors", "optimizer/state.safetensors"
NEEDED = (WEIGHTS, "config.json", "state.json")
UNREADABLE = (errno.EIO, errno.EBADMSG, errno.EISDIR)  # what a failing disk says of a file


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint folder."""

    path: Path
    config: ModelConfig
    state: dict[str, Any]

    def weights(self) -> dict[str, Tensor]:
        """fp32 weights by parameter name; those that a quantised checkpoint stands for."""
        return restored_weights(self.stored_weights())

    def stored_weights(self) -> dict[str, Tensor]:
        """Tensors as they are in the file: where it is quantised, integers and scales."""
        return load_file(self.path / WEIGHTS)

    def optimizer(self) -> dict[str, Tensor]:
        """Optimizer tensors by name."""
        if not (self.path / OPTIMIZER).exists():
            raise MissingError(f"{self.path} was saved without optimizer state, so training cannot resume from it.")
        return load_file(self.path / OPTIMIZER)

    @property
    def fingerprint(self) -> str:
        """What identifies the content: the hash of the weights, as recorded when they were saved."""
        return read_json(self.path / "COMPLETE")[WEIGHTS]

    @property
    def tokenizer(self) -> Path:
        return self.path / "tokenizer"


def write_checkpoint(
    root: Path,
    step: int,
    config: ModelConfig,
    weights: Mapping[str, Tensor],
    state: Mapping[str, Any],
    tokenizer: Path | BytePairTokenizer | None,
    optimizer: Mapping[str, Tensor] | None = None,
    keep: int = 2,
    keep_every: int = 0,
) -> Path:
    """Save `step_<step>` under `root` atomically; of it and the earlier ones the newest `keep` stay, and those of every
    `keep_every` steps.

    `tokenizer` is a folder, a tokenizer, or None for a model that only token ids will be given to.

    Later ones go: they are left from a training that could not be resumed from them, or that was begun again. What a
    killed save left goes too, so only one process may write under a `root`.
    """
    assert keep >= 1, "a checkpoint that is removed at once is no checkpoint"
    path = root / f"step_{step:08d}"
    clear_temporaries(root)
    with new_directory(path) as temporary:
        (temporary / "model").mkdir()
        _save_tensors(weights, temporary / WEIGHTS)
        if optimizer is not None:
            (temporary / "optimizer").mkdir()
            _save_tensors(optimizer, temporary / OPTIMIZER)
        write_json(temporary / "config.json", encode(config))
        write_json(temporary / "state.json", {**state, "step": step})
        if isinstance(tokenizer, BytePairTokenizer):
            tokenizer.save(temporary / "tokenizer")
        elif tokenizer is not None:
            shutil.copytree(tokenizer, temporary / "tokenizer", ignore=_run_files)
        files = sorted(file for file in temporary.rglob("*") if file.is_file())
        hashes = {str(file.relative_to(temporary)): sha256_file(file) for file in files}
        write_json(temporary / "COMPLETE", hashes)
    remove_superseded(path, keep, keep_every)
    for later in checkpoint_folders(root):
        if step_of(later) > step:
            shutil.rmtree(later)
    return path


def remove_superseded(newest: Path, keep: int = 2, keep_every: int = 0) -> None:
    """Of a whole checkpoint and the earlier ones leave the newest `keep`, and those of every `keep_every` steps.

    Who resumes from it calls this too: behind the last save of all, a kill may have left others, or parts of them.
    """
    folders = [each for each in checkpoint_folders(newest.parent) if step_of(each) <= step_of(newest)]
    for old in folders[: max(0, len(folders) - keep)]:
        if not keep_every or step_of(old) % keep_every:
            shutil.rmtree(old)


def read_checkpoint(path: Path) -> Checkpoint:
    """Open a checkpoint folder and verify every file's hash."""
    problem = damage(path)
    if problem:
        raise InputError(f"{path} cannot be used: {problem}. Use another checkpoint, or train again.")
    return _open(path)


def latest_checkpoint(root: Path) -> Checkpoint | None:
    """The newest whole checkpoint under `root`; damaged ones are skipped with a warning."""
    for path in reversed(checkpoint_folders(root)):
        problem = damage(path)
        if problem is None:
            return _open(path)
        logger.warning("skipping checkpoint %s: %s", path, problem)
    return None


def checkpoint_folders(root: Path) -> list[Path]:
    """Checkpoint folders, lowest step first, whether whole or not."""
    found = [path for path in root.glob("step_*") if re.fullmatch(r"step_\d+", path.name) and path.is_dir()]
    return sorted(found, key=step_of)


def step_of(folder: Path) -> int:
    """The step in a checkpoint folder's name."""
    return int(folder.name.removeprefix("step_"))


def damage(path: Path) -> str | None:
    """What is wrong with a checkpoint folder, or None."""
    if not path.is_dir():
        return "there is no such folder"
    if not (path / "COMPLETE").exists():
        return "it is not a whole checkpoint (no COMPLETE file)"
    try:
        return _changed_file(path)
    except OSError as error:
        if error.errno not in UNREADABLE:  # permissions, say, are for people to mend
            raise
        return f"it cannot be read ({(error.strerror or str(error)).lower()})"


def _changed_file(path: Path) -> str | None:
    """Which file is not what COMPLETE says, or None."""
    try:
        hashes = json.loads((path / "COMPLETE").read_bytes())
    except (ValueError, RecursionError):
        hashes = None
    if not isinstance(hashes, dict) or not all(name in hashes for name in NEEDED):
        return "its COMPLETE file is damaged"
    for name, digest in hashes.items():
        if not (path / name).is_file():
            return f"its file {name} is missing"
        if sha256_file(path / name) != digest:
            return f"its file {name} does not have the hash that was recorded when it was saved"
    return None


def _open(path: Path) -> Checkpoint:
    config = decode_model(read_json(path / "config.json"), str(path / "config.json"))
    return Checkpoint(path, config, read_json(path / "state.json"))


def _save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write a safetensors file; its fault is no OSError, so it becomes one, which `new_directory` tells in words."""
    try:
        save_file(dict(tensors), path)
    except SafetensorError as error:
        raise OSError(errno.EIO, str(error), str(path)) from error
    path.chmod(path.parent.stat().st_mode & 0o666)  # the library makes it private, whatever the umask says


def _run_files(_folder: str, names: list[str]) -> set[str]:
    """A tokenizer may come from a run folder; only its own files belong in a checkpoint."""
    return {name for name in names if name != "tokenizer.json"}
