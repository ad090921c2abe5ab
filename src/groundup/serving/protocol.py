"""Bodies of the OpenAI-compatible endpoints, in and out.

Types are strict (the string "0.5" is not a temperature) and unknown fields are ignored, as clients send many. A known
field that would change the answer and is not served (`n` above 1, `echo`, `logprobs`, `suffix`) is refused rather than
ignored: a program that relies on it would go wrong without noticing.
Source: the public OpenAI API reference (chat completions, completions, models).
"""

import time
import uuid
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

MAX_PROMPTS = 64
MAX_STOP_STRINGS = 16
SEED_LIMIT = 2**63


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class StreamOptions(_Body):
    """`include_usage` adds one last piece that has the token counts and no choice."""

    include_usage: bool | None = None


class _SamplingBody(_Body):
    """The fields that both ways of asking share; null means the default."""

    model: str | None = Field(None, description="The served model's name; it may be left out.")
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = Field(None, ge=-SEED_LIMIT, lt=SEED_LIMIT)
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = None

    @field_validator("stop", mode="before")
    @classmethod
    def _check_stop(cls, value: Any) -> Any:  # noqa: ANN401
        stops = [value] if isinstance(value, str) else value
        if stops is not None and not (isinstance(stops, list) and all(isinstance(stop, str) for stop in stops)):
            raise ValueError("stop must be a string or a list of strings")
        if stops is not None and len(stops) > MAX_STOP_STRINGS:
            raise ValueError(f"stop has {len(stops)} strings; at most {MAX_STOP_STRINGS} are allowed")
        return stops

    @field_validator("n")
    @classmethod
    def _check_n(cls, value: int | None) -> int | None:
        if value not in (None, 1):
            raise ValueError(f"n is {value}; this server gives one answer per request (n=1), send the request again")
        return value

    @property
    def stop_strings(self) -> tuple[str, ...]:
        return tuple(stop for stop in self.stop or () if stop)

    @property
    def include_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)


class ChatMessage(_Body):
    """One turn. The content is a string, or a list of parts of type `text`."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[dict[str, Any]] | None = None

    @field_validator("content", mode="before")
    @classmethod
    def _join_parts(cls, value: Any) -> Any:  # noqa: ANN401
        if value is None or isinstance(value, str):
            return value
        if not isinstance(value, list):
            raise ValueError("content must be a string or a list of text parts")
        for part in value:
            if not (isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)):
                raise ValueError('this model reads text only: each part must be {"type": "text", "text": "..."}')
        return "".join(part["text"] for part in value)


class ChatBody(_SamplingBody):
    """`POST /v1/chat/completions`."""

    messages: list[ChatMessage] = Field(min_length=1)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool | None = None

    @model_validator(mode="after")
    def _refuse_unserved(self) -> "ChatBody":
        if self.logprobs:
            raise ValueError("logprobs are not served; leave the field out")
        return self

    @property
    def token_limit(self) -> int | None:
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens


class CompletionBody(_SamplingBody):
    """`POST /v1/completions`. A prompt is text or token ids; a list of prompts gets one choice each."""

    prompt: str | list[str] | list[int] | list[list[int]]
    max_tokens: int | None = Field(16, ge=1)
    echo: bool | None = None
    logprobs: int | None = None
    suffix: str | None = None
    best_of: int | None = None

    @field_validator("prompt", mode="before")
    @classmethod
    def _check_prompt(cls, value: Any) -> Any:  # noqa: ANN401
        prompts = value if isinstance(value, list) and not _is_ids(value) else [value]
        if not prompts or not (all(isinstance(p, str) for p in prompts) or all(_is_ids(p) for p in prompts)):
            raise ValueError("prompt must be a string, a list of strings, token ids, or a list of lists of token ids")
        if len(prompts) > MAX_PROMPTS:
            raise ValueError(f"prompt has {len(prompts)} entries; at most {MAX_PROMPTS} are allowed in one request")
        return value

    @model_validator(mode="after")
    def _refuse_unserved(self) -> "CompletionBody":
        unserved = {"echo": self.echo, "logprobs": self.logprobs is not None, "suffix": self.suffix}
        for name in [name for name, asked in unserved.items() if asked]:
            raise ValueError(f"{name} is not served; leave the field out")
        if self.best_of not in (None, 1):
            raise ValueError(f"best_of is {self.best_of}; only 1 is served")
        return self

    @property
    def token_limit(self) -> int | None:
        return self.max_tokens

    @property
    def prompts(self) -> list[str | list[int]]:
        """One entry per choice."""
        return [self.prompt] if isinstance(self.prompt, str) or _is_ids(self.prompt) else list(self.prompt)  # type: ignore[list-item]


@dataclass(frozen=True)
class Usage:
    """Token counts of one request, over all its choices."""

    prompt_tokens: int
    completion_tokens: int

    def body(self) -> dict[str, int]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        }


@dataclass(frozen=True)
class Reply:
    """Builds the bodies of one answer, which share an id, a time and the model's name."""

    model: str
    chat: bool
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, texts: list[str], finish_reasons: list[str], usage: Usage) -> dict[str, Any]:
        """The answer in one piece."""
        choices = []
        for index, (text, reason) in enumerate(zip(texts, finish_reasons, strict=True)):
            content = {"message": {"role": "assistant", "content": text}} if self.chat else {"text": text}
            choices.append({"index": index, **content, "logprobs": None, "finish_reason": reason})
        return self._body("chat.completion", choices) | {"usage": usage.body()}

    def chunk(self, index: int, text: str, *, role: bool = False, finish_reason: str | None = None) -> dict[str, Any]:
        """A piece of a stream; the first one of a chat has the role, the last of a choice the finish reason."""
        delta = {"role": "assistant", "content": ""} if role else {"content": text} if text else {}
        content = {"delta": delta} if self.chat else {"text": text}
        choice = {"index": index, **content, "logprobs": None, "finish_reason": finish_reason}
        return self._body("chat.completion.chunk", [choice])

    def usage_chunk(self, usage: Usage) -> dict[str, Any]:
        """The piece behind the last choice for clients that asked for `include_usage`."""
        return self._body("chat.completion.chunk", []) | {"usage": usage.body()}

    def _body(self, chat_object: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        prefix, kind = ("chatcmpl", chat_object) if self.chat else ("cmpl", "text_completion")
        return {
            "id": f"{prefix}-{self.id}",
            "object": kind,
            "created": self.created,
            "model": self.model,
            "choices": choices,
        }


def _is_ids(value: Any) -> bool:  # noqa: ANN401
    """Whether this is a prompt in token ids: a list of integers that is not empty."""
    return isinstance(value, list) and bool(value) and all(type(item) is int for item in value)
