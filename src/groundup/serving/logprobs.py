"""Log-probabilities in OpenAI's two forms.

    completions   {"tokens", "token_logprobs", "top_logprobs", "text_offset"}   lists of the same length
    chat          {"content": [{"token", "logprob", "bytes", "top_logprobs"}]}

They are the model's own: at temperature 1, without penalties and filters. With `echo` the prompt's tokens stand in
front, the first with null, since nothing stands before it. `text_offset` is where the token's first character begins in
the text of the choice; a token that the text does not show (the end-of-text token in front of a document) has no width,
and one inside a character that several tokens make begins where the character does. A token that is no valid UTF-8 by
itself is written as `bytes:\\xe2\\x80`, as OpenAI does. A stop token is in both forms, as it is in
vLLM: lm-eval counts on it.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from groundup.inference.requests import TokenLogprob
from groundup.tokenization.streaming import StreamDecoder
from groundup.tokenization.tokenizer import Tokenizer

LOWEST = -9999.0  # JSON has no infinity


class Entry(NamedTuple):
    """A token, where it begins in the text, its log-probability, and the likeliest in its place."""

    id: int
    offset: int
    logprob: float | None
    alternatives: tuple[tuple[int, float], ...]


class Logprobs:
    """Those of one choice: `prompt` and `token` collect, `body` hands out what was collected since the last time."""

    def __init__(self, tokenizer: Tokenizer, chat: bool) -> None:
        self._tokenizer, self._chat = tokenizer, chat
        self._decoder, self._offset = StreamDecoder(tokenizer), 0
        self._entries: list[Entry] = []

    def prompt(self, ids: Sequence[int], found: Sequence[TokenLogprob], text: str) -> None:
        """Of the prompt that is echoed as this text."""
        begins_document = self._tokenizer.decode(ids) != text  # by a token that the text does not show
        self._entries.append(Entry(ids[0], 0, None, ()))
        if not begins_document:
            self._offset += len(self._decoder.push(ids[:1]))
        for each in found:
            self.token(each)
        self._decoder, self._offset = StreamDecoder(self._tokenizer), len(text)

    def token(self, of_model: TokenLogprob) -> None:
        """Of one more token."""
        self._entries.append(Entry(of_model.id, self._offset, of_model.logprob, of_model.alternatives))
        self._offset += len(self._decoder.push([of_model.id]))

    def body(self) -> dict[str, Any] | None:
        """In the endpoint's form; None where nothing has come."""
        entries, self._entries = self._entries, []
        if not entries:
            return None
        return {"content": [self._of_chat(entry) for entry in entries]} if self._chat else self._of_text(entries)

    def _of_text(self, entries: Iterable[Entry]) -> dict[str, Any]:
        tokens, logprobs, likeliest, offsets = [], [], [], []
        for entry in entries:
            tokens.append(self._name(entry.id))
            logprobs.append(_finite(entry.logprob))
            best = (*entry.alternatives, (entry.id, entry.logprob))  # the token itself is always among them
            likeliest.append(None if entry.logprob is None else {self._name(t): _finite(p) for t, p in best})
            offsets.append(entry.offset)
        return {"tokens": tokens, "token_logprobs": logprobs, "top_logprobs": likeliest, "text_offset": offsets}

    def _of_chat(self, entry: Entry) -> dict[str, Any]:
        best = [self._named(token, logprob) for token, logprob in entry.alternatives]
        return self._named(entry.id, entry.logprob) | {"top_logprobs": best}

    def _named(self, token: int, logprob: float | None) -> dict[str, Any]:
        content = list(self._tokenizer.decode_bytes([token]))
        return {"token": self._name(token), "logprob": _finite(logprob), "bytes": content}

    def _name(self, token: int) -> str:
        return token_name(self._tokenizer, token)


def token_name(tokenizer: Tokenizer, token: int) -> str:
    """A token's text, or its bytes where they are no text."""
    data = tokenizer.decode_bytes([token])
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)


def _finite(logprob: float | None) -> float | None:
    """Also for what is no number, of which this is not the larger."""
    return None if logprob is None else logprob if logprob > LOWEST else LOWEST
