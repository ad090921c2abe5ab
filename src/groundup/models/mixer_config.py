"""What a layer is made of, as data: one sequence mixer, which moves information between tokens, and one channel mixer,
which works on each token alone. Each class here has a file of the same subject with its module.

    sequence   Attention            attention.py          channel   DenseMLP           dense_mlp.py
               SharedAttention      shared_attention.py             GatedMLP           gated_mlp.py
               LatentAttention      latent_attention.py             MixtureOfExperts   mixture_of_experts.py
               LinearAttention      linear_attention.py             NoChannel
               DeltaRule            delta_rule.py
               StateSpace           state_space.py

A width of 0 is derived from the decoder's. `check(width)` refuses what cannot work at that width, with the reason.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from groundup.core.errors import ConfigError
from groundup.models.position_config import Alibi, Position, Rotary

Activation = Literal["relu", "squared_relu", "gelu", "gelu_tanh", "silu"]
QkNorm = Literal["none", "head", "width"]
WIDTH_MULTIPLE = 64  # of a derived hidden width


@dataclass(frozen=True)
class Attention:
    """Softmax attention: multi-head, grouped-query or multi-query by `num_kv_heads` (arXiv:1706.03762, 2305.13245).

    `window`: a token sees so many tokens, itself included (arXiv:2004.05150). `qk_norm` normalises queries and keys,
    each head by itself or all together (arXiv:2302.05442). `soft_cap` c bounds scores to c tanh(score / c) (Gemma 2,
    arXiv:2408.00118). `sinks`: one learned score a head that takes its share of the softmax (arXiv:2309.17453).
    `scale` None is 1/√head width.
    """

    num_heads: int = 4
    num_kv_heads: int = 4
    head_width: int = 0
    position: Position = field(default_factory=Rotary)
    window: int | None = None
    qk_norm: QkNorm = "head"
    soft_cap: float | None = None
    sinks: bool = False
    scale: float | None = None
    bias: bool = False
    kind: Literal["attention"] = "attention"

    def width_of_head(self, width: int) -> int:
        return self.head_width or width // self.num_heads

    def check(self, width: int) -> None:
        require_positive({"num_heads": self.num_heads, "num_kv_heads": self.num_kv_heads})
        require_heads(width, self.num_heads, self.head_width)
        if self.num_heads % self.num_kv_heads:
            raise ConfigError(
                f"num_heads {self.num_heads} is not a multiple of num_kv_heads {self.num_kv_heads}; change one of them."
            )
        require_rotary(self.position, self.width_of_head(width))
        if self.window is not None and self.window < 1:
            raise ConfigError(f"window is {self.window}; a token sees at least itself, or leave it out.")
        require_above_zero({"soft_cap": self.soft_cap, "scale": self.scale})


@dataclass(frozen=True)
class SharedAttention:
    """Attention with queries of its own and the keys and values of the attention layer `distance` layers before
    (cross-layer attention, arXiv:2405.12981). What it shares (heads, positions, window) is that layer's."""

    distance: int = 1
    kind: Literal["shared_attention"] = "shared_attention"

    def check(self, width: int) -> None:
        require_positive({"distance": self.distance})


@dataclass(frozen=True)
class LatentAttention:
    """Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434, section 2.1): keys and values come from one latent
    of `latent_width` a token, which is all that is cached, with one rotary key of `rotary_width` for all heads.

    `query_latent_width` 0 makes queries directly from the token. `scale` None is 1/√(head_width + rotary_width).
    """

    num_heads: int = 4
    head_width: int = 64
    value_width: int = 64
    rotary_width: int = 32
    latent_width: int = 128
    query_latent_width: int = 0
    rotary: Rotary = field(default_factory=Rotary)
    scale: float | None = None
    kind: Literal["latent_attention"] = "latent_attention"

    def check(self, width: int) -> None:
        names = ("num_heads", "head_width", "value_width", "rotary_width", "latent_width")
        require_positive({name: getattr(self, name) for name in names})
        if self.query_latent_width < 0:
            raise ConfigError(f"query_latent_width is {self.query_latent_width}; it must be 0 (none) or more.")
        if self.rotary.fraction != 1:
            raise ConfigError(
                f"rotary.fraction is {self.rotary.fraction}; the rotary part of latent attention is `rotary_width` "
                "wide and turned whole, so set that width instead."
            )
        require_rotary(self.rotary, self.rotary_width)
        require_above_zero({"scale": self.scale})


