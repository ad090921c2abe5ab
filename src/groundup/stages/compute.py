"""Threads and number format of a run: decided once, written down, and the same again after a resume."""

import os
from pathlib import Path
from typing import NamedTuple

import torch

from groundup.core.files import read_json, write_json
from groundup.kernels.peak import measured_matmul_flops
from groundup.stages.config import ComputeConfig

BF16_MUST_BE_FASTER_BY = 1.2


class Compute(NamedTuple):
    """The number format that the model computes in, and the measured rate of matrix products in it, FLOP/s."""

    dtype: torch.dtype
    peak_flops: float


def prepare_compute(config: ComputeConfig, out: Path) -> Compute:
    """Set the threads; choose the dtype by measurement, or as an earlier start of the same run did."""
    record = out / "compute.json"
    if record.exists():
        known = read_json(record)
        torch.set_num_threads(known["threads"])  # sums over another number of threads round differently
        return Compute(getattr(torch, known["dtype"]), known["peak_flops"])
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(config.threads or cores)
    name = config.dtype
    candidates = ("bfloat16", "float32") if name == "auto" else (name,)
    rates = {candidate: measured_matmul_flops(getattr(torch, candidate)) for candidate in candidates}
    if name == "auto":
        name = "bfloat16" if rates["bfloat16"] > BF16_MUST_BE_FASTER_BY * rates["float32"] else "float32"
    write_json(
        record, {"dtype": name, "peak_flops": rates[name], "measured": rates, "threads": torch.get_num_threads()}
    )
    return Compute(getattr(torch, name), rates[name])
