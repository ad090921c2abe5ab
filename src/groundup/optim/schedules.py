"""Learning-rate schedules: functions of the step that return a fraction of the peak; no torch.

All rise over the warm-up by (t+1)/W for t = 0 .. W-1, so that no step is wasted on a rate of 0, and are 1 at its end.
"""

import math
from dataclasses import replace

from groundup.core.errors import ConfigError
from groundup.optim.config import OptimizerConfig
from groundup.optim.schedule_config import Constant, Cosine, InverseSquareRoot, Linear, Wsd


def learning_rate_fraction(config: OptimizerConfig, step: int, steps: int) -> float:
    """The fraction of the peak learning rate at `step` (0-based) of `steps`."""
    warmup, schedule = config.warmup_steps, config.schedule
    match schedule:
        case Constant():
            return min(1.0, (step + 1) / max(1, warmup))
        case Linear():
            return warmup_linear(step, steps, warmup, schedule.final_fraction)
        case Cosine():
            return warmup_cosine(step, steps, warmup, schedule.final_fraction)
        case Wsd():
            return wsd(step, steps, warmup, decay_length(schedule, steps), schedule.final_fraction, schedule.shape)
        case InverseSquareRoot():
            return inverse_square_root(step, warmup)


def warmup_linear(step: int, steps: int, warmup_steps: int, final: float) -> float:
    """Warm-up, then a line from 1 to `final` at `steps`, then `final` (Bergsma et al. 2025, arXiv:2502.15938)."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return final + (1 - final) * (1 - progress(step, steps, warmup_steps))


def warmup_cosine(step: int, steps: int, warmup_steps: int, final: float) -> float:
    """(t+1)/warm-up, then final + (1-final)·½(1+cos πr) with r from 0 to 1, then final (arXiv:1608.03983, eq. 5)."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress(step, steps, warmup_steps)))


def progress(step: int, steps: int, warmup_steps: int) -> float:
    """How much of the way from the end of the warm-up to the last step is behind, 0 to 1."""
    return min(1.0, (step - warmup_steps) / max(1, steps - warmup_steps))


def wsd(
    step: int, steps: int, warmup_steps: int, decay_steps: float, final: float = 0.0, shape: str = "linear"
) -> float:
    """Warm-up, stable, then down over the last `decay_steps` (Hu et al., arXiv:2404.06395), but not before the warm-up
    has ended; in a line, or as 1 - √r with r from 0 to 1, which Hägele et al. 2024, arXiv:2405.18392, find better."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    length = max(1.0, min(decay_steps, steps - warmup_steps))
    remaining = min(1.0, max(0.0, (steps - step) / length))
    return final + (1 - final) * (remaining if shape == "linear" else 1 - math.sqrt(1 - remaining))


def inverse_square_root(step: int, warmup_steps: int) -> float:
    """min((t+1)/W, √(W/(t+1))): as the first transformer, divided by its peak (arXiv:1706.03762, eq. 3)."""
    warmup = max(1, warmup_steps)
    return min((step + 1) / warmup, math.sqrt(warmup / (step + 1)))


def decay_length(schedule: Wsd, steps: int) -> float:
    """Over how many of `steps` the rate falls."""
    return schedule.decay_steps or steps * schedule.decay_fraction


def branch(config: OptimizerConfig, step: int, steps: int, decay_steps: int) -> tuple[OptimizerConfig, int]:
    """The config and the number of steps of a run that takes over the checkpoint of `step` from a run of `steps` with
    this config, and decays from there at once, over `decay_steps`.

    Such a run has had the rates of one that was planned with that horizon from the start. A checkpoint from the decay
    itself has not, and is refused.
    """
    schedule = config.schedule
    if not isinstance(schedule, Constant | Wsd):
        raise ConfigError(f"A decay branches off a wsd or constant schedule; this one is {schedule.kind}.")
    stable = steps if isinstance(schedule, Constant) else math.floor(steps - decay_length(schedule, steps))
    if not config.warmup_steps <= step <= max(stable, config.warmup_steps):
        raise ConfigError(
            f"Step {step} is not in the stable phase of the run, which goes from {config.warmup_steps} to {stable}; "
            "branch off an earlier checkpoint."
        )
    if decay_steps < 1:
        raise ConfigError(f"decay_steps is {decay_steps}; a decay takes at least 1 step.")
    decaying = replace(schedule, decay_steps=decay_steps) if isinstance(schedule, Wsd) else Wsd(decay_steps=decay_steps)
    return replace(config, schedule=decaying), step + decay_steps
