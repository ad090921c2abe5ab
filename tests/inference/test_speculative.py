"""Speculative decoding gives the model's own distribution, and greedily its own tokens, whatever the draft guesses."""

import math

import decoder_kinds
import pytest
import torch
from tiny_engines import tiny_engine

from groundup.core.errors import InputError
from groundup.inference.engine import Engine
from groundup.inference.requests import Grammar, Request, Sampling
from groundup.inference.sampling import Text
from groundup.inference.speculative import LookupDraft, ModelDraft, SpeculativeDecoder, accept, look_up

DRAWS = 100_000


def chi_square_as_normal(counts, expected):
    """Wilson and Hilferty 1931: (χ²/f)^(1/3) is nearly normal."""
    possible = expected > 0
    assert counts[~possible].sum() == 0
    chi_square = ((counts - expected)[possible] ** 2 / expected[possible]).sum().item()
    freedom = int(possible.sum()) - 1
    return ((chi_square / freedom) ** (1 / 3) - (1 - 2 / (9 * freedom))) / math.sqrt(2 / (9 * freedom))


@pytest.mark.parametrize("likeness", [0.0, 0.5, 1.0])
def test_pairs_of_tokens_have_the_models_distribution(likeness):
    """Two tokens by one guess each: their joint frequencies are p(x) p(y | x)."""
    V, generator = 5, torch.Generator().manual_seed(3)
    p_V, p_VV = (torch.rand(*shape, generator=generator).double() ** 2 for shape in ((V,), (V, V)))
    p_V, p_VV = p_V / p_V.sum(), p_VV / p_VV.sum(-1, keepdim=True)
    q_V = likeness * p_V + (1 - likeness) / V
    guesses = torch.multinomial(q_V, DRAWS, replacement=True, generator=generator)
    p_BKV = torch.stack((p_V.expand(DRAWS, V), p_VV[guesses]), dim=1)
    keep, last, after = (torch.rand(DRAWS, generator=generator, dtype=torch.float64) for _ in range(3))
    kept, token = accept(p_BKV, q_V.expand(DRAWS, 1, V), guesses[:, None], keep[:, None], last.tolist())
    first = torch.where(kept == 1, guesses, token)
    second = torch.where(kept == 1, token, (p_VV[first].cumsum(-1) < after[:, None]).sum(-1).clamp(max=V - 1))
    counts = torch.bincount(first * V + second, minlength=V * V).double()
    assert abs(chi_square_as_normal(counts, (p_V[:, None] * p_VV).flatten() * DRAWS)) < 4
    assert kept.double().mean().item() == pytest.approx(torch.minimum(p_V, q_V).sum().item(), abs=0.01)


def test_what_the_model_never_draws_is_never_kept():
    p_BKV = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]]).double()
    q_BkV = torch.tensor([[[1.0, 0.0]]]).double()
    kept, token = accept(p_BKV, q_BkV, torch.tensor([[0]]), torch.tensor([[0.0]]).double(), [0.0])
    assert (kept.item(), token.item()) == (0, 1)


def draft_of(kind, engine):
    if kind == "lookup":
        return LookupDraft(engine.tokenizer.vocab_size)
    same = kind == "the model itself"
    return ModelDraft(engine.model if same else tiny_engine(seed=9).model, engine.tokenizer.vocab_size)


@pytest.mark.parametrize("kind", ["lookup", "the model itself", "another model"])
def test_greedy_tokens_are_those_of_the_engine(kind):
    engine = tiny_engine(context_length=96)
    decoder = SpeculativeDecoder(engine, draft_of(kind, engine))
    for seed in range(12):
        prompt = torch.randint(0, 256, (4,), generator=torch.Generator().manual_seed(seed)).tolist()
        request = Request(tuple(prompt * 3), Sampling(max_tokens=40, temperature=0))
        ours, plain = decoder.generate(request), engine.generate([request])[0]
        assert (ours.ids, ours.text, ours.finish_reason) == (plain.ids, plain.text, plain.finish_reason)
        assert ours.logprobs == pytest.approx(plain.logprobs, abs=1e-4)
    if kind == "the model itself":
        assert decoder.acceptance.rate == 1
        assert decoder.acceptance.passes < 12 * 40 / 4
    assert decoder.acceptance.guessed > 0


@pytest.mark.parametrize("kind", ["lookup", "another model"])
def test_sampled_first_tokens_have_the_filtered_distribution(kind):
    """The second token of many seeds, given its first: what the engine draws from."""
    engine = tiny_engine(sharpness=15.0)
    settings = {"temperature": 0.9, "top_k": 4, "repetition_penalty": 1.2, "max_tokens": 3}
    decoder = SpeculativeDecoder(engine, draft_of(kind, engine))
    runs = 400
    pairs = [decoder.generate(Request((65, 66, 65, 66, 65), Sampling(seed=s, **settings))).ids[:2] for s in range(runs)]
    plain = [
        each.ids[:2]
        for each in engine.generate(
            [Request((65, 66, 65, 66, 65), Sampling(seed=seed, **settings)) for seed in range(runs)]
        )
    ]
    kinds = sorted({*pairs, *plain})
    ours, theirs = (torch.tensor([found.count(each) for each in kinds]).double() for found in (pairs, plain))
    chi_square = ((ours - theirs) ** 2 / (ours + theirs)).sum().item()  # two samples of one size
    assert chi_square < len(kinds) + 5 * math.sqrt(2 * len(kinds))


def test_stop_strings_logprobs_and_alternatives_work_as_in_the_engine():
    engine = tiny_engine(context_length=96)
    (whole,) = engine.generate([Request((7, 8, 9), Sampling(max_tokens=30, temperature=0))])
    stop = whole.text[5:7]
    request = Request((7, 8, 9), Sampling(max_tokens=30, temperature=0), stop_strings=(stop,), alternatives=2)
    decoder = SpeculativeDecoder(engine, ModelDraft(engine.model, engine.tokenizer.vocab_size))
    deltas = list(decoder.stream(request))
    (plain,) = engine.generate([request])
    assert "".join(delta.text for delta in deltas) == plain.text
    assert stop not in plain.text
    found = [each.id for delta in deltas for each in delta.logprobs]
    assert found == [each.id for each in plain.token_logprobs]


@pytest.mark.parametrize(
    ("ids", "count", "expected"),
    [
        ([1, 2, 3, 9, 1, 2, 3], 2, [9, 1]),
        ([5, 1, 6, 1], 3, [6, 1]),
        ([1, 2, 8, 0, 1, 2, 9, 1, 2], 1, [9]),  # the newest of several
        ([1, 2, 3], 4, []),
        ([4], 4, []),
    ],
)
def test_lookup_continues_as_the_last_time(ids, count, expected):
    assert look_up(ids, count) == expected


def test_lookup_guesses_are_certain():
    guesses, q = LookupDraft(10).guess(Text([1, 2, 3], [1]), Sampling(), 2)
    assert guesses == [2, 3]
    assert q.tolist() == [[1.0 if token == guess else 0.0 for token in range(10)] for guess in guesses]


def test_what_cannot_go_back_is_refused():
    engine = tiny_engine()
    decoder = SpeculativeDecoder(engine, LookupDraft(engine.tokenizer.vocab_size))
    with pytest.raises(InputError, match="grammar"):
        decoder.generate(Request((1, 2), grammar=Grammar("regex", "a")))
    recurrent = Engine(decoder_kinds.decoder(decoder_kinds.RING)(), decoder_kinds.Letters())
    with pytest.raises(InputError, match="cannot go back"):
        SpeculativeDecoder(recurrent, LookupDraft(decoder_kinds.V))
