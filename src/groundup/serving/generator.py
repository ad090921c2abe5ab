"""What the server needs of an engine, so that it can be tested without a model.

`groundup.inference.engine.Engine` fulfils this protocol; so does any object with these few attributes.
"""

from collections.abc import Iterator
from typing import Protocol

from groundup.inference.requests import Delta, Request
from groundup.tokenization.tokenizer import Tokenizer


class TextGenerator(Protocol):
    """Streams the continuation of a token prompt. It is only ever called from one thread at a time."""

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def context_length(self) -> int: ...

    def stream(self, request: Request) -> Iterator[Delta]:
        """Yield pieces, the last with a finish reason; where the iterator has `close()`, that cancels."""
        ...
