"""What a step did, by group of parameters: norms of gradients, and how far the weights moved for their size.

An update ratio ‖Δw‖/‖w‖ of about 10⁻³ is a common sign of health for matrices; one that grows or dies is seen here
before the loss shows it. Measuring copies the weights, so it is done on some steps only.
"""

import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from groundup.optim.build import norm_of
from groundup.optim.master import master_of


@contextmanager
def update_ratios(optimizers: list[torch.optim.Optimizer], ratios: dict[str, float]) -> Iterator[None]:
    """Fill `ratios` with ‖Δw‖/‖w‖ of each group, `update_ratio_<group>`, for the step inside the block."""
    with torch.no_grad():
        before = {name: [weight.clone() for weight in weights] for name, weights in _masters(optimizers)}
    yield
    with torch.no_grad():
        for name, weights in _masters(optimizers):
            moved = norm_of([weight - old for weight, old in zip(weights, before[name], strict=True)])
            ratios[f"update_ratio_{name}"] = (moved / norm_of(before[name]).clamp_min(1e-30)).item()


def _masters(optimizers: list[torch.optim.Optimizer]) -> Iterator[tuple[str, list[Tensor]]]:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            yield group["name"], [master_of(each, optimizer.state[each]) for each in group["params"]]


def resident_bytes() -> int:
    """Memory that the process holds now; where the system does not tell, the most that it has held."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
