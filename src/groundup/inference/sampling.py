"""Drawing the next token from logits.

    logits → bias, penalties, what a grammar allows                              `change_logits`
    / temperature → keep the k largest → keep the smallest set with mass ≥ p
                  → keep what has min_p times the largest probability → draw by inverse CDF    `sample`

The uniform number of each draw is a hash of the request's seed and the position, so that a request gives the same
tokens alone or in a batch, and after a restart. Shapes: B batch, V vocabulary.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from groundup.core.seeds import derive_seed
from groundup.inference.requests import Sampling, TokenLogprob


class Text(NamedTuple):
    """What penalties look at: the prompt and the ids sampled behind it."""

    prompt: Sequence[int]
    ids: Sequence[int]


def change_logits(
    logits_BV: Tensor,
    settings: Sequence[Sampling],
    texts: Sequence[Text],
    allowed: Sequence[NDArray[np.bool_] | None] = (),
) -> Tensor:
    """fp32 logits with the bias and the penalties of `Sampling`, and -inf where `allowed` (V,) is False. Rows without
    any of these are left alone."""
    logits_BV = logits_BV.float()
    changed = {row for row, each in enumerate(settings) if each.changes_logits}
    masked = {row for row, each in enumerate(allowed) if each is not None}
    if not changed and not masked:
        return logits_BV
    logits_BV = logits_BV.clone()
    for row in changed:
        _penalise(logits_BV[row], settings[row], texts[row])
    for row in masked:
        mask = allowed[row]
        assert mask is not None
        assert mask.any(), "a grammar that allows nothing has ended"
        logits_BV[row].masked_fill_(~torch.from_numpy(mask).to(logits_BV.device), -torch.inf)
    return logits_BV


def _penalise(logits_V: Tensor, sampling: Sampling, text: Text) -> None:
    """Change one row in place."""
    if sampling.logit_bias:
        ids, biases = zip(*sampling.logit_bias, strict=True)
        places = torch.tensor(ids, device=logits_V.device)
        logits_V.index_add_(0, places, torch.tensor(biases, dtype=logits_V.dtype, device=logits_V.device))
    if sampling.repetition_penalty != 1:
        seen = torch.tensor(sorted({*text.prompt, *text.ids}), device=logits_V.device)
        of_seen = logits_V[seen]
        factor = sampling.repetition_penalty
        logits_V[seen] = torch.where(of_seen > 0, of_seen / factor, of_seen * factor)
    if (sampling.presence_penalty or sampling.frequency_penalty) and text.ids:
        sampled = torch.tensor(list(text.ids), device=logits_V.device)
        counts_V = torch.bincount(sampled, minlength=len(logits_V)).to(logits_V.dtype)
        logits_V -= sampling.frequency_penalty * counts_V + sampling.presence_penalty * (counts_V > 0)


def uniform(seed: int, position: int) -> float:
    """The uniform number in [0, 1) of one draw."""
    return (derive_seed("sample", seed, position) >> 10) / 2**53


class Best(NamedTuple):
    """The likeliest token of each row and its log-probability."""

    ids_B: Tensor
    logprobs_B: Tensor


def best_of(logits_BV: Tensor) -> Best:
    """What greedy decoding takes."""
    ids_B = logits_BV.argmax(dim=-1)
    largest_B1 = logits_BV.gather(-1, ids_B[:, None])
    return Best(ids_B, -(logits_BV - largest_B1).exp().sum(dim=-1).log())


def sample(
    logits_BV: Tensor, settings: Sequence[Sampling], uniforms: Sequence[float], best: Best | None = None
) -> tuple[Tensor, Tensor]:
    """Draw one token a row; returns ids (B,) and log-probabilities (B,) under the temperature, before any filter.

    At temperature 0 the largest logit wins and its log-probability is that at temperature 1; `best` are those, if they
    are known.
    """
    drawn = [row for row, each in enumerate(settings) if each.temperature > 0]
    if len(drawn) == len(settings):
        return _drawn(logits_BV, settings, uniforms)
    ids_B, logprobs_B = best_of(logits_BV.float()) if best is None else best
    if drawn:
        ids_B, logprobs_B = ids_B.clone(), logprobs_B.clone()
        chosen = [settings[row] for row in drawn], [uniforms[row] for row in drawn]
        ids_B[drawn], logprobs_B[drawn] = _drawn(logits_BV[drawn], *chosen)
    return ids_B, logprobs_B


def _drawn(logits_BV: Tensor, settings: Sequence[Sampling], uniforms: Sequence[float]) -> tuple[Tensor, Tensor]:
    logprobs_BV, probabilities_BV, _ = distributions(logits_BV, settings)
    ids_B = draw(probabilities_BV, uniforms)
    return ids_B, logprobs_BV.gather(-1, ids_B[:, None])[:, 0]


def distributions(logits_BV: Tensor, settings: Sequence[Sampling]) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities under the temperature (B, V), the filtered probabilities that are drawn from, not renormalised,
    and which rows are greedy (B,), for which temperature 1 counts."""
    logits_BV = logits_BV.float()
    temperatures = torch.tensor([s.temperature for s in settings], device=logits_BV.device)
    greedy_B = temperatures == 0
    below_BV = logits_BV - logits_BV.max(dim=-1, keepdim=True).values  # so that no temperature overflows upwards
    scaled_BV = below_BV / torch.where(greedy_B, 1.0, temperatures)[:, None]
    logprobs_BV = torch.log_softmax(scaled_BV, dim=-1)
    return logprobs_BV, filter_probabilities(logprobs_BV.exp(), settings), greedy_B


