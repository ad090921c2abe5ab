"""The compiled step of decoding against the plain engine, token for token, alone and in crowds."""

import random
from itertools import zip_longest

import pytest
import torch
from tiny_engines import BYTES, tiny_engine

from groundup.inference.engine import Engine
from groundup.inference.requests import Delta, Request, Sampling
from groundup.inference.scheduler import Limits
from groundup.kernels.dispatch import chosen
from groundup.models.building import build_model
from groundup.models.config import DecoderConfig, Layer
from groundup.models.initialization import initialize
from groundup.models.mixer_config import (
    Attention,
    GatedMLP,
    LatentAttention,
    LinearAttention,
    MixtureOfExperts,
    SharedAttention,
)
from groundup.models.position_config import Alibi

pytestmark = pytest.mark.filterwarnings("ignore")  # PyTorch's compiler warns about its own ways
MLP = GatedMLP(hidden_width=64)
FULL = (Layer(Attention(4, 2), MLP),)
DECODERS = {
    "grouped": {"layers": FULL},
    "alibi": {"layers": (Layer(Attention(4, 2, position=Alibi(), qk_norm="none"), MLP),)},
    "capped, with sinks": {"layers": (Layer(Attention(4, 2, soft_cap=20.0, sinks=True), MLP),)},
    "latent": {"layers": (Layer(LatentAttention(2, 16, 16, 16, 32), MLP),)},
    "shared keys": {"layers": (*FULL, Layer(SharedAttention(), MLP))},
    "pairs of tokens": {"layers": FULL, "ngram_lengths": (2,), "ngram_buckets": 64},
    "n-grams": {"layers": FULL, "ngram_lengths": (2, 4), "ngram_buckets": 100},
}
OTHERS = {
    "window": {"layers": (Layer(Attention(4, 2, window=8), MLP),)},
    "state": {"layers": (Layer(LinearAttention(2), MLP),)},
    "n-grams and states": {"layers": (Layer(LinearAttention(2), MLP),), "ngram_lengths": (2,)},
    "experts": {"layers": (Layer(Attention(4, 2), MixtureOfExperts(num_experts=4, experts_per_token=2)),)},
}
CROWDED = Limits(max_running=3, tokens_per_step=16, block_size=4, cache_bytes=1)


def engine_of(config, limits=None, width=32):
    model = build_model(DecoderConfig(BYTES.vocab_size, 96, width, 2, **config))
    initialize(model, 0)
    with torch.no_grad():
        model.unembedding *= 40
        for name, parameter in model.named_parameters():
            if name == "ngrams.tables":  # they begin at zero
                parameter.normal_(generator=torch.Generator().manual_seed(1))
    return Engine(model.eval(), BYTES, limits)


def requests(count, seed=0):
    """Of all lengths; every other one is greedy."""
    generator = random.Random(seed)
    return [
        Request(
            tuple(generator.randrange(256) for _ in range(generator.randrange(1, 50))),
            Sampling(generator.randrange(1, 40), number % 2 * 0.9, top_p=0.95, seed=number),
        )
        for number in range(count)
    ]


def ids(engine, asked):
    return [completion.ids for completion in engine.generate(asked)]


@pytest.mark.parametrize("name", DECODERS)
def test_the_step_gives_the_tokens_of_the_plain_engine(name):
    asked = requests(7)
    expected = ids(engine_of(DECODERS[name]), asked)
    for limits in (None, CROWDED):
        engine = engine_of(DECODERS[name], limits)
        assert engine.compile()
        with torch.compiler.set_stance("force_eager"):  # the same operations, without waiting for a compiler
            assert ids(engine, asked) == expected
            assert [ids(engine, [request])[0] for request in asked] == expected
    assert engine.scheduler.preemptions > 0


@pytest.mark.parametrize("name", OTHERS)
def test_what_has_no_fixed_shapes_runs_without(name):
    engine = engine_of(OTHERS[name])
    assert not engine.compile()
    assert chosen()["inference.step"] == "eager"
    assert ids(engine, requests(2)) == ids(engine_of(OTHERS[name]), requests(2))


@pytest.mark.slow
def test_compiled_for_real_n_grams_give_the_same_tokens():
    """100 buckets are no power of two: a hash whose upper bits a compiler gets wrong finds another one."""
    asked = requests(9)
    expected = ids(engine_of(DECODERS["n-grams"]), asked)
    engine = engine_of(DECODERS["n-grams"], CROWDED)
    assert engine.compile()
    assert ids(engine, asked) == expected
    assert engine.scheduler.preemptions > 0
    assert [ids(engine, [request])[0] for request in asked] == expected


@pytest.mark.slow
def test_two_compiled_engines_of_different_shape_take_turns():
    """Compiled functions have no guards, so nothing but their owner keeps them apart."""
    configs = [(DECODERS["grouped"], 32), (DECODERS["n-grams"], 64)]
    asked = requests(2)
    expected = [ids(engine_of(config, width=width), asked) for config, width in configs]
    engines = [engine_of(config, width=width) for config, width in configs]
    assert all(engine.compile() for engine in engines)
    for _ in range(2):
        assert [ids(engine, asked) for engine in engines] == expected
    alone = [[ids(engine, [request])[0] for engine in engines] for request in asked]
    assert alone == [list(both) for both in zip(*expected, strict=True)]
    streams = [[engine.stream(request) for engine in engines] for request in asked]
    for both, texts in zip(streams, zip(*expected, strict=True), strict=True):
        turns = zip_longest(*both, fillvalue=Delta("", ()))  # a step of one, a step of the other
        for deltas, text in zip(zip(*turns, strict=True), texts, strict=True):
            assert tuple(token for delta in deltas for token in delta.ids) == text


@pytest.mark.slow
def test_compiled_for_real_it_gives_the_same_tokens():
    engine, plain, asked = tiny_engine(), tiny_engine(), [Request((65, 66), Sampling(20, temperature=0))]
    assert engine.compile()
    assert ids(engine, asked) == ids(plain, asked)
    crowd = [Request((65 + row,), Sampling(20, temperature=0)) for row in range(3)]
    assert ids(engine, crowd) == ids(plain, crowd)
    with torch.compiler.set_stance("fail_on_recompile"):  # longer texts, other tokens: the same compiled functions
        assert ids(engine, crowd[:1]) == ids(plain, crowd[:1])
        longer = [Request(tuple(range(65, 70)), Sampling(40, temperature=0))]
        assert ids(engine, longer) == ids(plain, longer)
    assert chosen()["inference.products_of_1_rows"] == "multiply_and_sum"
    assert chosen()["inference.products_of_4_rows"] in ("multiply_and_sum", "packed_gemm", "gemm")
