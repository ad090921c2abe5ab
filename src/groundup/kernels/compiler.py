"""Whether functions can be compiled on this machine: on a CPU, TorchInductor needs a C++ compiler."""

import os
import shutil

import torch


def can_compile(device: torch.device) -> bool:
    """Whether there is what `torch.compile` needs for a device."""
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    return device.type != "cpu" or (compiler is not None and shutil.which(compiler) is not None)
