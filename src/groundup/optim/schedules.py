"""Learning-rate schedules: functions of the step that return a fraction of the peak; no torch."""

import math

from groundup.optim.config import OptimizerConfig


def learning_rate_fraction(config: OptimizerConfig, step: int, steps: int) -> float:
    """The fraction of the peak learning rate at `step` (0-based) of `steps`."""
    if config.schedule == "constant":
        return wsd(step, steps, config.warmup_steps, config.decay_fraction, final=1.0)
    if config.schedule == "wsd":
        return wsd(step, steps, config.warmup_steps, config.decay_fraction, config.final_fraction)
    return warmup_cosine(step, steps, config.warmup_steps, config.final_fraction)


def warmup_cosine(step: int, steps: int, warmup_steps: int, final: float) -> float:
    """(t+1)/warm-up, then final + (1-final)·½(1+cos πr) with r from 0 to 1, then final (arXiv:1608.03983, eq. 5)."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    ratio = min(1.0, (step - warmup_steps) / max(1, steps - warmup_steps))
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * ratio))


def wsd(step: int, steps: int, warmup_steps: int, decay_fraction: float, final: float) -> float:
    """Warm-up, stable, then a line down over the last `decay_fraction` of the steps (Hu et al., arXiv:2404.06395)."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    remaining = max(0.0, (steps - step) / max(1.0, steps * decay_fraction))
    return final + (1 - final) * min(1.0, remaining)
