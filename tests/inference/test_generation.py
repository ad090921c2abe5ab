"""The engine against the plainest decoding there is: a full forward pass for each token of each request alone."""

import math
import random

import pytest
import torch
from tiny_engines import BYTES, full_logits, tiny_engine

from groundup.core.errors import InputError
from groundup.evaluation.bits_per_byte import window_bits_per_byte
from groundup.inference.engine import Engine
from groundup.inference.requests import Request, Sampling
from groundup.inference.scheduler import Limits
from groundup.models.config import DecoderConfig, Layer
from groundup.models.decoder import Decoder
from groundup.models.initialization import initialize
from groundup.models.mixer_config import MixtureOfExperts
from groundup.tokenization.bpe import BytePairTokenizer


def greedy_by_full_forward(engine, request):
    ids = []
    while len(request.prompt) + len(ids) < engine.context_length and len(ids) < request.sampling.max_tokens:
        ids.append(int(full_logits(engine, [*request.prompt, *ids])[-1].argmax()))
        if ids[-1] in request.stop_ids:
            return ids, "stop"
    return ids, "length"


def random_requests(generator, count, context_length, temperature=0.0):
    """Prompts and limits of all lengths; each stops at a third of all tokens, so rows leave the batch at many times."""
    requests = []
    for _ in range(count):
        prompt = tuple(generator.choices(range(260), k=generator.randint(1, context_length - 1)))
        sampling = Sampling(generator.randint(1, 30), temperature, seed=generator.randrange(1000))
        stops = tuple(generator.sample(range(260), generator.choice((0, 20, 90))))
        requests.append(Request(prompt, sampling, stop_ids=stops))
    return requests


@pytest.mark.parametrize("seed", range(4))
def test_greedy_is_a_full_forward_pass_per_token_alone_and_in_ragged_batches(seed):
    engine, generator = tiny_engine(seed, context_length=32), random.Random(seed)
    requests = random_requests(generator, generator.randint(5, 14), 32)
    expected = [greedy_by_full_forward(engine, request) for request in requests]
    together = engine.generate(requests)
    assert [(list(each.ids), each.finish_reason) for each in together] == expected
    alone = [engine.generate([request])[0] for request in requests]
    assert [each.ids for each in alone] == [each.ids for each in together]
    assert {reason for _, reason in expected} == {"stop", "length"}
    assert len({len(ids) for ids, _ in expected}) > 2, "the rows should end at different times"


def test_rows_that_ended_leave_the_batch(monkeypatch):
    engine, generator = tiny_engine(1, context_length=32), random.Random(1)
    requests = [Request((5,), Sampling(length, 0.0)) for length in (2, 2, 2, 20)]
    sizes = []
    forward = Engine._forward
    monkeypatch.setattr(Engine, "_forward", lambda self, chunks: sizes.append(len(chunks)) or forward(self, chunks))
    engine.generate(generator.sample(requests, 4))
    assert sizes[:3] == [4, 4, 1]
    assert set(sizes[3:]) == {1}
    assert len(sizes) == 20


@pytest.mark.parametrize("seed", range(3))
def test_the_same_seed_draws_the_same_tokens_alone_or_in_a_batch(seed):
    engine, generator = tiny_engine(seed, sharpness=8), random.Random(seed)
    requests = random_requests(generator, 9, 48, temperature=0.9)
    together = engine.generate(requests)
    alone = [engine.generate([request])[0] for request in requests]
    assert [each.ids for each in together] == [each.ids for each in alone]
    assert engine.generate(requests) == together
    shuffled = generator.sample(range(9), 9)
    again = engine.generate([requests[at] for at in shuffled])
    assert [each.ids for each in again] == [together[at].ids for at in shuffled]


def test_another_seed_draws_other_tokens():
    engine = tiny_engine(sharpness=4)
    texts = {engine.generate([Request((65,), Sampling(12, 1.0, seed=seed))])[0].ids for seed in range(5)}
    assert len(texts) == 5


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0, 1.5])
def test_logprobs_are_those_of_a_full_forward_pass(temperature):
    engine = tiny_engine(3, sharpness=8)
    requests = [
        Request(tuple(range(start, start + length)), Sampling(15, temperature, top_k=40, top_p=0.9, seed=start))
        for start, length in ((60, 3), (90, 20), (100, 1))
    ]
    for request, completion in zip(requests, engine.generate(requests), strict=True):
        logits_TV = full_logits(engine, [*request.prompt, *completion.ids])[len(request.prompt) - 1 : -1]
        expected_TV = torch.log_softmax(logits_TV / (temperature or 1.0), dim=-1)
        for logprob, expected_V, token in zip(completion.logprobs, expected_TV, completion.ids, strict=True):
            assert logprob == pytest.approx(expected_V[token].item(), abs=1e-4)


