"""Threads and number format of a run: decided once, written down, and the same again after a resume."""

import os
from pathlib import Path
from typing import NamedTuple

import torch

from groundup.core.files import read_json, write_json
from groundup.kernels.peak import fastest_dtype, measured_matmul_flops
from groundup.stages.config import ComputeConfig
from groundup.training.precision import PRECISIONS, Precision, precision_of


class Compute(NamedTuple):
    """The number formats that the model computes in, and the measured rate of matrix products in theirs, FLOP/s."""

    precision: Precision
    peak_flops: float


def prepare_compute(config: ComputeConfig, out: Path) -> Compute:
    """Set the threads; choose the dtype by measurement, or as an earlier start of the same run did."""
    record = out / "compute.json"
    if record.exists():
        known = read_json(record)
        torch.set_num_threads(known["threads"])  # sums over another number of threads round differently
        return Compute(PRECISIONS[known["dtype"]], known["peak_flops"])
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(config.threads or cores)
    precision = precision_of(fastest_dtype()) if config.dtype == "auto" else PRECISIONS[config.dtype]
    peak = measured_matmul_flops(precision.products)
    write_json(record, {"dtype": precision.name, "peak_flops": peak, "threads": torch.get_num_threads()})
    return Compute(precision, peak)
