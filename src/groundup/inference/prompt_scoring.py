"""Log-probabilities of the tokens of given texts, as `echo` with `logprobs` of the completions API reports them.

    log p(token_i | tokens before i)  for i ≥ 1, by one plain forward pass without a cache

The first token has none: nothing stands in front of it. Shapes: T time, t a slice of it, V vocabulary, N alternatives.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from groundup.inference.forward_pass import eagerly
from groundup.inference.requests import TokenLogprob
from groundup.models.language_model import LanguageModel

ROWS = 256  # positions whose logits are there at once: a row has the width of the vocabulary


def text_logprobs(model: LanguageModel, vocab_size: int, ids: Sequence[int], alternatives: int) -> list[TokenLogprob]:
    """Of each id but the first, with so many of the likeliest among the first `vocab_size` ids, best first."""
    if len(ids) < 2:
        return []
    with torch.inference_mode(), eagerly():
        hidden_TD = model(torch.tensor([list(ids[:-1])]))[0]
        found: list[TokenLogprob] = []
        for start in range(0, len(ids) - 1, ROWS):
            logprobs_tV = torch.log_softmax(model.unembed(hidden_TD[start : start + ROWS]).float(), dim=-1)
            found += _of_rows(logprobs_tV, ids[start + 1 : start + 1 + ROWS], vocab_size, alternatives)
    return found


def _of_rows(logprobs_tV: Tensor, ids: Sequence[int], vocab_size: int, alternatives: int) -> list[TokenLogprob]:
    own = logprobs_tV.gather(-1, torch.tensor(ids)[:, None])[:, 0].tolist()
    best_tN = logprobs_tV[:, :vocab_size].topk(min(alternatives, vocab_size), dim=-1)
    rows = zip(ids, own, best_tN.indices.tolist(), best_tN.values.tolist(), strict=True)
    return [
        TokenLogprob(token, logprob, tuple(zip(places, values, strict=True))) for token, logprob, places, values in rows
    ]
