"""Compilation of the training step, where the machine can do it and it pays.

Each block is compiled by itself: all blocks share one compiled function, so the wait does not grow with depth. Together
with the loss that is 10 to 30 seconds, once; TorchInductor keeps the result on disk.
"""

from collections.abc import Sequence
from functools import partial

import torch

from groundup.core.logging import get_logger
from groundup.kernels.compiler import can_compile
from groundup.kernels.cross_entropy import chunk_loss, linear_cross_entropy, mean_cross_entropy
from groundup.kernels.dispatch import record, warn_once
from groundup.models.language_model import LanguageModel
from groundup.optim.adam import Adam, adam_in_one_pass

logger = get_logger(__name__)


def compile_for_training(model: LanguageModel, optimizers: Sequence[torch.optim.Optimizer] = ()) -> bool:
    """Compile a model's parts and its loss for static shapes, and Adam's update; False, said once, where there is no
    C++ compiler."""
    if not can_compile(model.embedding.device):
        warn_once("training.step", "eager", "there is no C++ compiler (g++ or clang++), and with one it is faster.")
        return False
    torch.compiler.reset()  # another model's compiled forms would count against PyTorch's limit of variants
    for part in model.static_parts():
        part.compile(dynamic=False)
    model.cross_entropy = torch.compile(linear_cross_entropy, dynamic=False)
    model.mean_cross_entropy = partial(mean_cross_entropy, of_chunk=torch.compile(chunk_loss, dynamic=False))
    for optimizer in optimizers:
        if isinstance(optimizer, Adam):
            optimizer.one_pass = torch.compile(adam_in_one_pass, dynamic=True)  # of a parameter of any size
    record("training.step", "compiled")
    return True
