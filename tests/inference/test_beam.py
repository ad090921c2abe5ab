"""Beam search against all texts there are, and against a search without a cache."""

import itertools

import pytest
import torch
from tiny_engines import full_logits, tiny_engine

from groundup.core.errors import InputError
from groundup.inference import beam
from groundup.inference.beam import beam_search
from groundup.inference.requests import Request, Sampling


def plain_search(engine, prompt, beams, limit, stop_ids, length_penalty):
    """The same search from its definition, with a full forward pass for every beginning."""
    live, finished = [((), 0.0)], []
    while live:
        candidates = []
        for ids, total in live:
            logprobs = full_logits(engine, (*prompt, *ids))[-1, : engine.tokenizer.vocab_size].double().log_softmax(-1)
            candidates += [((*ids, token), total + value) for token, value in enumerate(logprobs.tolist())]
        candidates.sort(key=lambda each: -each[1])
        live = []
        for ids, total in candidates:
            if ids[-1] in stop_ids or len(ids) == limit:
                finished.append((total / len(ids) ** length_penalty, ids))
            else:
                live.append((ids, total))
            if len(live) == beams:
                break
        finished = sorted(finished, reverse=True)[:beams]
        best_possible = max((total / limit**length_penalty for _, total in live), default=-1e9)
        if len(finished) == beams and finished[-1][0] >= best_possible:
            break
    return finished


@pytest.mark.parametrize("beams", [1, 2, 5])
@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
@pytest.mark.parametrize("stops", [0, 60])
def test_the_search_is_the_plain_one(beams, length_penalty, stops):
    engine, prompt = tiny_engine(seed=beams, sharpness=10.0), (1, 2, 3)
    stop_ids = tuple(range(stops))
    request = Request(prompt, Sampling(max_tokens=5), stop_ids)
    found = beam_search(engine, request, beams, length_penalty, count=beams)
    expected = plain_search(engine, prompt, beams, 5, stop_ids, length_penalty)
    assert [each.completion.ids for each in found] == [ids for _, ids in expected]
    assert [each.score for each in found] == pytest.approx([score for score, _ in expected], abs=1e-4)


def test_wide_beams_find_the_likeliest_text(monkeypatch):
    engine, prompt = tiny_engine(sharpness=5.0), (9, 8)
    monkeypatch.setattr(beam, "MOST_BEAMS", 300)
    V = engine.tokenizer.vocab_size
    (found,) = beam_search(engine, Request(prompt, Sampling(max_tokens=2)), beams=V, length_penalty=0.0)
    first = full_logits(engine, prompt)[-1, :V].double().log_softmax(-1)
    totals = {}
    for token in range(V):
        second = full_logits(engine, (*prompt, token))[-1, :V].double().log_softmax(-1)
        totals |= {(token, other): (first[token] + second[other]).item() for other in range(V)}
    assert len(totals) == len(list(itertools.product(range(V), repeat=2)))
    assert found.completion.ids == max(totals, key=lambda ids: totals[ids])
    assert found.score == pytest.approx(max(totals.values()), abs=1e-4)


def test_one_beam_is_greedy():
    engine, request = tiny_engine(), Request((4, 5), Sampling(max_tokens=12, temperature=0))
    (found,) = beam_search(engine, request, beams=1)
    assert found.completion.ids == engine.generate([request])[0].ids


@pytest.mark.parametrize(("beams", "count"), [(0, 1), (2, 3), (65, 1)])
def test_impossible_numbers_are_refused(beams, count):
    with pytest.raises(InputError, match="beams"):
        beam_search(tiny_engine(), Request((1,)), beams, count=count)


def test_long_searches_leave_the_engine_as_it_was():
    engine, request = tiny_engine(), Request((1, 2), Sampling(max_tokens=8, temperature=0))
    before = engine.generate([request])
    beam_search(engine, request, beams=3)
    assert engine.generate([request]) == before
    assert torch.isfinite(full_logits(engine, (1, 2))).all()
