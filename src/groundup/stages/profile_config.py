"""What a profile is asked for, as data; no torch, so that the command line's help is instant."""

from dataclasses import dataclass, field

from groundup.core.errors import ConfigError
from groundup.stages.config import PretrainConfig, require_positive


@dataclass(frozen=True)
class ProfileConfig:
    """The training whose steps are measured, and how many of them: `warmup` that nobody times, then `repeats` that the
    clock sees, then `traced` under PyTorch's profiler. `compare_eager` measures the step uncompiled as well,
    `compare_recompute` the step that keeps all activations."""

    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    warmup: int = 3
    repeats: int = 10
    traced: int = 2
    compare_eager: bool = False
    compare_recompute: bool = False

    def __post_init__(self) -> None:
        require_positive(self, "warmup", "repeats", "traced")
        if self.compare_eager and not self.pretrain.compute.compile:
            raise ConfigError(
                "compare_eager sets the uncompiled step beside the compiled one, and compute.compile is off here; "
                "leave one of them out."
            )
        if self.compare_recompute and not self.pretrain.recompute:
            raise ConfigError(
                "compare_recompute sets the step that keeps all activations beside the one that computes them again, "
                "and nothing is recomputed here; give --recompute 1 too."
            )
