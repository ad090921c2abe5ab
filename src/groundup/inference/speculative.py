"""Speculative decoding: a cheap guess of the next tokens, checked by the model in one pass.

    guess x_1 .. x_k, where x_i is drawn from q_i        a small model, or what followed the same words before
    p_1 .. p_{k+1} from one pass of the model over all of them
    keep x_i while u_i < p_i(x_i) / q_i(x_i)
    where that ends before x_i, draw from max(0, p_i - q_i), normalised; where all are kept, from p_{k+1}

What comes out is distributed exactly as the model's own sampling (Leviathan et al. 2023, arXiv:2211.17192, appendix
A.1; Chen et al. 2023, arXiv:2302.01318). p and q are the distributions behind temperature, penalties and filters.
Greedy decoding is the case in which they are one-hot: exactly the greedy tokens come out. Lookup is one-hot, too.

The number of guesses grows by 2 after a round in which all were kept and falls by 1 after any other. One request at a
time, on models whose memory is by position, which can go back: what was rejected is overwritten.

Shapes: B rows, k guesses, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from groundup.core.errors import InputError
from groundup.core.seeds import derive_seed
from groundup.inference.engine import Engine
from groundup.inference.forward_pass import eagerly
from groundup.inference.requests import Completion, Delta, Request, Sampling
from groundup.inference.sampling import Text, change_logits, distributions, draw, token_logprobs, uniform
from groundup.inference.sequence import Generation
from groundup.models.cache import KVCache, SlotCache, TokenCache
from groundup.models.language_model import LanguageModel

FIRST_GUESSES, MOST_GUESSES = 4, 16
LONGEST_MATCH = 4  # tokens in a row that lookup wants to find again


@dataclass
class Acceptance:
    """What became of the guesses."""

    guessed: int = 0
    accepted: int = 0
    passes: int = 0
    """forward passes of the model behind the prompt's"""

    @property
    def rate(self) -> float:
        """The share of guesses that were kept."""
        return self.accepted / max(self.guessed, 1)


class Draft(Protocol):
    """Guesses what comes next."""

    def guess(self, text: Text, sampling: Sampling, count: int) -> tuple[list[int], Tensor]:
        """At most so many ids behind a text, and the distributions (k, V) that they were drawn from."""
        ...


class LookupDraft:
    """What followed the last few tokens where they stood before, in the prompt or in the answer."""

    def __init__(self, vocab_size: int) -> None:
        self._vocab_size = vocab_size

    def guess(self, text: Text, sampling: Sampling, count: int) -> tuple[list[int], Tensor]:
        ids = [*text.prompt, *text.ids]
        found = look_up(ids, count)
        return found, torch.nn.functional.one_hot(torch.tensor(found, dtype=torch.long), self._vocab_size).double()


def look_up(ids: Sequence[int], count: int) -> list[int]:
    """The ids behind the last place where the longest ending of `ids` that stands there twice stood before."""
    for length in range(min(LONGEST_MATCH, len(ids) - 1), 0, -1):
        ending = list(ids[-length:])
        for start in range(len(ids) - length - 1, -1, -1):
            if list(ids[start : start + length]) == ending:
                return list(ids[start + length : start + length + count])
    return []


class ModelDraft:
    """A smaller model with the same tokens."""

    def __init__(self, model: LanguageModel, vocab_size: int) -> None:
        self._model, self._vocab_size = model, vocab_size
        self._reader: Reader | None = None

    def guess(self, text: Text, sampling: Sampling, count: int) -> tuple[list[int], Tensor]:
        ids, first = [*text.prompt, *text.ids], len(text.ids)
        if self._reader is None or not self._reader.began(text.prompt):
            self._reader = Reader(self._model, text.prompt)
        guesses: list[int] = []
        rows: list[Tensor] = []
        for at in range(min(count, self._model.config.context_length - len(ids))):
            logits_1V = self._reader.logits([*ids, *guesses], 1)[:, : self._vocab_size]
            shown = Text(text.prompt, [*text.ids, *guesses])
            probabilities_1V = drawn_from(logits_1V, sampling, [shown])
            rows.append(probabilities_1V)
            number = _uniform("guess", sampling.seed, first + at)
            guesses.append(int(draw(probabilities_1V, [number]).item()))
        return guesses, torch.cat(rows) if rows else torch.empty(0, self._vocab_size, dtype=torch.float64)


class Reader:
    """A model that has read the beginning of one text, which may change behind it."""

    def __init__(self, model: LanguageModel, prompt: Sequence[int]) -> None:
        self._model, self._prompt, self._read = model, list(prompt), list[int]()
        self._cache = _cache_that_goes_back(model)

    def began(self, prompt: Sequence[int]) -> bool:
        """Whether this is its text."""
        return self._prompt == list(prompt)

    @torch.inference_mode()
    def logits(self, ids: Sequence[int], last: int) -> Tensor:
        """Those behind the last so many tokens of a text (last, V); reads what it has not read yet."""
        known = min(_common(self._read, ids), len(ids) - last)
        positions_1T = torch.arange(known, len(ids))[None]
        with eagerly():
            hidden_1TD = self._model(torch.tensor([list(ids[known:])]), positions_1T, self._cache)
            logits_LV = self._model.unembed(hidden_1TD[0, -last:])
        self._read = list(ids)
        return logits_LV


