"""What processors can do at best: FLOP/s by number format, memory, bandwidth, power. A table, as data.

Rates are dense: without the factor of 2 that makers print for matrices with half their entries 0. float32 is the rate
without tensor cores, "tf32" the one with them (float32 in memory, products of 10-bit fractions). Sizes and powers of
ten as printed: 80 GB is 80 · 10⁹ bytes. Watts are the most that the card may draw, without host and cooling.

Sources, all of the makers:
    h100      NVIDIA H100 Tensor Core GPU Architecture, table of peak rates; H100 data sheet (SXM5, 80 GB HBM3)
    a100      NVIDIA A100 Tensor Core GPU data sheet (SXM4, 80 GB HBM2e)
    b200      NVIDIA Blackwell Architecture Technical Brief, HGX B200 at 1,000 W; 180 of its 192 GB are usable
    rtx4090   NVIDIA Ada GPU Architecture, appendix A, with float32 accumulation
    tpu-v5e   cloud.google.com/tpu/docs/v5e; the power of a chip is not published
    tpu-v5p   cloud.google.com/tpu/docs/v5p; the power of a chip is not published

A processor that is not in the table is a `Hardware` of measured rates (`kernels/peak.py` measures this machine's).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from groundup.core.config import nearest
from groundup.core.errors import ConfigError, MissingError


@dataclass(frozen=True)
class Hardware:
    """One processor. `watts` None is unknown, so that energy cannot be told."""

    name: str
    peak_flops: Mapping[str, float]
    """FLOP/s (or integer operations) by number format."""
    memory_bytes: float
    bandwidth: float
    """Bytes a second between memory and processor."""
    watts: float | None = None

    def __post_init__(self) -> None:
        numbers = {**self.peak_flops, "memory": self.memory_bytes, "bandwidth": self.bandwidth}
        for name, value in {**numbers, "watts": 1.0 if self.watts is None else self.watts}.items():
            if not value > 0:
                raise ConfigError(f"{name} of {self.name} is {value}; it must be above 0.")

    def peak(self, dtype: str) -> float:
        """FLOP/s in a number format."""
        if dtype not in self.peak_flops:
            known = ", ".join(self.peak_flops)
            raise ConfigError(f"No rate is known of {self.name} in {dtype}; choose one of {known}.")
        return self.peak_flops[dtype]

    def ridge(self, dtype: str) -> float:
        """FLOPs a byte, from which on work waits for the arithmetic instead of the memory."""
        return self.peak(dtype) / self.bandwidth


def _rates(**tera: float) -> dict[str, float]:
    return {dtype: rate * 1e12 for dtype, rate in tera.items()}


HARDWARE: dict[str, Hardware] = {
    "h100": Hardware(
        "H100 SXM",
        _rates(float32=66.9, tf32=494.7, bfloat16=989.4, float16=989.4, float8=1978.9, int8=1978.9),
        memory_bytes=80e9,
        bandwidth=3.35e12,
        watts=700,
    ),
    "a100": Hardware(
        "A100 SXM 80 GB",
        _rates(float32=19.5, tf32=156, bfloat16=312, float16=312, int8=624),
        memory_bytes=80e9,
        bandwidth=2.039e12,
        watts=400,
    ),
    "b200": Hardware(
        "B200 SXM",
        _rates(float32=80, tf32=1100, bfloat16=2250, float16=2250, float8=4500, int8=4500),
        memory_bytes=180e9,
        bandwidth=8e12,
        watts=1000,
    ),
    "rtx4090": Hardware(
        "RTX 4090",
        _rates(float32=82.6, tf32=82.6, bfloat16=165.2, float16=165.2, float8=330.3, int8=660.6),
        memory_bytes=24e9,
        bandwidth=1.008e12,
        watts=450,
    ),
    "tpu-v5e": Hardware("TPU v5e", _rates(bfloat16=197, int8=393), memory_bytes=16e9, bandwidth=819e9),
    "tpu-v5p": Hardware("TPU v5p", _rates(bfloat16=459), memory_bytes=95e9, bandwidth=2.765e12),
}


def hardware(name: str) -> Hardware:
    """A processor of the table."""
    if name not in HARDWARE:
        raise MissingError(f"There is no hardware {name!r}; {nearest(name, HARDWARE)}")
    return HARDWARE[name]
