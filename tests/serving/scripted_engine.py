"""A deterministic stand-in for the engine: bytes are its tokens, and it says what the test wrote into its script."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from groundup.inference.requests import Delta, Load, Request, TokenLogprob
from groundup.inference.scheduler import Limits
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
class Script:
    """A request on its way: what it will say, and how much of it has been said."""

    request: Request
    text: str
    said: int = 0


@dataclass
class ScriptedEngine:
    """Each character of `script(prompt text)` is one token; every step says one of each request. `gate`, where given,
    is waited for before each step. A token's log-probability is minus its hundredth; the likeliest are 65, 66, ..."""

    script: Callable[[str], str] = echo
    delay_seconds: float = 0.0
    gate: threading.Semaphore | None = None
    context_length: int = 512
    max_running: int = 64
    tokenizer: ByteTokenizer = field(default_factory=ByteTokenizer)
    seen: list[Request] = field(default_factory=list)
    produced: int = 0
    most_running: int = 0
    closed: threading.Event = field(default_factory=threading.Event)
    running: dict[int, Script] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.limits = Limits(self.max_running)

    @property
    def load(self) -> Load:
        return Load(len(self.running))

    def add(self, request: Request) -> int:
        number = len(self.seen)
        self.seen.append(request)
        self.running[number] = Script(request, self.script(self.tokenizer.decode(request.prompt)))
        self.most_running = max(self.most_running, len(self.running))
        return number

    def step(self) -> list[tuple[int, Delta]]:
        assert self.running, "a step of nothing"
        if self.gate is not None:
            self.gate.acquire()
        time.sleep(self.delay_seconds)
        return [(number, self._say(number)) for number in list(self.running)]

    def cancel(self, number: int) -> None:
        if self.running.pop(number, None) is not None:
            self.closed.set()

    def prompt_logprobs(self, prompt: Sequence[int], alternatives: int) -> list[TokenLogprob]:
        return [logprob_of(token, alternatives) for token in prompt[1:]]

    def _say(self, number: int) -> Delta:
        script = self.running[number]
        limit, asked = script.request.sampling.max_tokens, script.request.alternatives
        if script.said == min(limit, len(script.text)):
            del self.running[number]
            ends = len(script.text) <= limit
            if not ends:
                return Delta("", (), "length")
            end = SPECIALS["<|end|>"]
            return Delta("", (end,), "stop", () if asked is None else (logprob_of(end, asked),))
        character = script.text[script.said]
        script.said += 1
        self.produced += 1
        token = ord(character) % 256
        return Delta(character, (token,), None, () if asked is None else (logprob_of(token, asked),))


def logprob_of(token: int, alternatives: int) -> TokenLogprob:
    return TokenLogprob(token, -token / 100, tuple((65 + place, -place / 10) for place in range(alternatives)))
