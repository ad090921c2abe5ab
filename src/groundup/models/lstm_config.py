"""The shape of an LSTM language model, as data: an embedding, `depth` layers of one width, an unembedding. No torch."""

from dataclasses import dataclass
from typing import Literal

from groundup.core.errors import ConfigError
from groundup.models.mixer_config import require_positive


@dataclass(frozen=True)
class LstmConfig:
    """`dropout` falls on what goes up, never on what goes from one time to the next (arXiv:1409.2329). `context_length`
    is what the model is trained on; its state would go on for any length."""

    vocab_size: int = 4096
    context_length: int = 256
    width: int = 256
    depth: int = 2
    tie_embeddings: bool = False
    dropout: float = 0.0
    kind: Literal["lstm"] = "lstm"

    def __post_init__(self) -> None:
        require_positive({name: getattr(self, name) for name in ("vocab_size", "context_length", "width", "depth")})
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout is {self.dropout}; it must be at least 0 and below 1.")
