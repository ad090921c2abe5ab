"""The compiled step of decoding against the plain engine, token for token, alone and in crowds."""

import random

import pytest
import torch
from tiny_engines import BYTES, tiny_engine

from groundup.inference.engine import Engine
from groundup.inference.requests import Request, Sampling
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
LAYERS = {
    "grouped": (Layer(Attention(4, 2), MLP),),
    "alibi": (Layer(Attention(4, 2, position=Alibi(), qk_norm="none"), MLP),),
    "capped, with sinks": (Layer(Attention(4, 2, soft_cap=20.0, sinks=True), MLP),),
    "latent": (Layer(LatentAttention(2, 16, 16, 16, 32), MLP),),
    "shared keys": (Layer(Attention(4, 2), MLP), Layer(SharedAttention(), MLP)),
}
OTHERS = {
    "window": (Layer(Attention(4, 2, window=8), MLP),),
    "state": (Layer(LinearAttention(2), MLP),),
    "experts": (Layer(Attention(4, 2), MixtureOfExperts(num_experts=4, experts_per_token=2)),),
}


def engine_of(layers, limits=None):
    model = build_model(DecoderConfig(BYTES.vocab_size, 96, 32, 2, layers))
    initialize(model, 0)
    with torch.no_grad():
        model.unembedding *= 40
    return Engine(model.eval(), BYTES, limits)


def requests(count, seed=0):
    generator = random.Random(seed)
    return [
        Request(
            tuple(generator.randrange(256) for _ in range(generator.randrange(1, 50))),
            Sampling(generator.randrange(1, 40), temperature=0),
        )
        for _ in range(count)
    ]


def ids(engine, asked):
    return [completion.ids for completion in engine.generate(asked)]


@pytest.mark.parametrize("name", LAYERS)
def test_the_step_gives_the_tokens_of_the_plain_engine(name):
    asked = requests(7)
    expected = ids(engine_of(LAYERS[name]), asked)
    for limits in (None, Limits(max_running=3, tokens_per_step=16, block_size=4, cache_bytes=1)):
        engine = engine_of(LAYERS[name], limits)
        assert engine.compile()
        with torch.compiler.set_stance("force_eager"):  # the same operations, without waiting for a compiler
            assert ids(engine, asked) == expected
            assert [ids(engine, [request])[0] for request in asked] == expected


@pytest.mark.parametrize("name", OTHERS)
def test_what_has_no_fixed_shapes_runs_without(name):
    engine = engine_of(OTHERS[name])
    assert not engine.compile()
    assert chosen()["inference.step"] == "eager"
    assert ids(engine, requests(2)) == ids(engine_of(OTHERS[name]), requests(2))


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