def test_more_requests_than_a_batch_holds():
    engine, smaller = tiny_engine(), tiny_engine(limits=Limits(max_running=3))
    requests = [Request((64 + row,), Sampling(3, 0.0)) for row in range(7)]
    whole = [completion.ids for completion in engine.generate(requests)]
    assert [completion.ids for completion in smaller.generate(requests)] == whole
    assert engine.generate([]) == []


def test_a_stream_is_the_completion_in_pieces():
    engine, generator = tiny_engine(5, sharpness=8), random.Random(5)
    for request in random_requests(generator, 8, 48, temperature=0.8):
        deltas = list(engine.stream(request))
        (completion,) = engine.generate([request])
        assert "".join(delta.text for delta in deltas) == completion.text
        assert tuple(token for delta in deltas for token in delta.ids) == completion.ids
        assert [delta.finish_reason for delta in deltas[:-1]] == [None] * (len(deltas) - 1)
        assert deltas[-1].finish_reason == completion.finish_reason


def test_closing_a_stream_stops_the_work(monkeypatch):
    engine = tiny_engine()
    calls = []
    forward = Engine._forward
    monkeypatch.setattr(Engine, "_forward", lambda self, *given: calls.append(1) or forward(self, *given))
    stream = engine.stream(Request((65,), Sampling(40, 0.0)))
    next(stream), next(stream)
    stream.close()
    assert len(calls) == 2


@pytest.mark.parametrize("length", [1, 31, 47])
def test_the_context_ends_a_generation(length):
    engine = tiny_engine(context_length=48)
    (completion,) = engine.generate([Request((65,) * length, Sampling(1000, 0.0))])
    assert completion.finish_reason == "length"
    assert length + len(completion.ids) == 48


def test_prompts_that_cannot_be_continued():
    engine = tiny_engine(context_length=48)
    with pytest.raises(InputError, match=r"The prompt has 48 tokens and the model's context holds 48; shorten"):
        engine.generate([Request((65,) * 48)])
    with pytest.raises(InputError, match="The prompt is empty"):
        engine.generate([Request(())])
    with pytest.raises(InputError, match="The prompt is empty"):
        next(engine.stream(Request(())))


def test_a_wrong_request_is_refused_before_any_is_run(monkeypatch):
    engine = tiny_engine()
    monkeypatch.setattr(Engine, "_advance", lambda *_: pytest.fail("work was begun"))
    with pytest.raises(InputError):
        engine.generate([*[Request((65,))] * 5, Request(())])


def test_a_tokenizer_of_another_vocabulary_is_refused():
    engine = tiny_engine()
    other = BytePairTokenizer([], special_tokens={**BYTES.special_tokens, "<|more|>": 260})
    with pytest.raises(InputError, match="do not belong together"):
        Engine(engine.model, other)


def mixture_model(routing):
    mixture = Layer(channel=MixtureOfExperts(routing=routing, hidden_width=16))
    model = Decoder(DecoderConfig(vocab_size=260, context_length=16, width=32, depth=2, layers=(Layer(), mixture)))
    initialize(model, 0)
    with torch.no_grad():
        model.unembedding *= 40
    return model.eval()


def test_experts_that_choose_their_tokens_are_refused():
    with pytest.raises(InputError, match='train one with routing "tokens"'):
        Engine(mixture_model("experts"), BYTES)
    engine, request = Engine(mixture_model("tokens"), BYTES), Request((65, 66), Sampling(9, 0.0))
    assert list(engine.generate([request])[0].ids) == greedy_by_full_forward(engine, request)[0]


@torch.no_grad()
def test_training_validates_experts_that_choose_their_tokens():
    model = mixture_model("experts")
    windows_NT = torch.randint(256, (3, 17), generator=torch.Generator().manual_seed(0))
    logits_NTV = model.unembed(model(windows_NT[:, :-1]))
    expected = torch.nn.functional.cross_entropy(logits_NTV.mT, windows_NT[:, 1:]).item() / math.log(2)
    found = window_bits_per_byte(model, torch.ones(260, dtype=torch.long), windows_NT)
    assert found == pytest.approx(expected, rel=1e-5)


def test_a_table_that_is_larger_than_the_vocabulary_gives_its_tokens_only():
    engine = tiny_engine()
    smaller = Engine(engine.model, BytePairTokenizer([]))  # 256 tokens of 260
    completion = smaller.generate([Request((65,), Sampling(max_tokens=40, temperature=5.0, seed=1))])[0]
    assert max(completion.ids) < 256
