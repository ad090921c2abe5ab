"""What training carries from step to step: the model, its optimizers and the step count, to disk and back."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from groundup.checkpoint.store import Checkpoint, write_checkpoint
from groundup.models.building import build_model
from groundup.models.initialization import initialize
from groundup.models.language_model import LanguageModel
from groundup.models.model_config import ModelConfig
from groundup.optim.averaging import ExponentialAverage, LatestAverage
from groundup.optim.build import build_optimizers
from groundup.optim.config import OptimizerConfig
from groundup.optim.master import master_of
from groundup.training.config import AverageConfig
from groundup.training.loss_scaler import LossScaler
from groundup.training.precision import Precision, precision_of
from groundup.training.warm_start import warm_weights

SCALER = "loss_scaler"  # its place in a checkpoint's state
AVERAGE = "average/"  # in front of the average's names among the optimizers' tensors
Dtype = torch.dtype | Precision


class TrainState:
    """A model in the weights' format of its precision, optimizers that own the fp32 masters, the scaler of the loss in
    fp16, the number of finished steps, how many batches were passed over besides, and for a guard the last gradient
    norms and the skips in a row."""

    def __init__(self, config: ModelConfig, optimizer: OptimizerConfig, dtype: Dtype, seed: int) -> None:
        """Freshly initialised weights, drawn in fp32 and then rounded, so that every dtype starts from the same."""
        self.model = build_model(config)
        initialize(self.model, seed)
        self._adopt(self.model.state_dict(), optimizer, dtype)

    def _adopt(self, weights: dict[str, Tensor], optimizer: OptimizerConfig, dtype: Dtype) -> None:
        """Take fp32 weights: masters hold them exactly, the model holds them rounded to its dtype."""
        exact = {name: weight.detach().clone() for name, weight in weights.items()}
        self.precision = precision_of(dtype)
        self.model.to(self.precision.weights)
        self.scaler: LossScaler | None = None
        if self.precision.weights == torch.float16:
            self.scaler = LossScaler()
            for parameter in self.model.parameters():
                parameter.grad_dtype = torch.float32  # unscaled in fp16, small gradients would vanish after all
        self.optimizers = build_optimizers(self.model, optimizer)
        self._owners = {
            member: each for each in self.optimizers for group in each.param_groups for member in group["params"]
        }
        self.step = self.passed_over = self.skips = 0
        self.recent_norms: list[float] = []
        self.average: ExponentialAverage | LatestAverage | None = None
        self._averaged: dict[str, Tensor] = {}  # the average of the checkpoint that this was resumed from
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(exact[name])
                master_of(parameter, self._slot(parameter)).copy_(exact[name])
            for name, buffer in self.model.named_buffers():
                buffer.copy_(exact[name])

    @classmethod
    def from_weights(cls, checkpoint: Checkpoint, optimizer: OptimizerConfig, dtype: Dtype) -> "TrainState":
        """Start a new training from a checkpoint's weights, with fresh optimizer state."""
        state = cls(checkpoint.config, optimizer, dtype, seed=0)
        state._adopt(checkpoint.weights(), optimizer, dtype)
        return state

    @classmethod
    def warm(
        cls, config: ModelConfig, checkpoint: Checkpoint, optimizer: OptimizerConfig, dtype: Dtype, seed: int
    ) -> "TrainState":
        """Start a new training of another config from a checkpoint's weights, as far as they fit (`warm_start.py`)."""
        state = cls(config, optimizer, dtype, seed)
        state.restart(warm_weights(state.weights(), checkpoint.weights()), optimizer)
        return state

    def restart(self, weights: dict[str, Tensor], optimizer: OptimizerConfig) -> None:
        """Begin again at step 0 from these fp32 weights, in the same model."""
        self._adopt(weights, optimizer, self.precision)

    @classmethod
    def resumed(cls, checkpoint: Checkpoint, optimizer: OptimizerConfig, dtype: Dtype) -> "TrainState":
        """Continue exactly where a checkpoint was saved: weights, optimizer state and step."""
        state = cls.from_weights(checkpoint, optimizer, dtype)
        tensors = checkpoint.optimizer()
        for name, parameter in state.model.named_parameters():
            slot = state._slot(parameter)
            prefix = f"{name}."
            slot |= {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
            if "step" in slot:
                slot["step"] = int(slot["step"])
        state.step, state.passed_over = checkpoint.state["step"], checkpoint.state["passed_over"]
        state.recent_norms, state.skips = checkpoint.state["recent_norms"], checkpoint.state["skips"]
        if state.scaler is not None and SCALER in checkpoint.state:
            state.scaler = LossScaler(**checkpoint.state[SCALER])
        state._averaged = {key.removeprefix(AVERAGE): each for key, each in tensors.items() if key.startswith(AVERAGE)}
        return state

    def keep_average(self, config: AverageConfig) -> None:
        """Average the weights from now on, or go on with the average of the checkpoint that this was resumed from."""
        match config.kind:
            case "exponential":
                self.average = ExponentialAverage(config.decay)
            case "latest":
                self.average = LatestAverage(config.snapshots)
        if self.average is not None and self._averaged:
            self.average.load(self._averaged)

    @contextmanager
    def averaged(self) -> Iterator[LanguageModel]:
        """The model with the averaged weights, inside the block."""
        assert self.average is not None, "no average is kept"
        tensors = dict((*self.model.named_parameters(), *self.model.named_buffers()))
        with torch.no_grad():
            kept = {name: tensor.clone() for name, tensor in tensors.items()}
            for name, weight in self.average.weights().items():
                tensors[name].copy_(weight)
            yield self.model
            for name, weight in kept.items():
                tensors[name].copy_(weight)

    def weights(self) -> dict[str, Tensor]:
        """fp32 weights by name, and what the model keeps beside them (biases that balance experts)."""
        weights = {name: master_of(p, self._slot(p)).detach() for name, p in self.model.named_parameters()}
        return weights | {name: buffer.detach() for name, buffer in self.model.named_buffers()}

    def save(self, root: Path, tokenizer: Path, counters: dict[str, Any], keep: int = 2, keep_every: int = 0) -> Path:
        """Write a checkpoint of this step that `resumed` continues from; `counters` go into its state."""
        return self.snapshot(counters).write(root, tokenizer, keep, keep_every)

    def snapshot(self, counters: dict[str, Any], *, copy: bool = False) -> "Snapshot":
        """What a checkpoint of this step holds; with `copy`, training may go on before it is written."""
        tensors: dict[str, Tensor] = {}
        for name, parameter in self.model.named_parameters():
            for key, value in self._slot(parameter).items():
                if key != "master":
                    tensors[f"{name}.{key}"] = value if isinstance(value, Tensor) else torch.tensor(value)
        if self.average is not None:
            tensors |= {AVERAGE + key: each for key, each in self.average.state().items()}
        weights = self.weights()
        if copy:
            weights, tensors = ({name: each.clone() for name, each in one.items()} for one in (weights, tensors))
        counters = {**counters, "passed_over": self.passed_over, "skips": self.skips}
        counters["recent_norms"] = list(self.recent_norms)
        if self.scaler is not None:
            counters[SCALER] = self.scaler.state()
        return Snapshot(self.step, self.model.config, weights, counters, tensors)

    def _slot(self, parameter: Tensor) -> dict[str, Any]:
        """The optimizer's state of one parameter."""
        return self._owners[parameter].state[parameter]


class Snapshot(NamedTuple):
    """A training at one step: fp32 weights, counters, and the optimizers' tensors."""

    step: int
    config: ModelConfig
    weights: dict[str, Tensor]
    counters: dict[str, Any]
    optimizer: dict[str, Tensor]

    def write(self, root: Path, tokenizer: Path, keep: int = 2, keep_every: int = 0) -> Path:
        """A checkpoint under `root`; see `write_checkpoint` for which others stay."""
        parts = (self.step, self.config, self.weights, self.counters, tokenizer, self.optimizer)
        return write_checkpoint(root, *parts, keep, keep_every)
