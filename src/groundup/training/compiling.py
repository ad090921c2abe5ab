"""Compilation of the training step, where the machine can do it and it pays.

Each block is compiled by itself: all blocks share one compiled function, so the wait does not grow with depth. Together
with the loss that is 10 to 30 seconds, once; TorchInductor keeps the result on disk.
"""

import os
import shutil

import torch

from groundup.core.logging import get_logger
from groundup.kernels.cross_entropy import linear_cross_entropy
from groundup.kernels.dispatch import record, warn_once
from groundup.models.language_model import LanguageModel

logger = get_logger(__name__)


def compile_for_training(model: LanguageModel) -> bool:
    """Compile a model's parts and its loss for static shapes; False, said once, where there is no C++ compiler."""
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if model.embedding.device.type == "cpu" and (compiler is None or shutil.which(compiler) is None):
        warn_once("training.step", "eager", "there is no C++ compiler (g++ or clang++), and with one it is faster.")
        return False
    torch.compiler.reset()  # another model's compiled forms would count against PyTorch's limit of variants
    for part in model.static_parts():
        part.compile(dynamic=False)
    model.cross_entropy = torch.compile(linear_cross_entropy, dynamic=False)
    record("training.step", "compiled")
    return True