@dataclass(frozen=True)
class LinearAttention:
    """Attention without softmax, φ(q)ᵀ Σ φ(k) vᵀ / φ(q)ᵀ Σ φ(k) with φ = ELU + 1: a state of fixed size replaces the
    cache (arXiv:2006.16236, eq. 9). Positions are known by `position` only (rotary, before φ) or not at all."""

    num_heads: int = 4
    head_width: int = 0
    position: Position = field(default_factory=Rotary)
    kind: Literal["linear_attention"] = "linear_attention"

    def width_of_head(self, width: int) -> int:
        return self.head_width or width // self.num_heads

    def check(self, width: int) -> None:
        require_positive({"num_heads": self.num_heads})
        require_heads(width, self.num_heads, self.head_width)
        require_rotary(self.position, self.width_of_head(width))
        if isinstance(self.position, Alibi):
            raise ConfigError("Linear attention has no scores that ALiBi could lower; use rotary positions or none.")


@dataclass(frozen=True)
class DeltaRule:
    """A state that is corrected towards each new value, S ← α S (I - β k kᵀ) + β v kᵀ, with learned β and, if `gated`,
    a learned decay α (DeltaNet, arXiv:2406.06484; Gated DeltaNet, arXiv:2412.06464); the gate of the output stays
    either way. Keys, queries and values pass a short causal convolution first."""

    num_heads: int = 4
    key_width: int = 0
    value_width: int = 0
    convolution: int = 4
    gated: bool = True
    kind: Literal["delta_rule"] = "delta_rule"

    def widths(self, width: int) -> tuple[int, int]:
        """Of a head's key and of its value."""
        return self.key_width or width // self.num_heads, self.value_width or width // self.num_heads

    def check(self, width: int) -> None:
        require_positive({"num_heads": self.num_heads, "convolution": self.convolution})
        for given in (self.key_width, self.value_width):
            require_heads(width, self.num_heads, given)


@dataclass(frozen=True)
class StateSpace:
    """Mamba-2: h ← exp(Δ A) h + Δ B xᵀ, y = Cᵀ h + D x with scalar A a head, computed in chunks (arXiv:2405.21060).

    The inner width is `expansion` · width, in heads of `head_width`; `groups` of heads share B and C, whose width is
    `state_width`.
    """

    expansion: int = 2
    head_width: int = 64
    state_width: int = 64
    groups: int = 1
    convolution: int = 4
    chunk: int = 64
    kind: Literal["state_space"] = "state_space"

    def num_heads(self, width: int) -> int:
        return self.expansion * width // self.head_width

    def check(self, width: int) -> None:
        names = ("expansion", "head_width", "state_width", "groups", "convolution", "chunk")
        require_positive({name: getattr(self, name) for name in names})
        if self.expansion * width % self.head_width:
            raise ConfigError(
                f"The inner width {self.expansion * width} (expansion · width) is not a multiple of head_width "
                f"{self.head_width}; change one of them."
            )
        if self.num_heads(width) % self.groups:
            raise ConfigError(
                f"The {self.num_heads(width)} heads of the state-space layer do not divide into {self.groups} groups."
            )


SequenceMixer = Annotated[
    Attention | SharedAttention | LatentAttention | LinearAttention | DeltaRule | StateSpace,
    Field(discriminator="kind"),
]


@dataclass(frozen=True)
class DenseMLP:
    """W_down f(W_up x); `hidden_width` 0 is 4 · width."""

    hidden_width: int = 0
    activation: Activation = "gelu"
    bias: bool = False
    kind: Literal["dense"] = "dense"

    def hidden(self, width: int) -> int:
        return self.hidden_width or 4 * width

    def check(self, width: int) -> None:
        require_positive({"hidden_width": self.hidden(width)})


@dataclass(frozen=True)
class GatedMLP:
    """W_down (f(W_gate x) · W_up x) (arXiv:2002.05202): SwiGLU with SiLU, GeGLU with GELU, ReGLU with ReLU.

    `hidden_width` 0 is 8/3 · width, rounded to 64: the cost of a dense MLP of 4 · width.
    """

    hidden_width: int = 0
    activation: Activation = "silu"
    bias: bool = False
    kind: Literal["gated"] = "gated"

    def hidden(self, width: int) -> int:
        return self.hidden_width or rounded(8 * width / 3)

    def check(self, width: int) -> None:
        require_positive({"hidden_width": self.hidden(width)})


