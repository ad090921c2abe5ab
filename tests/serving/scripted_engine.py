"""A deterministic stand-in for the engine: bytes are its tokens, and it says what the test wrote into its script."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from groundup.inference.requests import Delta, Request
from groundup.tokenization.tokenizer import Tokenizer

SPECIALS = {"<|endoftext|>": 256, "<|user|>": 257, "<|assistant|>": 258, "<|end|>": 259}


class ByteTokenizer(Tokenizer):
    """UTF-8 bytes and the chat specials."""

    vocab_size = 260
    special_tokens = SPECIALS

    def encode(self, text: str, **_: object) -> list[int]:
        return list(text.encode())

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        return bytes(i for i in ids if i < 256)


def echo(prompt: str) -> str:
    """The last words of the prompt, in capitals: shows which prompt an answer belongs to."""
    return prompt[-24:].upper()


@dataclass
class ScriptedEngine:
    """Each character of `script(prompt text)` is one token; `gate`, where given, is waited for before each."""

    script: Callable[[str], str] = echo
    delay_seconds: float = 0.0
    gate: threading.Semaphore | None = None
    context_length: int = 512
    tokenizer: ByteTokenizer = field(default_factory=ByteTokenizer)
    seen: list[Request] = field(default_factory=list)
    produced: int = 0
    open_streams: int = 0
    most_open_streams: int = 0
    closed: threading.Event = field(default_factory=threading.Event)

    def stream(self, request: Request) -> Iterator[Delta]:
        self.seen.append(request)
        self.open_streams += 1
        self.most_open_streams = max(self.most_open_streams, self.open_streams)
        try:
            text = self.script(self.tokenizer.decode(request.prompt))
            limit = request.sampling.max_tokens
            for character in text[:limit]:
                if self.gate is not None:
                    self.gate.acquire()
                time.sleep(self.delay_seconds)
                self.produced += 1
                yield Delta(character, (ord(character) % 256,))
            ends = len(text) <= limit
            yield Delta("", (SPECIALS["<|end|>"],) if ends else (), "stop" if ends else "length")
        finally:
            self.open_streams -= 1
            self.closed.set()
