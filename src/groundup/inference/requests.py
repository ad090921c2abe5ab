"""What is asked of a model and what comes back; no torch, so that servers and the command line can build requests."""

from dataclasses import dataclass

from groundup.core.errors import ConfigError


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn. Temperature 0 is greedy; `top_k` 0 and `top_p` 1 keep every token."""

    max_tokens: int = 128
    temperature: float = 0.8
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ConfigError(f"max_tokens is {self.max_tokens}; it must be at least 1.")
        if not 0 <= self.temperature <= 100:
            raise ConfigError(f"temperature is {self.temperature}; it must be between 0 (greedy) and 100.")
        if self.top_k < 0:
            raise ConfigError(f"top_k is {self.top_k}; it must be 0 (off) or more.")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p is {self.top_p}; it must be above 0 and at most 1.")


@dataclass(frozen=True)
class Request:
    """A prompt in token ids; ends at a stop id (kept in `ids`, not in `text`), a stop string, or the limit."""

    prompt: tuple[int, ...]
    sampling: Sampling = Sampling()
    stop_ids: tuple[int, ...] = ()
    stop_strings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if "" in self.stop_strings:
            raise ConfigError("A stop string is empty, which would end every text at once; leave it out.")


@dataclass(frozen=True)
class Delta:
    """A piece of a streamed completion; `text` holds whole characters only. The last one has a finish reason."""

    text: str
    ids: tuple[int, ...]
    finish_reason: str | None = None


@dataclass(frozen=True)
class Completion:
    """A finished generation; `logprobs` are of the sampled ids under the sampling temperature, before any filter."""

    ids: tuple[int, ...]
    text: str
    logprobs: tuple[float, ...]
    finish_reason: str  # "stop" or "length"
