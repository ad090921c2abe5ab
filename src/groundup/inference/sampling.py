"""Drawing the next token from logits.

    logits / temperature → keep the k largest → keep the smallest set with mass ≥ p → draw by inverse CDF

The uniform number of each draw is a hash of the request's seed and the position, so that a request gives the same
tokens alone or in a batch, and after a restart. Shapes: B batch, V vocabulary.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from groundup.core.seeds import derive_seed
from groundup.inference.requests import Sampling


def uniform(seed: int, position: int) -> float:
    """The uniform number in [0, 1) of one draw."""
    return (derive_seed("sample", seed, position) >> 10) / 2**53


def sample(logits_BV: Tensor, settings: Sequence[Sampling], uniforms: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Draw one token a row; returns ids (B,) and log-probabilities (B,) under the temperature, before any filter.

    At temperature 0 the largest logit wins and its log-probability is that at temperature 1.
    """
    logits_BV = logits_BV.float()
    temperatures = torch.tensor([s.temperature for s in settings], device=logits_BV.device)
    greedy_B = temperatures == 0
    below_BV = logits_BV - logits_BV.max(dim=-1, keepdim=True).values  # so that no temperature overflows upwards
    scaled_BV = below_BV / torch.where(greedy_B, 1.0, temperatures)[:, None]
    logprobs_BV = torch.log_softmax(scaled_BV, dim=-1)
    probabilities_BV = filter_probabilities(logprobs_BV.exp(), settings)
    drawn_B = _inverse_cdf(probabilities_BV, torch.tensor(uniforms, dtype=torch.float64, device=logits_BV.device))
    ids_B = torch.where(greedy_B, logits_BV.argmax(dim=-1), drawn_B)
    return ids_B, logprobs_BV.gather(-1, ids_B[:, None])[:, 0]


def filter_probabilities(probabilities_BV: Tensor, settings: Sequence[Sampling]) -> Tensor:
    """Zero what top-k and then top-p exclude; rows are not renormalised. Rows without filters are left alone."""
    V = probabilities_BV.shape[-1]
    rows = [row for row, s in enumerate(settings) if 0 < s.top_k < V or s.top_p < 1]
    if not rows:
        return probabilities_BV
    ordered_bV, order_bV = probabilities_BV[rows].sort(dim=-1, descending=True, stable=True)
    k = torch.tensor([[settings[row].top_k or V] for row in rows], device=ordered_bV.device)
    p = torch.tensor([[settings[row].top_p] for row in rows], device=ordered_bV.device)
    ordered_bV = ordered_bV.masked_fill(torch.arange(V, device=ordered_bV.device) >= k, 0.0)
    shares_bV = ordered_bV / ordered_bV.sum(dim=-1, keepdim=True)
    before_bV = shares_bV.cumsum(dim=-1) - shares_bV
    kept_bV = ordered_bV.masked_fill((before_bV >= p) & (p < 1), 0.0)
    filtered_BV = probabilities_BV.clone()
    filtered_BV[rows] = torch.zeros_like(kept_bV).scatter(-1, order_bV, kept_bV)
    return filtered_BV


def _inverse_cdf(probabilities_BV: Tensor, uniforms_B: Tensor) -> Tensor:
    """The first index whose cumulative mass exceeds u · total, in fp64: fp32 sums over V drift past 1.

    u · total may round up to the total, which nothing exceeds; it is held just below, so a token of mass 0 never wins.
    """
    cumulative_BV = probabilities_BV.double().cumsum(dim=-1)
    totals_B = cumulative_BV[:, -1]
    thresholds_B = torch.minimum(uniforms_B * totals_B, totals_B.nextafter(torch.zeros_like(totals_B)))
    found_B = torch.searchsorted(cumulative_BV, thresholds_B[:, None], right=True)[:, 0]
    return found_B.clamp(max=probabilities_BV.shape[-1] - 1)  # only where logits are not numbers
