"""Bits per byte against the definition: one forward pass for each token, with the context that its window gives it."""

import math
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from groundup.evaluation.bits_per_byte import (
    Likelihood,
    bits_per_byte,
    document_likelihoods,
    document_windows,
    window_bits_per_byte,
    window_spans,
)

sys.path.insert(0, str(Path(__file__).parents[1] / "inference"))
from tiny_engines import BYTES, full_logits, tiny_engine

MARK = BYTES.special_tokens["<|endoftext|>"]
TEXTS = ["The state of the Union is strong. " * 3, "é", "", "Fellow citizens", "x" * 16, "y" * 17, "z" * 33]


def nats_by_hand(engine, text, context, stride):
    """-log p of every token given what stands before it in the first window (from 0, then moved by the stride, the
    last one moved back so that it is full) that reaches it."""
    ids = [MARK, *text.encode()]
    total = 0.0
    for at in range(1, len(ids)):
        end = min(len(ids), context + 1)
        while end <= at:
            end = min(len(ids), end + stride)
        start = max(0, end - context - 1)
        logits = full_logits(engine, ids[start:at])[-1]
        total -= torch.log_softmax(logits, dim=-1)[ids[at]].item()
    return total


@pytest.mark.parametrize("stride", [None, 16, 8, 3, 1])
def test_documents_against_brute_force(stride):
    engine = tiny_engine(4, context_length=16, sharpness=8)
    windows = document_windows(BYTES, TEXTS, 16, stride)
    advanced = []
    found = document_likelihoods(engine.model, TEXTS, windows, advanced.append)
    for text, likelihood in zip(TEXTS, found, strict=True):
        expected = nats_by_hand(engine, text, 16, stride or 16) / math.log(2)
        assert likelihood.bits == pytest.approx(expected, abs=1e-3)
        assert likelihood.text_bytes == len(text.encode())
    assert sum(advanced) == len(windows)
    assert sum(window.scored for window in windows) == sum(len(text.encode()) for text in TEXTS)


def test_a_smaller_stride_sees_more_context():
    engine = tiny_engine(4, context_length=16, sharpness=8)
    text = ["abcdefgh" * 20]
    bits = [
        document_likelihoods(engine.model, text, document_windows(BYTES, text, 16, stride))[0].bits
        for stride in (16, 1)
    ]
    assert bits[0] != pytest.approx(bits[1], rel=1e-3)


@given(st.integers(0, 200), st.integers(1, 40), st.data())
def test_spans_score_every_id_once_in_windows_that_fit(length, context, data):
    stride = data.draw(st.integers(1, context))
    spans = window_spans(length, context, stride)
    scored = [at for start, end, count in spans for at in range(end - count, end)]
    assert scored == list(range(1, length))
    for number, (start, end, count) in enumerate(spans):
        assert 0 <= start < end - count or (start, end - count) == (0, 1)
        assert end - start == min(context + 1, length) or number == 0
        if number:  # with overlap, each scored id sees at least context - stride ids that came before
            assert end - count - start >= context - stride + 1
    if len(spans) > 1:
        assert spans[-1][1] - spans[-1][0] == context + 1  # the last window is full


@pytest.mark.parametrize("stride", [0, -3, 17])
def test_strides_that_would_score_twice_or_never(stride):
    with pytest.raises(AssertionError, match="scores ids twice or never"):
        window_spans(50, 16, stride)


def test_a_uniform_model_needs_log2_of_its_vocabulary():
    engine = tiny_engine(sharpness=0.0)
    text = ["Any text at all."]
    (likelihood,) = document_likelihoods(engine.model, text, document_windows(BYTES, text, 48))
    assert likelihood.bits / likelihood.text_bytes == pytest.approx(math.log2(260), abs=1e-5)


def test_the_corpus_weighs_documents_by_their_bytes():
    interval = bits_per_byte([Likelihood(10.0, 10), Likelihood(600.0, 200), Likelihood(90.0, 90)])
    assert interval.estimate == pytest.approx(700 / 300)
    assert 1.0 <= interval.low <= interval.estimate <= interval.high <= 3.0


def test_windows_of_the_learning_curve():
    engine = tiny_engine(6, sharpness=8)
    tokens = torch.tensor([[MARK, 72, 105, MARK, 33], [65, 66, 67, 68, 69]])
    sizes = torch.from_numpy(BYTES.token_bytes).long()
    nats = 0.0
    for row in tokens.tolist():
        logprobs = torch.log_softmax(full_logits(engine, row), dim=-1)
        nats -= sum(logprobs[at, token].item() for at, token in enumerate(row[1:]) if token != MARK)
    assert window_bits_per_byte(engine.model, sizes, tokens) == pytest.approx(nats / math.log(2) / 7, abs=1e-4)
