"""Bits per byte of a language model on whole documents: -Σ log₂ p(token) / Σ bytes of the original text.

Independent of the tokenizer, so it compares with compressors and byte models. Documents are scored each on its own,
every token once. As in lm-eval's rolling likelihood, a document is cut into windows of T tokens; the first token
follows `<|endoftext|>`, and the last window is moved back so that it is full. `stride` < T overlaps the windows, and
each token but the first ones sees at least T - stride tokens before it: closer to how the model is used, and dearer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from groundup.evaluation.statistics import Interval, ratio_of_sums
from groundup.inference.engine import pad
from groundup.models.language_model import LanguageModel
from groundup.tokenization.bpe import BytePairTokenizer
from groundup.tokenization.chat import END_OF_TEXT

BATCH = 32
LN2 = 0.6931471805599453


class Window(NamedTuple):
    """Ids of a document (its number among the texts), context + 1 at most, of which the last `scored` count."""

    document: int
    ids: list[int]
    scored: int


@dataclass(frozen=True)
class Likelihood:
    """A text's total in bits, and its size in bytes of UTF-8."""

    bits: float
    text_bytes: int


def bits_per_byte(likelihoods: Sequence[Likelihood]) -> Interval:
    """Corpus-weighted bits per byte with a bootstrap over documents."""
    return ratio_of_sums([item.bits for item in likelihoods], [float(item.text_bytes) for item in likelihoods])


def document_windows(
    tokenizer: BytePairTokenizer, texts: Sequence[str], context: int, stride: int | None = None
) -> list[Window]:
    """Every text behind `<|endoftext|>`, cut into windows; the stride is the context where none is given."""
    mark = tokenizer.special_tokens[END_OF_TEXT]
    windows: list[Window] = []
    for number, text in enumerate(texts):
        ids = [mark, *tokenizer.encode(text)]
        spans = window_spans(len(ids), context, context if stride is None else stride)
        windows += [Window(number, ids[start:end], scored) for start, end, scored in spans]
    return windows


@torch.inference_mode()
def document_likelihoods(
    model: LanguageModel,
    texts: Sequence[str],
    windows: Sequence[Window],
    advance: Callable[[int], None] = lambda count: None,
    token_losses: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> list[Likelihood]:
    """Score each text by its windows; `advance` is told how many were done. `token_losses` are the model's unless
    others are given."""
    nats = [0.0] * len(texts)
    by_length = sorted(windows, key=lambda window: -len(window.ids))  # rows of one length share a batch
    for first in range(0, len(by_length), BATCH):
        rows = by_length[first : first + BATCH]
        losses_BT = _losses(token_losses or model.token_losses, [window.ids for window in rows])
        for losses_T, (number, ids, scored) in zip(losses_BT, rows, strict=True):
            nats[number] += losses_T[len(ids) - 1 - scored : len(ids) - 1].double().sum().item()
        advance(len(rows))
    return [Likelihood(total / LN2, len(text.encode())) for total, text in zip(nats, texts, strict=True)]


def window_spans(length: int, context: int, stride: int) -> list[tuple[int, int, int]]:
    """(start, end, scored) spans over `length` ids of which the first is given: each later id is scored exactly once.

    A span holds at most context + 1 ids, and its last `scored` ones count.
    """
    assert 1 <= stride <= context, f"a stride of {stride} in a context of {context} scores ids twice or never"
    spans = []
    done = 1
    while done < length:
        end = min(length, done + (context if done == 1 else stride))
        spans.append((max(0, end - context - 1), end, end - done))
        done = end
    return spans


@torch.inference_mode()
def window_bits_per_byte(model: LanguageModel, token_bytes: Tensor, windows_NT: Tensor) -> float:
    """A quick estimate for learning curves, on windows of T+1 ids each; `token_bytes` is bytes per token id.

    Ids without bytes (document marks) do not count on either side.
    """
    nats, text_bytes = 0.0, 0
    for rows in windows_NT.split(BATCH):
        targets = rows[:, 1:]
        with torch.compiler.set_stance("force_eager"):
            losses_BT = model.token_losses(rows[:, :-1], targets)
        sizes_BT = token_bytes[targets]
        nats += losses_BT[sizes_BT > 0].double().sum().item()
        text_bytes += int(sizes_BT.sum())
    return nats / LN2 / text_bytes


def _losses(token_losses: Callable[[Tensor, Tensor], Tensor], rows: list[list[int]]) -> Tensor:
    tokens = pad(rows)
    with torch.compiler.set_stance("force_eager"):
        return token_losses(tokens[:, :-1], tokens[:, 1:])
