"""Bodies of the OpenAI-compatible endpoints that come in.

Types are strict (the string "0.5" is not a temperature) and unknown fields are ignored, as clients send many. A known
field that would change the answer and is not served (`best_of`, `suffix`, `tools`, ...) is refused rather than ignored:
a program that relies on it would go wrong without noticing.
Sources: the public OpenAI API reference (chat completions, completions); vLLM's reference of its OpenAI-compatible
server for the fields behind it (`top_k`, `min_p`, `repetition_penalty`, `ignore_eos`, `stop_token_ids`,
`structured_outputs`, `guided_*`).
"""

import json
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

MAX_PROMPTS = 64
MAX_CHOICES = 128  # prompts times n
MAX_STOP_STRINGS = 16
MAX_ALTERNATIVES = 20
SEED_LIMIT = 2**63


class Body(BaseModel):
    """What all bodies share."""

    model_config = ConfigDict(strict=True, extra="ignore")

    model: str | None = Field(None, description="A served model's name; the first one if it is left out.")

    @model_validator(mode="before")
    @classmethod
    def _check_text(cls, data: Any) -> Any:  # noqa: ANN401
        try:
            json.dumps(data if isinstance(data, dict) else None, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:  # JSON can write half a pair of surrogates, which no answer could repeat
            raise ValueError("the body holds text that is not valid Unicode, half of a surrogate pair") from error
        except RecursionError as error:
            raise ValueError("the body is nested too deeply") from error
        return data


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class StreamOptions(_Part):
    """`include_usage` adds one last piece that has the token counts and no choice."""

    include_usage: bool | None = None


class NamedSchema(_Part):
    """OpenAI's wrapping of a JSON schema."""

    name: str | None = None
    json_schema: dict[str, Any] | None = Field(None, alias="schema")


class ResponseFormat(_Part):
    """What an answer looks like; `json_schema` needs the schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None


class StructuredOutputs(_Part):
    """vLLM's way to say what an answer looks like; one of them."""

    json_: dict[str, Any] | str | None = Field(None, alias="json")
    regex: str | None = None
    choice: list[str] | None = Field(None, min_length=1)
    grammar: str | None = None
    json_object: bool | None = None


class SamplingBody(Body):
    """The fields that both ways of asking share; null means the default."""

    UNSERVED: ClassVar[tuple[str, ...]] = ()

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    seed: int | None = Field(None, ge=-SEED_LIMIT, lt=SEED_LIMIT)
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = Field(None, max_length=MAX_STOP_STRINGS)
    ignore_eos: bool | None = None
    n: int | None = Field(None, ge=1, le=MAX_CHOICES)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    guided_json: dict[str, Any] | str | None = None
    guided_regex: str | None = None
    guided_choice: list[str] | None = Field(None, min_length=1)
    guided_grammar: str | None = None

    @field_validator("stop", mode="before")
    @classmethod
    def _check_stop(cls, value: Any) -> Any:  # noqa: ANN401
        stops = [value] if isinstance(value, str) else value
        if stops is not None and not (isinstance(stops, list) and all(isinstance(stop, str) for stop in stops)):
            raise ValueError("stop must be a string or a list of strings")
        if stops is not None and len(stops) > MAX_STOP_STRINGS:
            raise ValueError(f"stop has {len(stops)} strings; at most {MAX_STOP_STRINGS} are allowed")
        return stops

    @model_validator(mode="before")
    @classmethod
    def _refuse_unserved(cls, data: Any) -> Any:  # noqa: ANN401
        if isinstance(data, dict):
            for name in cls.UNSERVED:
                if data.get(name) not in (None, False, "", [], {}):
                    raise ValueError(f"{name} is not served; leave the field out")
            best_of, n = data.get("best_of"), data.get("n")
            if best_of is not None and best_of != (1 if n is None else n):
                raise ValueError("best_of is not served, it draws answers nobody sees; ask for n and take the best")
        return data

    @property
    def stop_strings(self) -> tuple[str, ...]:
        return tuple(stop for stop in self.stop or () if stop)

    @property
    def include_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)


class ChatMessage(_Part):
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


class ChatBody(SamplingBody):
    """`POST /v1/chat/completions`."""

    UNSERVED = ("tools", "functions", "audio", "use_beam_search")

    messages: list[ChatMessage] = Field(min_length=1)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=MAX_ALTERNATIVES)

    @model_validator(mode="after")
    def _check_logprobs(self) -> "ChatBody":
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs to be true")
        return self

    @property
    def token_limit(self) -> int | None:
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens

    @property
    def alternatives(self) -> int | None:
        """How many likely tokens to report beside each; None where no log-probabilities are asked for."""
        return (self.top_logprobs or 0) if self.logprobs else None


class CompletionBody(SamplingBody):
    """`POST /v1/completions`. A prompt is text or token ids; a list of prompts gets `n` choices each."""

    UNSERVED = ("suffix", "use_beam_search", "prompt_embeds")

    prompt: str | list[str] | list[int] | list[list[int]]
    max_tokens: int | None = Field(16, ge=0)
    echo: bool | None = None
    logprobs: int | None = Field(None, ge=0, le=MAX_ALTERNATIVES)

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
    def _check_together(self) -> "CompletionBody":
        if self.max_tokens == 0 and not self.echo:
            raise ValueError("max_tokens is 0, which needs echo: without it there is nothing to answer")
        choices = len(self.prompts) * (self.n or 1)
        if choices > MAX_CHOICES:
            raise ValueError(f"{choices} choices are asked for (prompts times n); at most {MAX_CHOICES} are allowed")
        return self

    @property
    def token_limit(self) -> int | None:
        return self.max_tokens

    @property
    def alternatives(self) -> int | None:
        """How many likely tokens to report beside each; None where no log-probabilities are asked for."""
        return self.logprobs

    @property
    def prompts(self) -> list[str | list[int]]:
        """One entry for each n choices."""
        return [self.prompt] if isinstance(self.prompt, str) or _is_ids(self.prompt) else list(self.prompt)  # type: ignore[list-item]


class TokenizeBody(Body):
    """`POST /tokenize`: the ids of a text, or of a conversation in the chat template."""

    prompt: str | None = None
    messages: list[ChatMessage] | None = Field(None, min_length=1)
    add_special_tokens: bool = Field(True, description="Whether a text begins a document, as in completions.")
    allow_special: bool = Field(True, description="Whether names of special tokens in a text stand for them.")
    return_token_strs: bool | None = None

    @model_validator(mode="after")
    def _check_one(self) -> "TokenizeBody":
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("one of prompt and messages must be given")
        return self


class DetokenizeBody(Body):
    """`POST /detokenize`: the text of ids."""

    tokens: list[int]


def _is_ids(value: Any) -> bool:  # noqa: ANN401
    """Whether this is a prompt in token ids: a list of integers that is not empty."""
    return isinstance(value, list) and bool(value) and all(type(item) is int for item in value)
