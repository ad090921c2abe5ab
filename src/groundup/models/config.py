"""The shape of a decoder, as data. No torch here, so that accounting and the command line start fast."""

import math
from dataclasses import dataclass

from groundup.core.errors import ConfigError


@dataclass(frozen=True)
class DecoderConfig:
    """A pre-norm decoder: RMSNorm, rotary positions, grouped-query attention, SwiGLU.

    `mlp_width` is the hidden width of the gated MLP, about 8/3 of `width` for the cost of a plain 4x MLP.
    """

    vocab_size: int = 4096
    context_length: int = 256
    width: int = 256
    depth: int = 6
    num_heads: int = 4
    num_kv_heads: int = 4
    mlp_width: int = 704
    rope_base: float = 10_000.0
    norm_epsilon: float = 1e-5
    qk_norm: bool = True
    tie_embeddings: bool = False

    def __post_init__(self) -> None:
        for name in ("vocab_size", "context_length", "width", "depth", "num_heads", "num_kv_heads", "mlp_width"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        for name in ("rope_base", "norm_epsilon"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be above 0 and finite.")
        if self.width % self.num_heads:
            raise ConfigError(
                f"width {self.width} is not a multiple of num_heads {self.num_heads}; change one of them."
            )
        if self.head_width % 2:
            raise ConfigError(f"width / num_heads is {self.head_width}; rotary positions need an even head width.")
        if self.num_heads % self.num_kv_heads:
            raise ConfigError(
                f"num_heads {self.num_heads} is not a multiple of num_kv_heads {self.num_kv_heads}; change one of them."
            )

    @property
    def head_width(self) -> int:
        return self.width // self.num_heads