class SpeculativeDecoder:
    """An engine's model with a draft. `acceptance` counts over all requests."""

    def __init__(self, engine: Engine, draft: Draft) -> None:
        _cache_that_goes_back(engine.model)  # what cannot go back is refused now
        self.engine, self.draft, self.acceptance = engine, draft, Acceptance()

    def generate(self, request: Request) -> Completion:
        """Complete one request."""
        generation = self.engine.new_generation(request)
        for _ in self._decode(generation):
            pass
        return generation.completion()

    def stream(self, request: Request) -> Iterator[Delta]:
        """Complete one request piece by piece."""
        return self._decode(self.engine.new_generation(request))

    def _decode(self, generation: Generation) -> Iterator[Delta]:
        request = generation.request
        if request.grammar is not None:
            raise InputError("A grammar cannot be followed with speculative decoding yet; leave one of them out.")
        reader, count = Reader(self.engine.model, request.prompt), FIRST_GUESSES
        while generation.finish_reason is None:
            room = generation.limit - len(generation.ids) - 1
            text = Text(request.prompt, list(generation.ids))
            guesses, q_kV = self.draft.guess(text, request.sampling, min(count, room)) if room else ([], None)
            ids, logits_KV = self._checked(reader, text, guesses, q_kV, request.sampling)
            accepted = len(ids) - 1
            self.acceptance.guessed += len(guesses)
            self.acceptance.accepted += accepted
            self.acceptance.passes += 1
            if guesses:
                count = min(count + 2, MOST_GUESSES) if accepted == len(guesses) else max(count - 1, 1)
            yield from _pushed(generation, ids, logits_KV)

    def _checked(
        self, reader: Reader, text: Text, guesses: list[int], q_kV: Tensor | None, sampling: Sampling
    ) -> tuple[list[int], Tensor]:
        """The ids that the text goes on with, and the logits (k + 1, V) that they were checked by."""
        whole = [*text.prompt, *text.ids, *guesses]
        logits_KV = reader.logits(whole, len(guesses) + 1)[:, : self.engine.tokenizer.vocab_size]
        texts = [Text(text.prompt, [*text.ids, *guesses[:at]]) for at in range(len(guesses) + 1)]
        p_1KV = drawn_from(logits_KV, sampling, texts)[None]
        first = len(text.ids)
        if not guesses or q_kV is None:
            return draw(p_1KV[0], [uniform(sampling.seed, first)]).tolist(), logits_KV
        keep = torch.tensor([[_uniform("keep", sampling.seed, first + at) for at in range(len(guesses))]])
        last = _uniform("instead", sampling.seed, first)
        kept_1, token_1 = accept(p_1KV, q_kV[None], torch.tensor([guesses]), keep, [last])
        return [*guesses[: int(kept_1.item())], int(token_1.item())], logits_KV


def accept(
    p_BKV: Tensor, q_BkV: Tensor, guesses_Bk: Tensor, uniforms_Bk: Tensor, last_uniforms: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """How many guesses are kept (B,) and the token behind them (B,); K = k + 1, distributions sum to 1."""
    k = guesses_Bk.shape[1]
    of_model_Bk = p_BKV[:, :k].gather(2, guesses_Bk[:, :, None])[:, :, 0]
    of_draft_Bk = q_BkV.gather(2, guesses_Bk[:, :, None])[:, :, 0]
    kept_B = (uniforms_Bk * of_draft_Bk < of_model_Bk).long().cumprod(dim=1).sum(dim=1)
    padded_BKV = torch.nn.functional.pad(q_BkV, (0, 0, 0, 1))  # behind the last guess there is nothing to subtract
    rows_B = torch.arange(len(kept_B))
    left_BV = (p_BKV[rows_B, kept_B] - padded_BKV[rows_B, kept_B]).clamp(min=0)
    return kept_B, draw(left_BV, last_uniforms)


def drawn_from(logits_KV: Tensor, sampling: Sampling, texts: Sequence[Text]) -> Tensor:
    """The distributions (K, V), fp64, that sampling draws from behind each text; one-hot where it is greedy."""
    settings = [sampling] * len(texts)
    logits_KV = change_logits(logits_KV, settings, texts)
    if sampling.temperature == 0:
        return torch.nn.functional.one_hot(logits_KV.argmax(dim=-1), logits_KV.shape[-1]).double()
    _, probabilities_KV, _ = distributions(logits_KV, settings)
    probabilities_KV = probabilities_KV.double()
    return probabilities_KV / probabilities_KV.sum(dim=-1, keepdim=True)


def _pushed(generation: Generation, ids: Sequence[int], logits_KV: Tensor) -> Iterator[Delta]:
    """Hand over ids, with the logits behind the text in front of each, until the text ends."""
    request = generation.request
    for at, token in enumerate(ids):
        logits_1V = logits_KV[at : at + 1]
        changed_1V = change_logits(logits_1V, [request.sampling], [Text(request.prompt, generation.ids)])
        logprob = distributions(changed_1V, [request.sampling])[0][0, token].item()
        yield generation.push(token, logprob, *token_logprobs(logits_1V, [token], [request.alternatives]))
        if generation.finish_reason is not None:
            return


def _cache_that_goes_back(model: LanguageModel) -> KVCache:
    cache = model.new_cache(1, model.config.context_length)
    by_position = all(type(layer) is SlotCache or not vars(layer) for layer in cache.layers)
    if not by_position or not isinstance(cache.tokens, TokenCache | None):
        raise InputError(
            "This model keeps states or a window, which cannot go back to an earlier token, so its guesses cannot be "
            "checked; generate without speculative decoding."
        )
    return cache


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of the common beginning."""
    at = 0
    while at < min(len(one), len(other)) and one[at] == other[at]:
        at += 1
    return at


def _uniform(purpose: str, seed: int, position: int) -> float:
    return (derive_seed("speculative", purpose, seed, position) >> 10) / 2**53
