"""`Engine.score` against a sum over one full forward pass per pair."""

import random

import pytest
import torch
from tiny_engines import full_logits, tiny_engine

from groundup.core.errors import InputError
from groundup.inference import engine as engine_module


def by_full_forward(engine, context, continuation):
    """lm-eval: whole = context + continuation, input = the last context_length + 1 of it without the last."""
    inputs = [*context, *continuation][-(engine.context_length + 1) :][:-1]
    logprobs_TV = torch.log_softmax(full_logits(engine, inputs), dim=-1)[-len(continuation) :]
    total = sum(logprobs_TV[at, token].item() for at, token in enumerate(continuation))
    return total, logprobs_TV.argmax(dim=-1).tolist() == list(continuation)


def test_sums_and_the_greedy_flag(monkeypatch):
    monkeypatch.setattr(engine_module, "MAX_BATCH", 4)
    engine, generator = tiny_engine(2, context_length=24, sharpness=8), random.Random(2)
    pairs = []
    for context_length, length in ((1, 1), (3, 5), (23, 1), (20, 10), (60, 4), (1, 24), (40, 24), (5, 2), (24, 24)):
        context = generator.choices(range(260), k=context_length)
        pairs.append((context, generator.choices(range(260), k=length)))
    context = [65, 66]
    for _ in range(4):  # a continuation that greedy decoding gives
        context.append(int(full_logits(engine, context)[-1].argmax()))
    pairs += [(context[:2], context[2:]), (context[:2], [*context[2:-1], (context[-1] + 1) % 260])]
    results = engine.score(pairs)
    assert len(results) == len(pairs)
    for (total, greedy), (context, continuation) in zip(results, pairs, strict=True):
        expected, expected_greedy = by_full_forward(engine, context, continuation)
        assert total == pytest.approx(expected, abs=1e-3)
        assert greedy == expected_greedy
    assert [greedy for _, greedy in results[-2:]] == [True, False]


def test_a_context_is_cut_on_the_left():
    engine = tiny_engine(context_length=16)
    context, continuation = list(range(100)), [7, 8, 9]
    (long,) = engine.score([(context, continuation)])
    (short,) = engine.score([(context[-14:], continuation)])
    (shorter,) = engine.score([(context[-13:], continuation)])
    assert long[0] == pytest.approx(short[0], abs=1e-5)
    assert long[0] != pytest.approx(shorter[0], abs=1e-3)


def test_what_cannot_be_scored():
    engine = tiny_engine(context_length=16)
    with pytest.raises(InputError, match="A continuation of 17 tokens exceeds the context of 16"):
        engine.score([([1], [2] * 17)])
    with pytest.raises(AssertionError, match="context of at least one token"):
        engine.score([([], [2])])
    with pytest.raises(AssertionError, match="continuation of at least one token"):
        engine.score([([2], [])])
    assert engine.score([]) == []
