"""One request on its way: the ids so far, the text that may be shown, and whether it has ended. No torch."""

from groundup.inference.constraints import Constraint
from groundup.inference.requests import Completion, Delta, Request, TokenLogprob
from groundup.tokenization.chat import END_OF_TEXT
from groundup.tokenization.streaming import StreamDecoder
from groundup.tokenization.tokenizer import Tokenizer


class Generation:
    """Collects sampled ids. Text is released in whole characters, and never a part of a stop string."""

    def __init__(self, request: Request, tokenizer: Tokenizer, limit: int) -> None:
        """`limit` is how many tokens fit: the request's `max_tokens` or the room left in the context."""
        self.request = request
        self.ids: list[int] = []
        self.logprobs: list[float] = []
        self.token_logprobs: list[TokenLogprob] = []
        self.text = ""
        self.finish_reason: str | None = None
        self.limit = limit
        self._shown = 0
        self._decoder = StreamDecoder(tokenizer)
        self._stop_ids, self.constraint = request.stop_ids, None
        if request.grammar is not None:
            self._stop_ids = request.stop_ids or (tokenizer.special_tokens[END_OF_TEXT],)
            self.constraint = Constraint(request.grammar, tokenizer, self._stop_ids[0])

    def push(self, token: int, logprob: float, of_model: TokenLogprob | None = None) -> Delta:
        """Take one sampled id; returns what can be shown now."""
        assert self.finish_reason is None, "a finished sequence takes no more ids"
        self.ids.append(token)
        self.logprobs.append(logprob)
        if of_model is not None:
            self.token_logprobs.append(of_model)
        if token in self._stop_ids:
            self._finish("stop")
        else:
            self.text += self._decoder.push([token])
            stops = [at for stop in self.request.stop_strings if (at := self.text.find(stop)) >= 0]
            if stops:
                self.text = self.text[: min(stops)]
                self.finish_reason = "stop"
            elif self._grammar_ends(token):
                self._finish("stop")
            elif len(self.ids) >= self.limit:
                self._finish("length")
        end = len(self.text) if self.finish_reason else len(self.text) - self._held_back()
        shown, self._shown = self._shown, max(self._shown, end)
        shown_logprobs = () if of_model is None else (of_model,)
        return Delta(self.text[shown:end], (token,), self.finish_reason, shown_logprobs)

    def completion(self) -> Completion:
        assert self.finish_reason is not None, "the sequence has not finished"
        logprobs, of_model = tuple(self.logprobs), tuple(self.token_logprobs)
        return Completion(tuple(self.ids), self.text, logprobs, self.finish_reason, of_model)

    def _grammar_ends(self, token: int) -> bool:
        """Go on in the grammar; whether nothing can follow."""
        if self.constraint is None:
            return False
        self.constraint.advance(token)
        return self.constraint.ended

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
