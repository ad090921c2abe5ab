"""Bodies of answers that go out: whole, or in pieces of a stream.

Source: the public OpenAI API reference (chat completions, completions, streaming).
"""

import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from groundup.serving.logprobs import Logprobs


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


@dataclass
class Choice:
    """One answer as it grows; no finish reason means that it was cut."""

    text: str = ""
    finish_reason: str | None = None
    logprobs: Logprobs | None = None


@dataclass(frozen=True)
class Reply:
    """Builds the bodies of one answer, which share an id, a time and the model's name."""

    model: str
    chat: bool
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, choices: list[Choice], usage: Usage) -> dict[str, Any]:
        """The answer in one piece."""
        bodies = []
        for index, choice in enumerate(choices):
            content = {"message": {"role": "assistant", "content": choice.text}} if self.chat else {"text": choice.text}
            logprobs = None if choice.logprobs is None else choice.logprobs.body()
            bodies.append({"index": index, **content, "logprobs": logprobs, "finish_reason": choice.finish_reason})
        return self._body("chat.completion", bodies) | {"usage": usage.body()}

    def first_chunk(self, index: int) -> dict[str, Any]:
        """The first piece of a choice in a chat, which has the role."""
        return self._chunk(index, {"delta": {"role": "assistant", "content": ""}})

    def chunk(
        self, index: int, text: str, *, logprobs: dict[str, Any] | None = None, finish_reason: str | None = None
    ) -> dict[str, Any]:
        """A piece of a stream; the last one of a choice has the finish reason."""
        delta = {"content": text} if text or logprobs else {}
        return self._chunk(index, {"delta": delta} if self.chat else {"text": text}, logprobs, finish_reason)

    def usage_chunk(self, usage: Usage) -> dict[str, Any]:
        """The piece behind the last choice for clients that asked for `include_usage`."""
        return self._body("chat.completion.chunk", []) | {"usage": usage.body()}

    def _chunk(
        self,
        index: int,
        content: dict[str, Any],
        logprobs: dict[str, Any] | None = None,
        finish_reason: str | None = None,
    ) -> dict[str, Any]:
        choice = {"index": index, **content, "logprobs": logprobs, "finish_reason": finish_reason}
        return self._body("chat.completion.chunk", [choice])

    def _body(self, chat_object: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        prefix, kind = ("chatcmpl", chat_object) if self.chat else ("cmpl", "text_completion")
        return {
            "id": f"{prefix}-{self.id}",
            "object": kind,
            "created": self.created,
            "model": self.model,
            "choices": choices,
        }
