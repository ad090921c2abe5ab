"""What the chat page asks of the model: the turns so far as a prompt that fits into the context.

Small models have small contexts, so a long conversation forgets its oldest exchanges instead of failing; the page says
how many. `chat` mode renders the turns with the chat template; `continue` mode takes the last message as the beginning
of a document, which is what a model without chat tuning understands.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from groundup.core.errors import InputError
from groundup.inference.requests import Request, Sampling
from groundup.serving.generator import TextGenerator
from groundup.serving.prompts import stop_ids, text_prompt
from groundup.tokenization.chat import Message, render_prompt

Mode = Literal["chat", "continue"]
RESERVED_FRACTION = 4  # at least a quarter of the context stays free for the answer, or what was asked for if less


@dataclass
class Settings:
    """The dials of the page."""

    max_tokens: int
    mode: Mode = "chat"
    temperature: float = 0.8
    top_p: float = 0.95


def build_request(messages: Sequence[Message], settings: Settings, generator: TextGenerator) -> tuple[Request, int]:
    """The request for the next answer, and how many of the oldest messages were left out to make it fit.

    The last message is the user's. Raises `InputError` when it alone does not fit.
    """
    prompt, dropped = _fitting_prompt(messages, settings, generator)
    sampling = Sampling(
        max_tokens=min(int(settings.max_tokens), generator.context_length - len(prompt)),
        temperature=settings.temperature,
        top_p=settings.top_p,
        seed=secrets.randbits(62),
    )
    return Request(tuple(prompt), sampling, stop_ids(generator.tokenizer)), dropped


def _fitting_prompt(messages: Sequence[Message], settings: Settings, generator: TextGenerator) -> tuple[list[int], int]:
    context = generator.context_length
    limit = context - min(int(settings.max_tokens), context // RESERVED_FRACTION)
    if settings.mode == "continue":
        candidates = [(text_prompt(messages[-1].content, generator.tokenizer), 0)]
    else:
        starts = [i for i, message in enumerate(messages) if message.role == "user"]
        candidates = ((render_prompt(generator.tokenizer, list(messages[start:])), start) for start in starts)
    length = 0
    for prompt, dropped in candidates:
        if len(prompt) <= limit:
            return prompt, dropped
        length = len(prompt)
    raise InputError(
        f"This message has {length} tokens; the model reads {context} at once and needs room to answer. "
        "Please shorten it."
    )