@dataclass(frozen=True)
class MixtureOfExperts:
    """Each token passes `experts_per_token` of `num_experts` gated MLPs, and all of them a shared one.

    `routing` "tokens": each token chooses its experts (arXiv:1701.06538, 2101.03961), none is dropped; "experts": each
    expert chooses its share of the tokens (arXiv:2202.09368), which looks ahead, so such a decoder cannot be cached.
    `gate` "softmax" or "sigmoid" (DeepSeek-V3, arXiv:2412.19437) scores; `normalize` makes the chosen weights sum to 1,
    times `scale`. Balance: `balance_loss` α N Σ f P (arXiv:2101.03961, eq. 4), `router_z_loss` (arXiv:2202.08906,
    eq. 5), and without a loss `balance_bias_rate`, by which a bias that only choosing sees moves (arXiv:2408.15664).
    `groups` > 1: a token first chooses `groups_per_token` groups of experts by their best two (arXiv:2412.19437).
    """

    num_experts: int = 8
    experts_per_token: int = 2
    hidden_width: int = 0
    shared_width: int = 0
    activation: Activation = "silu"
    routing: Literal["tokens", "experts"] = "tokens"
    gate: Literal["softmax", "sigmoid"] = "softmax"
    normalize: bool = True
    scale: float = 1.0
    balance_loss: float = 0.0
    router_z_loss: float = 0.0
    balance_bias_rate: float = 0.0
    groups: int = 1
    groups_per_token: int = 1
    kind: Literal["mixture"] = "mixture"

    def hidden(self, width: int) -> int:
        """Of one expert; derived, all active ones together are as wide as a gated MLP."""
        return self.hidden_width or rounded(8 * width / 3 / self.experts_per_token)

    def check(self, width: int) -> None:
        names = ("num_experts", "experts_per_token", "groups", "groups_per_token")
        require_positive({name: getattr(self, name) for name in names})
        if self.experts_per_token > self.num_experts:
            raise ConfigError(
                f"experts_per_token is {self.experts_per_token}, but num_experts is {self.num_experts}; a token cannot "
                "pass more experts than there are."
            )
        if self.num_experts % self.groups or self.groups_per_token > self.groups:
            raise ConfigError(
                f"{self.num_experts} experts do not divide into {self.groups} groups of which a token chooses "
                f"{self.groups_per_token}."
            )
        if self.experts_per_token > self.num_experts // self.groups * self.groups_per_token:
            raise ConfigError(
                f"experts_per_token is {self.experts_per_token}, but {self.groups_per_token} groups of "
                f"{self.num_experts // self.groups} experts hold fewer."
            )
        if self.routing == "tokens" and self.experts_per_token == 1 and self.normalize:
            raise ConfigError(
                "With one expert a token its normalised weight is always 1, so the router would not learn; set "
                "normalize to false."
            )
        if self.routing == "experts" and (self.groups > 1 or self.balance_bias_rate or self.balance_loss):
            raise ConfigError("Experts that choose their tokens are balanced already: leave out groups and balancing.")
        for name in ("shared_width", "balance_loss", "router_z_loss", "balance_bias_rate"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be 0 or more.")
        require_above_zero({"scale": self.scale})


@dataclass(frozen=True)
class NoChannel:
    """No channel mixer: a layer of Mamba-2 has none."""

    kind: Literal["none"] = "none"

    def check(self, width: int) -> None:
        pass


ChannelMixer = Annotated[DenseMLP | GatedMLP | MixtureOfExperts | NoChannel, Field(discriminator="kind")]


def rounded(width: float) -> int:
    """The nearest multiple of 64, at least one."""
    return max(1, round(width / WIDTH_MULTIPLE)) * WIDTH_MULTIPLE


def require_positive(values: Mapping[str, int]) -> None:
    for name, value in values.items():
        if value < 1:
            raise ConfigError(f"{name} is {value}; it must be at least 1.")


def require_above_zero(values: Mapping[str, float | None]) -> None:
    for name, value in values.items():
        if value is not None and not 0 < value < math.inf:
            raise ConfigError(f"{name} is {value}; it must be above 0 and finite.")


def require_heads(width: int, num_heads: int, head_width: int) -> None:
    """A head width is given, or the width divides into the heads."""
    if head_width < 0:
        raise ConfigError(f"head_width is {head_width}; it must be at least 1, or 0 for width / num_heads.")
    if not head_width and width % num_heads:
        raise ConfigError(
            f"width {width} is not a multiple of num_heads {num_heads}; change one of them or give head_width."
        )


def require_rotary(position: Position, head_width: int) -> None:
    """Rotary positions turn pairs."""
    if isinstance(position, Rotary):
        turned = position.turned(head_width)
        if turned < 2 or turned % 2:
            raise ConfigError(
                f"Rotary positions would turn {turned} entries of a head of width {head_width}; they turn pairs, so it "
                "must be an even number above 0."
            )