def token_logprobs(
    logits_BV: Tensor, ids: Sequence[int], alternatives: Sequence[int | None]
) -> list[TokenLogprob | None]:
    """The model's own log-probability of each row's id and of so many of the likeliest; None where nobody asks."""
    asked = [row for row, count in enumerate(alternatives) if count is not None]
    found: list[TokenLogprob | None] = [None] * len(ids)
    if not asked:
        return found
    logprobs_bV = torch.log_softmax(logits_BV[asked].float(), dim=-1)
    most = min(max(alternatives[row] or 0 for row in asked), logprobs_bV.shape[-1])
    best = logprobs_bV.topk(most, dim=-1)
    for logprobs_V, values, places, row in zip(
        logprobs_bV, best.values.tolist(), best.indices.tolist(), asked, strict=True
    ):
        others = tuple(zip(places, values, strict=True))[: alternatives[row]]
        found[row] = TokenLogprob(ids[row], logprobs_V[ids[row]].item(), others)
    return found


def filter_probabilities(probabilities_BV: Tensor, settings: Sequence[Sampling]) -> Tensor:
    """Zero what top-k, then top-p, then min-p exclude; rows are not renormalised. Those without filters stay."""
    V = probabilities_BV.shape[-1]
    rows = [row for row, s in enumerate(settings) if 0 < s.top_k < V or s.top_p < 1 or s.min_p > 0]
    if not rows:
        return probabilities_BV
    ordered_bV, order_bV = probabilities_BV[rows].sort(dim=-1, descending=True, stable=True)
    k = torch.tensor([[settings[row].top_k or V] for row in rows], device=ordered_bV.device)
    p = torch.tensor([[settings[row].top_p] for row in rows], device=ordered_bV.device)
    ordered_bV = ordered_bV.masked_fill(torch.arange(V, device=ordered_bV.device) >= k, 0.0)
    shares_bV = ordered_bV / ordered_bV.sum(dim=-1, keepdim=True)
    before_bV = shares_bV.cumsum(dim=-1) - shares_bV
    kept_bV = ordered_bV.masked_fill((before_bV >= p) & (p < 1), 0.0)
    least_b1 = torch.tensor([[settings[row].min_p] for row in rows], device=ordered_bV.device) * ordered_bV[:, :1]
    kept_bV = kept_bV.masked_fill(kept_bV < least_b1, 0.0)
    filtered_BV = probabilities_BV.clone()
    filtered_BV[rows] = torch.zeros_like(kept_bV).scatter(-1, order_bV, kept_bV)
    return filtered_BV


def draw(probabilities_BV: Tensor, uniforms: Sequence[float]) -> Tensor:
    """The first index of each row (B,) whose cumulative mass exceeds u · total, in fp64: fp32 sums over V drift past 1.

    u · total may round up to the total, which nothing exceeds; it is held just below, so a token of mass 0 never wins.
    """
    uniforms_B = torch.tensor(uniforms, dtype=torch.float64, device=probabilities_BV.device)
    cumulative_BV = probabilities_BV.double().cumsum(dim=-1)
    totals_B = cumulative_BV[:, -1]
    thresholds_B = torch.minimum(uniforms_B * totals_B, totals_B.nextafter(torch.zeros_like(totals_B)))
    found_B = torch.searchsorted(cumulative_BV, thresholds_B[:, None], right=True)[:, 0]
    return found_B.clamp(max=probabilities_BV.shape[-1] - 1)  # only where logits are not numbers
