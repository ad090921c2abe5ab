"""What is asked of a model and what comes back; no torch, so that servers and the command line can build requests."""

from dataclasses import dataclass
from typing import Literal

from groundup.core.errors import ConfigError


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn. Temperature 0 is greedy; `top_k` 0, `top_p` 1 and `min_p` 0 keep every token.

    `repetition_penalty` r divides the positive logits of tokens that stand in the text so far by r and multiplies the
    negative ones (Keskar et al. 2019, arXiv:1909.05858, section 4.1); `presence_penalty` and `frequency_penalty` are
    subtracted from those of tokens that were sampled, once and for each time. `logit_bias` is added: (id, bias).
    """

    max_tokens: int = 128
    temperature: float = 0.8
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ConfigError(f"max_tokens is {self.max_tokens}; it must be at least 1.")
        if not 0 <= self.temperature <= 100:
            raise ConfigError(f"temperature is {self.temperature}; it must be between 0 (greedy) and 100.")
        if self.top_k < 0:
            raise ConfigError(f"top_k is {self.top_k}; it must be 0 (off) or more.")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p is {self.top_p}; it must be above 0 and at most 1.")
        if not 0 <= self.min_p <= 1:
            raise ConfigError(f"min_p is {self.min_p}; it must be between 0 (off) and 1.")
        if not 0 < self.repetition_penalty <= 100:
            raise ConfigError(
                f"repetition_penalty is {self.repetition_penalty}; it must be above 0 (1: off), up to 100."
            )
        for name in ("presence_penalty", "frequency_penalty"):
            if not abs(getattr(self, name)) <= 100:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be between -100 and 100.")
        for token, bias in self.logit_bias:
            if token < 0 or not abs(bias) <= 1000:
                raise ConfigError(
                    f"logit_bias of token {token} is {bias}; it must be between -1000 and 1000, of an id."
                )

    @property
    def changes_logits(self) -> bool:
        """Whether anything but the temperature does."""
        penalties = (self.repetition_penalty, self.presence_penalty, self.frequency_penalty)
        return bool(self.logit_bias) or penalties != (1, 0, 0)


@dataclass(frozen=True)
class Grammar:
    """What the text must look like: a regular expression, a JSON schema, or a grammar in Lark's notation."""

    kind: Literal["regex", "json_schema", "lark"]
    definition: str


@dataclass(frozen=True)
class Request:
    """A prompt in token ids; ends at a stop id (kept in `ids`, not in `text`), a stop string, or the limit.

    With `alternatives` n the model's own log-probabilities of each token and of the n likeliest come back too.
    """

    prompt: tuple[int, ...]
    sampling: Sampling = Sampling()
    stop_ids: tuple[int, ...] = ()
    stop_strings: tuple[str, ...] = ()
    alternatives: int | None = None
    grammar: Grammar | None = None

    def __post_init__(self) -> None:
        if "" in self.stop_strings:
            raise ConfigError("A stop string is empty, which would end every text at once; leave it out.")
        if self.alternatives is not None and self.alternatives < 0:
            raise ConfigError(f"alternatives is {self.alternatives}; it must be 0 or more.")


@dataclass(frozen=True)
class TokenLogprob:
    """A token's log-probability by the model alone: temperature 1, no penalty, no filter; and the likeliest others,
    (id, log-probability), best first."""

    id: int
    logprob: float
    alternatives: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Delta:
    """A piece of a streamed completion; `text` holds whole characters only. The last one has a finish reason."""

    text: str
    ids: tuple[int, ...]
    finish_reason: str | None = None
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True)
class Completion:
    """A finished generation; `logprobs` are of the sampled ids under the sampling temperature and its penalties, before
    any filter; `token_logprobs` those of the model alone, where the request asked for them."""

    ids: tuple[int, ...]
    text: str
    logprobs: tuple[float, ...]
    finish_reason: str  # "stop" or "length"
    token_logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True)
class Load:
    """How many requests an engine computes, how many wait in it, the share of its blocks that are held, and how often
    a request had to give its blocks up."""

    running: int = 0
    waiting: int = 0
    cache_usage: float = 0.0
    preemptions: int = 0
