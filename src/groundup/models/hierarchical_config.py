"""The shape of a hierarchical decoder over bytes, as data. No torch here.

Bytes are tokens 0 to 255, special tokens have the numbers behind them. Three stacks of layers: `encoder_depth` and
`decoder_depth` local ones over bytes, of `local_width`, and between them `depth` global ones over patches, of `width`.
"""

import math
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from groundup.core.errors import ConfigError
from groundup.models.config import DecoderConfig, Layer, Norm
from groundup.models.mixer_config import Attention, require_positive

NUM_BYTES = 256


@dataclass(frozen=True)
class FixedPatches:
    """A patch ends every `size` bytes (MegaByte, arXiv:2305.07185)."""

    size: int = 8
    kind: Literal["fixed"] = "fixed"

    def __post_init__(self) -> None:
        require_positive({"The patches' size": self.size})

    def most(self, num_bytes: int) -> int:
        """The largest number of patches in so many bytes."""
        return math.ceil(num_bytes / self.size)


@dataclass(frozen=True)
class SpacePatches:
    """A patch ends with the first byte behind a word that is neither letter, digit nor the continuation of a UTF-8
    character, or with a special token (SpaceByte, arXiv:2404.14408, section 2)."""

    kind: Literal["spaces"] = "spaces"

    def most(self, num_bytes: int) -> int:
        """The largest number of patches in so many bytes: special tokens may follow each other."""
        return num_bytes


Patches = Annotated[FixedPatches | SpacePatches, Field(discriminator="kind")]


@dataclass(frozen=True)
class HierarchicalConfig:
    """`context_length` counts bytes. A `window` in the local layers keeps their cost linear in it; SpaceByte's is as
    long as the local width."""

    vocab_size: int = NUM_BYTES + 1
    context_length: int = 1024
    patches: Patches = SpacePatches()
    width: int = 256
    depth: int = 6
    layers: tuple[Layer, ...] = (Layer(),)
    local_width: int = 128
    encoder_depth: int = 3
    decoder_depth: int = 3
    local_layers: tuple[Layer, ...] = (Layer(Attention(window=128)),)
    norm: Norm = field(default_factory=Norm)
    tie_embeddings: bool = False
    dropout: float = 0.0
    kind: Literal["hierarchical"] = "hierarchical"

    def __post_init__(self) -> None:
        if self.vocab_size < NUM_BYTES:
            raise ConfigError(
                f"vocab_size is {self.vocab_size}; a model of bytes has {NUM_BYTES} of them and its special tokens."
            )
        names = ("context_length", "width", "depth", "local_width", "encoder_depth", "decoder_depth")
        require_positive({name: getattr(self, name) for name in names})
        for part in ("encoder", "global_decoder", "local_decoder"):
            try:
                getattr(self, part)
            except ConfigError as error:
                raise ConfigError(f"In the {part.replace('_', ' ')}: {error}") from None

    @property
    def encoder(self) -> DecoderConfig:
        """The local layers in front of the global ones."""
        return self._stack(self.context_length, self.local_width, self.encoder_depth, self.local_layers)

    @property
    def global_decoder(self) -> DecoderConfig:
        """The layers over patches; its context is the largest number of them."""
        return self._stack(self.patches.most(self.context_length), self.width, self.depth, self.layers)

    @property
    def local_decoder(self) -> DecoderConfig:
        """The local layers behind the global ones."""
        return self._stack(self.context_length, self.local_width, self.decoder_depth, self.local_layers)

    def _stack(self, context_length: int, width: int, depth: int, layers: tuple[Layer, ...]) -> DecoderConfig:
        return DecoderConfig(
            vocab_size=self.vocab_size,
            context_length=context_length,
            width=width,
            depth=depth,
            layers=layers,
            norm=self.norm,
            dropout=self.dropout,
        )
