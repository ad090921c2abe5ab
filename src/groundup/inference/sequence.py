"""One request on its way: the ids so far, the text that may be shown, and whether it has ended. No torch."""

from groundup.inference.requests import Completion, Delta, Request
from groundup.tokenization.streaming import StreamDecoder
from groundup.tokenization.tokenizer import Tokenizer


class Generation:
    """Collects sampled ids. Text is released in whole characters, and never a part of a stop string."""

    def __init__(self, request: Request, tokenizer: Tokenizer, limit: int) -> None:
        """`limit` is how many tokens fit: the request's `max_tokens` or the room left in the context."""
        self.request = request
        self.ids: list[int] = []
        self.logprobs: list[float] = []
        self.text = ""
        self.finish_reason: str | None = None
        self.limit = limit
        self._shown = 0
        self._decoder = StreamDecoder(tokenizer)

    def push(self, token: int, logprob: float) -> Delta:
        """Take one sampled id; returns what can be shown now."""
        assert self.finish_reason is None, "a finished sequence takes no more ids"
        self.ids.append(token)
        self.logprobs.append(logprob)
        if token in self.request.stop_ids:
            self._finish("stop")
        else:
            self.text += self._decoder.push([token])
            stops = [at for stop in self.request.stop_strings if (at := self.text.find(stop)) >= 0]
            if stops:
                self.text = self.text[: min(stops)]
                self.finish_reason = "stop"
            elif len(self.ids) >= self.limit:
                self._finish("length")
        end = len(self.text) if self.finish_reason else len(self.text) - self._held_back()
        shown, self._shown = self._shown, max(self._shown, end)
        return Delta(self.text[shown:end], (token,), self.finish_reason)

    def completion(self) -> Completion:
        assert self.finish_reason is not None, "the sequence has not finished"
        return Completion(tuple(self.ids), self.text, tuple(self.logprobs), self.finish_reason)

    def _finish(self, reason: str) -> None:
        self.text += self._decoder.flush()
        self.finish_reason = reason

    def _held_back(self) -> int:
        """Length of the longest end of the text that begins a stop string."""
        longest = 0
        for stop in self.request.stop_strings:
            for length in range(min(len(stop) - 1, len(self.text)), longest, -1):
                if self.text.endswith(stop[:length]):
                    longest = length
                    break
        return longest
