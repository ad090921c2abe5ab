"""Penalties, bias, min-p, log-probabilities and grammars, against transformers' processors and plain definitions."""

import json
import re
from collections import Counter

import pytest
import torch
from tiny_engines import full_logits, tiny_engine
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from groundup.core.errors import ConfigError, InputError
from groundup.inference.requests import Grammar, Request, Sampling
from groundup.inference.sampling import Text, change_logits, distributions


def random_logits(rows=3, V=50, seed=0):
    return torch.randn(rows, V, generator=torch.Generator().manual_seed(seed)) * 3


@pytest.mark.parametrize("penalty", [0.5, 1.3, 2.0])
def test_the_repetition_penalty_is_that_of_transformers(penalty):
    logits = random_logits()
    texts = [Text([1, 2, 2, 3], [7, 7]), Text([4], []), Text([5, 6], [5])]
    ours = change_logits(logits, [Sampling(repetition_penalty=penalty)] * 3, texts)
    processor = RepetitionPenaltyLogitsProcessor(penalty)
    for row, text in enumerate(texts):
        theirs = processor(torch.tensor([[*text.prompt, *text.ids]]), logits[row : row + 1].clone())
        torch.testing.assert_close(ours[row], theirs[0])


def test_presence_and_frequency_count_what_was_sampled():
    logits, sampled = random_logits(1), [7, 7, 9, 7]
    ours = change_logits(logits, [Sampling(presence_penalty=0.7, frequency_penalty=0.4)], [Text([1, 9], sampled)])
    expected = logits[0].clone()
    for token, count in Counter(sampled).items():
        expected[token] -= 0.7 + 0.4 * count
    torch.testing.assert_close(ours[0], expected)


def test_bias_is_added_and_other_rows_are_left_alone():
    logits = random_logits(2)
    ours = change_logits(logits, [Sampling(logit_bias=((3, 2.5), (4, -100.0))), Sampling()], [Text([1], [])] * 2)
    changes = ours - logits
    assert changes[0, 3].item() == pytest.approx(2.5)
    assert changes[0, 4].item() == pytest.approx(-100)
    assert changes.count_nonzero() == 2


@pytest.mark.parametrize(
    "settings",
    [
        Sampling(temperature=1.0, min_p=0.1),
        Sampling(temperature=1.0, min_p=1.0),
        Sampling(temperature=1.0, top_k=20, top_p=0.9, min_p=0.05),
        Sampling(temperature=1.0, top_p=0.5, min_p=0.3),
    ],
)
def test_filters_keep_what_transformers_keep(settings):
    logits = random_logits(8)
    theirs = logits
    if settings.top_k:
        theirs = TopKLogitsWarper(settings.top_k)(torch.empty(8, 0, dtype=torch.long), theirs)
    if settings.top_p < 1:
        theirs = TopPLogitsWarper(settings.top_p)(torch.empty(8, 0, dtype=torch.long), theirs)
    theirs = MinPLogitsWarper(settings.min_p)(torch.empty(8, 0, dtype=torch.long), theirs)
    _, kept, _ = distributions(logits, [settings] * 8)
    torch.testing.assert_close(kept / kept.sum(-1, keepdim=True), theirs.softmax(-1))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("min_p", 1.5),
        ("repetition_penalty", 0.0),
        ("presence_penalty", float("nan")),
        ("frequency_penalty", 101.0),
        ("logit_bias", ((-1, 0.0),)),
        ("logit_bias", ((1, float("nan")),)),
    ],
)
def test_impossible_settings_are_refused(field, value):
    with pytest.raises(ConfigError, match=field):
        Sampling(**{field: value})


def test_a_bias_beyond_the_vocabulary_is_refused():
    with pytest.raises(InputError, match="logit_bias names token 99999"):
        tiny_engine().generate([Request((1, 2), Sampling(logit_bias=((99999, 1.0),)))])


def test_logprobs_are_the_models_own():
    engine = tiny_engine()
    sampling = Sampling(max_tokens=6, temperature=0.5, top_k=3, frequency_penalty=1.0, seed=3)
    requests = [Request((1, 2, 3), sampling, alternatives=4), Request((1, 2, 3), sampling)]
    done, plain = engine.generate(requests)
    assert done.ids == plain.ids
    assert plain.token_logprobs == ()
    expected = full_logits(engine, (1, 2, 3, *done.ids)).log_softmax(-1)[2:-1]
    for token, logprobs, ours in zip(done.ids, expected, done.token_logprobs, strict=True):
        assert ours.id == token
        assert ours.logprob == pytest.approx(logprobs[token].item(), abs=1e-4)
        best = logprobs.topk(4)
        assert [token for token, _ in ours.alternatives] == best.indices.tolist()
        assert [value for _, value in ours.alternatives] == pytest.approx(best.values.tolist(), abs=1e-4)


def test_streamed_logprobs_are_those_of_the_completion():
    engine, request = tiny_engine(), Request((5, 6), Sampling(max_tokens=5, seed=1), alternatives=2)
    streamed = [each for delta in engine.stream(request) for each in delta.logprobs]
    assert tuple(streamed) == engine.generate([request])[0].token_logprobs


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("pattern", ["[0-9]{3}-[0-9]{4}", "(yes|no|perhaps)", "[äöü€]{2}[a-f]{1,9}z"])
def test_a_regular_expression_is_followed(pattern, seed):
    engine = tiny_engine(context_length=128)
    sampling = Sampling(max_tokens=100, temperature=1.5, seed=seed)
    (done,) = engine.generate([Request((1, 2), sampling, grammar=Grammar("regex", pattern))])
    assert done.finish_reason == "stop"
    assert re.fullmatch(pattern, done.text)


@pytest.mark.parametrize("seed", range(4))
def test_a_json_schema_is_followed_in_a_crowd(seed):
    schema = {
        "type": "object",
        "properties": {"name": {"enum": ["ada", "grace"]}, "age": {"type": "integer", "minimum": 0, "maximum": 99}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    engine = tiny_engine(context_length=256)
    sampling = Sampling(max_tokens=200, temperature=1.0, seed=seed)
    constrained = Request((1, 2), sampling, grammar=Grammar("json_schema", json.dumps(schema)))
    done, free = engine.generate([constrained, Request((1, 2), sampling)])
    record = json.loads(done.text)
    assert record["name"] in ("ada", "grace")
    assert 0 <= record["age"] <= 99
    assert free.ids == engine.generate([Request((1, 2), sampling)])[0].ids


@pytest.mark.parametrize(
    "grammar", [Grammar("regex", "[0-9"), Grammar("json_schema", '{"type": "nothing"}'), Grammar("json_schema", "{")]
)
def test_a_grammar_that_is_none_is_refused(grammar):
    with pytest.raises(InputError, match=grammar.kind.replace("_", " ")):
        tiny_engine().generate([Request((1, 2), grammar=grammar)])
