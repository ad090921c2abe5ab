"""What training carries from step to step: the model, its optimizers and the step count, to disk and back."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from groundup.checkpoint.store import Checkpoint, write_checkpoint
from groundup.models.building import build_model
from groundup.models.initialization import initialize
from groundup.models.model_config import ModelConfig
from groundup.optim.build import build_optimizers
from groundup.optim.config import OptimizerConfig
from groundup.optim.master import master_of


class TrainState:
    """A model in its compute dtype, optimizers that own the fp32 masters, and the number of finished steps."""

    def __init__(self, config: ModelConfig, optimizer: OptimizerConfig, dtype: torch.dtype, seed: int) -> None:
        """Freshly initialised weights, drawn in fp32 and then rounded, so that every dtype starts from the same."""
        self.model = build_model(config)
        initialize(self.model, seed)
        self._adopt(self.model.state_dict(), optimizer, dtype)

    def _adopt(self, weights: dict[str, Tensor], optimizer: OptimizerConfig, dtype: torch.dtype) -> None:
        """Take fp32 weights: masters hold them exactly, the model holds them rounded to its dtype."""
        exact = {name: weight.detach().clone() for name, weight in weights.items()}
        self.model.to(dtype)
        self.optimizers = build_optimizers(self.model, optimizer)
        self._owners = {
            member: each for each in self.optimizers for group in each.param_groups for member in group["params"]
        }
        self.step = 0
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(exact[name])
                master_of(parameter, self._slot(parameter)).copy_(exact[name])
            for name, buffer in self.model.named_buffers():
                buffer.copy_(exact[name])

    @classmethod
    def from_weights(cls, checkpoint: Checkpoint, optimizer: OptimizerConfig, dtype: torch.dtype) -> "TrainState":
        """Start a new training from a checkpoint's weights, with fresh optimizer state."""
        state = cls(checkpoint.config, optimizer, dtype, seed=0)
        state._adopt(checkpoint.weights(), optimizer, dtype)
        return state

    @classmethod
    def resumed(cls, checkpoint: Checkpoint, optimizer: OptimizerConfig, dtype: torch.dtype) -> "TrainState":
        """Continue exactly where a checkpoint was saved: weights, optimizer state and step."""
        state = cls.from_weights(checkpoint, optimizer, dtype)
        tensors = checkpoint.optimizer()
        for name, parameter in state.model.named_parameters():
            slot = state._slot(parameter)
            prefix = f"{name}."
            slot |= {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
            if "step" in slot:
                slot["step"] = int(slot["step"])
        state.step = checkpoint.state["step"]
        return state

    def weights(self) -> dict[str, Tensor]:
        """fp32 weights by name, and what the model keeps beside them (biases that balance experts)."""
        weights = {name: master_of(p, self._slot(p)).detach() for name, p in self.model.named_parameters()}
        return weights | {name: buffer.detach() for name, buffer in self.model.named_buffers()}

    def save(self, root: Path, tokenizer: Path, counters: dict[str, Any], keep: int = 2) -> Path:
        """Write a checkpoint of this step that `resumed` continues from; `counters` go into its state."""
        tensors: dict[str, Tensor] = {}
        for name, parameter in self.model.named_parameters():
            for key, value in self._slot(parameter).items():
                if key != "master":
                    tensors[f"{name}.{key}"] = value if isinstance(value, Tensor) else torch.tensor(value)
        weights = self.weights()
        return write_checkpoint(root, self.step, self.model.config, weights, counters, tokenizer, tensors, keep)

    def _slot(self, parameter: Tensor) -> dict[str, Any]:
        """The optimizer's state of one parameter."""
        return self._owners[parameter].state[parameter]
