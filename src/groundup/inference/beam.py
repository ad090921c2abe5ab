"""Beam search: the likeliest texts, as far as keeping the best few beginnings finds them.

    in each step, of all continuations of the B beginnings by one token keep the B with the largest Σ log p
    score of a finished text = Σ log p / length^a

Texts end at a stop id or at the limit. The search ends when no beginning can still get a better score than the worst of
the finished ones that are kept: more tokens only lower Σ log p, so the bound is Σ log p / (greatest length)^a
(Wu et al. 2016, arXiv:1609.08144, section 7, has the length in the score). Likeliest is under the model itself, at
temperature 1 without filters; a and B are the caller's.

Shapes: B beams, V vocabulary.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from groundup.core.errors import InputError
from groundup.inference.engine import Engine
from groundup.inference.forward_pass import eagerly
from groundup.inference.requests import Completion, Request

MOST_BEAMS = 64


class Hypothesis(NamedTuple):
    """A beginning, or a finished text: its ids behind the prompt and their log-probabilities."""

    ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()

    @property
    def total(self) -> float:
        return sum(self.logprobs)

    def score(self, length_penalty: float) -> float:
        return self.total / len(self.ids) ** length_penalty


class Beam(NamedTuple):
    """A text that was found and its score."""

    score: float
    completion: Completion


@torch.inference_mode()
def beam_search(
    engine: Engine, request: Request, beams: int = 4, length_penalty: float = 1.0, count: int = 1
) -> list[Beam]:
    """The best `count` texts, best first. Of the request, `max_tokens`, the stop ids and the stop strings count; a stop
    string cuts the text that is shown, but does not end the search."""
    if not 1 <= count <= beams <= MOST_BEAMS:
        raise InputError(
            f"{count} texts of {beams} beams were asked for; there must be 1 to {MOST_BEAMS} beams and no more texts."
        )
    if request.grammar is not None or request.sampling.changes_logits:
        raise InputError("Beam search takes no grammar, penalties or bias; leave them out.")
    limit = engine.new_generation(request).limit
    search = _Search(engine, request, limit)
    live, finished = [Hypothesis()], list[Hypothesis]()
    while live:
        live, ended = search.extend(live, beams)
        finished = sorted([*finished, *ended], key=lambda each: -each.score(length_penalty))[:beams]
        bound = max((each.total / limit**length_penalty for each in live), default=-torch.inf)
        if len(finished) == beams and finished[-1].score(length_penalty) >= bound:
            break
    return [Beam(each.score(length_penalty), _completed(engine, request, each)) for each in finished[:count]]


class _Search:
    """The model's memory of the beginnings, a row for each."""

    def __init__(self, engine: Engine, request: Request, limit: int) -> None:
        self._engine, self._request, self._limit = engine, request, limit
        self._cache = engine.model.new_cache(1, len(request.prompt) + limit)
        self._logprobs_BV = self._read(torch.tensor([request.prompt]), torch.arange(len(request.prompt))[None])

    def extend(self, live: list[Hypothesis], beams: int) -> tuple[list[Hypothesis], list[Hypothesis]]:
        """The best beginnings that are one token longer, and those that ended by it."""
        totals_B1 = torch.tensor([[each.total] for each in live], dtype=torch.float64)
        candidates_BV = totals_B1 + self._logprobs_BV
        # Some of the best end; as many beginnings as there are stop ids for each may do so.
        wanted = min(beams * (1 + len(self._request.stop_ids)), candidates_BV.numel())
        V = candidates_BV.shape[1]
        longer: list[Hypothesis] = []
        ended: list[Hypothesis] = []
        rows: list[int] = []
        for place in candidates_BV.flatten().topk(wanted).indices.tolist():
            row, token = divmod(place, V)
            before = live[row]
            now = Hypothesis((*before.ids, token), (*before.logprobs, self._logprobs_BV[row, token].item()))
            if token in self._request.stop_ids or len(now.ids) == self._limit:
                ended.append(now)
            else:
                longer.append(now)
                rows.append(row)
            if len(longer) == beams:
                break
        if longer:
            self._cache.keep_rows(torch.tensor(rows))
            position = len(self._request.prompt) + len(longer[0].ids) - 1
            tokens_B1 = torch.tensor([each.ids[-1:] for each in longer])
            self._logprobs_BV = self._read(tokens_B1, torch.full_like(tokens_B1, position))
        return longer, ended

    def _read(self, tokens_BT: Tensor, positions_BT: Tensor) -> Tensor:
        """Log-probabilities (B, V), fp64, of what follows."""
        model = self._engine.model
        with eagerly():
            hidden_BTD = model(tokens_BT, positions_BT, self._cache)
            logits_BV = model.unembed(hidden_BTD[:, -1])[:, : self._engine.tokenizer.vocab_size]
        return torch.log_softmax(logits_BV.double(), dim=-1)


def _completed(engine: Engine, request: Request, found: Hypothesis) -> Completion:
    """As a request that sampled these ids would end."""
    generation = engine.new_generation(request)
    for token, logprob in zip(found.ids, found.logprobs, strict=True):
        generation.push(token, logprob)
        if generation.finish_reason is not None:
            break
    return generation.completion()
