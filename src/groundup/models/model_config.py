"""The shape of any language model, as data. No torch here."""

from typing import Annotated, Any

from pydantic import Discriminator, Tag

from groundup.core.config import decode, nearest
from groundup.core.errors import ConfigError
from groundup.models.config import DecoderConfig
from groundup.models.hierarchical_config import HierarchicalConfig
from groundup.models.lstm_config import LstmConfig


def _kind(value: Any) -> str:  # noqa: ANN401 - a config or JSON values
    """Which of them is meant; a decoder, where nothing is said."""
    return value.get("kind", "decoder") if isinstance(value, dict) else getattr(value, "kind", "decoder")


ModelConfig = Annotated[
    Annotated[DecoderConfig, Tag("decoder")]
    | Annotated[LstmConfig, Tag("lstm")]
    | Annotated[HierarchicalConfig, Tag("hierarchical")],
    Discriminator(_kind),
]

KINDS: dict[str, type[DecoderConfig | LstmConfig | HierarchicalConfig]] = {
    "decoder": DecoderConfig,
    "lstm": LstmConfig,
    "hierarchical": HierarchicalConfig,
}


def decode_model(data: Any, source: str) -> DecoderConfig | LstmConfig | HierarchicalConfig:  # noqa: ANN401
    """A config from JSON values; `source` is named in errors."""
    kind = _kind(data)
    if kind not in KINDS:
        raise ConfigError(f"{source}: there is no kind of model {kind!r}; {nearest(str(kind), KINDS)}")
    return decode(KINDS[kind], data, source)
