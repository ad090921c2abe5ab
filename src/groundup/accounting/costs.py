"""From FLOPs and bytes to time, money, energy and carbon; and what bounds a forward pass.

    time        FLOPs / (processors · peak FLOP/s · MFU)       MFU: model FLOPs utilisation (Chowdhery et al. 2022,
                                                               arXiv:2204.02311, appendix B)
    energy      hours · watts · overhead of the data centre    (Patterson et al. 2021, arXiv:2104.10350)
    carbon      energy · kg CO2e per kWh of the grid

    intensity   FLOPs / bytes moved between memory and processor
    roofline    time ≥ max(FLOPs / peak, bytes / bandwidth)    (Williams et al. 2009): prefill reads the weights once
                for all tokens and is bound by arithmetic, decoding reads them for one token a row, bound by memory

The bytes of a forward pass are weights, and the cache that it writes (prefill) or reads (decoding). Activations between
layers are left out: fused kernels keep most of them on the chip. Of a mixture's experts only those count that some
token passes, if each is chosen as often as the others.
"""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

from groundup.accounting.decoder import channel_cost, embedding_parameters, parameters
from groundup.accounting.flops import decode_flops, forward_flops
from groundup.accounting.hardware import Hardware
from groundup.accounting.memory import cache_bytes, size_of
from groundup.core.errors import ConfigError
from groundup.models.config import DecoderConfig
from groundup.models.mixer_config import MixtureOfExperts

SECONDS_PER_HOUR, HOURS_PER_DAY, WATTS_PER_KILOWATT = 3600, 24, 1000


@dataclass(frozen=True)
class Prices:
    """What an hour of one processor costs, and what a kilowatt-hour emits: 0.24 kg is about the mean of the European
    Union's grid; that of the world is twice as much. `overhead` is the power of the whole data centre over that of its
    processors; 1 leaves out host, network and cooling."""

    dollars_per_hour: float = 2.0
    kilograms_per_kilowatt_hour: float = 0.24
    overhead: float = 1.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 <= value < math.inf:
                raise ConfigError(f"{name} is {value}; it must be 0 or more.")
        if self.overhead < 1:
            raise ConfigError(f"The overhead is {self.overhead}; it must be at least 1, the processors alone.")


@dataclass(frozen=True)
class RunCost:
    """Of a whole run. Energy and carbon are None where the processor's power is unknown."""

    seconds: float
    gpu_hours: float
    dollars: float
    kilowatt_hours: float | None
    kilograms: float | None

    @property
    def days(self) -> float:
        return self.seconds / SECONDS_PER_HOUR / HOURS_PER_DAY


def run_cost(
    flops: float,
    hardware: Hardware,
    gpus: int = 1,
    mfu: float = 0.4,
    dtype: str = "bfloat16",
    prices: Prices | None = None,
) -> RunCost:
    """Of so many FLOPs on so many processors at a utilisation."""
    if gpus < 1:
        raise ConfigError(f"The number of GPUs is {gpus}; it must be at least 1.")
    if not 0 < mfu <= 1:
        raise ConfigError(f"MFU is {mfu}; it must be above 0 and at most 1, such as 0.4 for 40 %.")
    prices = prices or Prices()
    seconds = flops / (gpus * hardware.peak(dtype) * mfu)
    hours = seconds * gpus / SECONDS_PER_HOUR
    energy = None if hardware.watts is None else hours * hardware.watts * prices.overhead / WATTS_PER_KILOWATT
    carbon = None if energy is None else energy * prices.kilograms_per_kilowatt_hour
    return RunCost(seconds, hours, hours * prices.dollars_per_hour, energy, carbon)


def utilisation(flops: float, hardware: Hardware, gpu_hours: float, dtype: str = "bfloat16") -> float:
    """The MFU of a run that took so many hours of one processor."""
    return flops / (gpu_hours * SECONDS_PER_HOUR * hardware.peak(dtype))


class Work(NamedTuple):
    """What a forward pass computes and moves."""

    flops: int
    bytes: int

    @property
    def intensity(self) -> float:
        """FLOPs a byte."""
        return self.flops / self.bytes

    def seconds(self, hardware: Hardware, dtype: str = "bfloat16", gpus: int = 1) -> float:
        """At best, with the work spread evenly."""
        return max(self.flops / hardware.peak(dtype), self.bytes / hardware.bandwidth) / gpus

    def bound(self, hardware: Hardware, dtype: str = "bfloat16") -> str:
        """What it waits for: "arithmetic" or "memory"."""
        return "arithmetic" if self.intensity >= hardware.ridge(dtype) else "memory"


def prefill(config: DecoderConfig, rows: int, context: int, dtype: str = "bfloat16") -> Work:
    """Prompts of `context` tokens, up to the logits of their last tokens; the cache is written."""
    token = forward_flops(config, context)
    flops = rows * (context * token.layers.total + token.unembedding)
    moved = moved_weights(config, rows * context) * size_of(dtype) + cache_bytes(config, rows, context, dtype)
    return Work(flops, moved)


def decode(config: DecoderConfig, rows: int, context: int, dtype: str = "bfloat16") -> Work:
    """One more token for each row, which sees `context` tokens; the cache is read."""
    moved = moved_weights(config, rows) * size_of(dtype) + cache_bytes(config, rows, context, dtype)
    return Work(rows * decode_flops(config, context).total, moved)


def moved_weights(config: DecoderConfig, tokens: int) -> int:
    """How many parameters a forward pass of so many tokens reads: all but rows of tables that are not looked up (one a
    token is), experts that no token chose, and heads for further tokens."""
    tables = embedding_parameters(config)
    read = parameters(replace(config, prediction_heads=0)) - tables + min(tables, tokens * config.width)
    for layer in config.all_layers:
        if isinstance(layer.channel, MixtureOfExperts):
            E, chosen = layer.channel.num_experts, layer.channel.experts_per_token
            experts = channel_cost(layer.channel, config).idle * E // (E - chosen) if chosen < E else 0
            read -= round(experts * (1 - chosen / E) ** tokens)
    return read
