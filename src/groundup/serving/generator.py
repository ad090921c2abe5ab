"""What the server needs of an engine, so that it can be tested without a model.

`groundup.inference.engine.Engine` fulfils this protocol; so does any object with these few attributes.
"""

from collections.abc import Sequence
from typing import Protocol

from groundup.inference.requests import Delta, Load, Request, TokenLogprob
from groundup.inference.scheduler import Limits
from groundup.tokenization.tokenizer import Tokenizer


class TextGenerator(Protocol):
    """Continues many token prompts at once, a step at a time. The four methods are only ever called from one thread."""

    limits: Limits
    context_length: int

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def load(self) -> Load: ...

    def add(self, request: Request) -> int:
        """Take a request; the number by which the others know it."""
        ...

    def step(self) -> Sequence[tuple[int, Delta]]:
        """What can be shown now of each request, the last piece of one with a finish reason."""
        ...

    def cancel(self, number: int) -> None:
        """Forget a request; harmless on one that has ended."""
        ...

    def prompt_logprobs(self, prompt: Sequence[int], alternatives: int) -> Sequence[TokenLogprob]:
        """The model's log-probability of each token of a prompt but the first, with the likeliest others."""
        ...
