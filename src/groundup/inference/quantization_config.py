"""How a checkpoint is quantised (`quantization.py`), as data; no torch, so that the command line's help is instant."""

from dataclasses import dataclass
from typing import Literal

from groundup.core.errors import ConfigError

GROUPS = (128, 64, 32)


@dataclass(frozen=True)
class QuantizationConfig:
    """How weights are rounded. `group` columns of a row share a scale; 0 is the whole row with 8 bits and, because 4
    bits need finer scales, the largest of 128, 64 and 32 that divides it with 4."""

    bits: Literal[8, 4] = 8
    """Bits of a weight."""
    method: Literal["rtn", "awq"] = "rtn"
    """rtn: round to nearest. awq: first scale up the columns that see large activations of calibration texts."""
    group: int = 0
    """Columns that share a scale; 0 for the usual number."""

    def __post_init__(self) -> None:
        if self.bits not in (4, 8):
            raise ConfigError(f"bits is {self.bits}; weights can have 8 or 4.")
        if self.method not in ("rtn", "awq"):
            raise ConfigError(f"method is {self.method!r}; choose rtn (round to nearest) or awq (activation-aware).")
        if self.group < 0 or self.group % 2:
            raise ConfigError(f"group is {self.group}; it must be an even number of columns, or 0 for the usual one.")

    def group_of(self, columns: int) -> int:
        """Columns that share a scale in a row of so many."""
        if self.group and columns % self.group == 0:
            return self.group
        if self.bits == 8 or columns % GROUPS[-1]:
            return columns
        return next(group for group in GROUPS if columns % group == 0)
