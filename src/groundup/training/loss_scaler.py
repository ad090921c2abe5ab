"""Dynamic loss scaling, for gradients in fp16 (Micikevicius et al. 2018, arXiv:1710.03740, section 3.2).

    backward pass of s·L;  g = (gradient) / s        s ← s/2 where g is not finite, and the update is left out
                                                     s ← 2s after so many finite steps

fp16 ends at 2⁻²⁴ = 6e-8, and many gradients lie below; bf16 and fp32 reach down to 1e-38 and need no scale. The largest
scale at which nothing overflows is the best, and it changes along a training, so it is raised until a gradient
overflows. The rule and its constants are those of `torch.amp.GradScaler`.
"""

from typing import Any

import torch
from torch import nn

FIRST_SCALE = 2.0**16
LEAST_SCALE = 2.0**-14  # a gradient that overflows at this scale is above 65,504 · 2¹⁴ = 1e9 or no number: hopeless
LARGEST_SCALE = 2.0**127  # of fp32, in which the loss is scaled
FINITE_STEPS = 2000


class LossScaler:
    """The scale, a power of two of at most `LARGEST_SCALE`, and the finite steps since it changed or overflowed."""

    def __init__(self, scale: float = FIRST_SCALE, finite_steps: int = 0, interval: int = FINITE_STEPS) -> None:
        self.scale, self.finite_steps, self.interval = scale, finite_steps, interval

    def update(self, finite: bool) -> None:
        """After each backward pass: whether all gradients were finite."""
        if not finite:
            self.scale, self.finite_steps = self.scale / 2, 0
            return
        self.finite_steps += 1
        if self.finite_steps == self.interval:
            self.scale, self.finite_steps = min(2 * self.scale, LARGEST_SCALE), 0

    @property
    def exhausted(self) -> bool:
        """Whether no scale is left that would help."""
        return self.scale < LEAST_SCALE

    @torch.no_grad()
    def unscale(self, model: nn.Module) -> None:
        """Divide the gradients by the scale, exactly: they are fp32 by now."""
        for parameter in model.parameters():
            if parameter.grad is not None:
                assert parameter.grad.dtype == torch.float32, "fp16 would lose again what the scale has saved"
                parameter.grad.mul_(1 / self.scale)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps; `LossScaler(**state)` goes on from it."""
        return {"scale": self.scale, "finite_steps": self.finite_steps}
