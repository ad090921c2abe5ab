"""The config of the data, and the batches that it stands for."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from groundup.batches.build import training_batches
from groundup.batches.config import CORPUS, DataConfig, MixturePhase
from groundup.batches.token_stream import TokenStream
from groundup.batches.windows import WindowSource
from groundup.core.config import decode, encode
from groundup.core.errors import ConfigError, InputError

SEPARATOR = 0


def stream(first: int, size: int = 600) -> TokenStream:
    """Documents of ten tokens, with ids from `first` on that name the stream."""
    ids = np.arange(first, first + size, dtype=np.int64)
    ids[::10] = SEPARATOR
    return TokenStream([ids], SEPARATOR)


MIXED = DataConfig(
    sources={"code": Path("shards/code"), "math": Path("shards/math")},
    weights={CORPUS: 0.5, "code": 0.5},
    weight_changes=(MixturePhase(0.75, {"math": 1.0}),),
)
STREAMS = {CORPUS: stream(1000), "code": stream(2000), "math": stream(3000)}


@pytest.mark.parametrize("config", [DataConfig(), DataConfig("documents", prefetch=0), MIXED])
def test_a_config_survives_its_json(config: DataConfig) -> None:
    assert decode(DataConfig, encode(config)) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"packing": "rows"}, "packing is 'rows'; choose 'windows' or 'documents'"),
        ({"prefetch": -1}, "prefetch is -1; it must be 0"),
        ({"weights": {CORPUS: 0.9}}, "sum to 0.9, not to 1"),
        ({"weights": {"corpse": 1.0}}, "unknown source 'corpse'; did you mean 'corpus'"),
        ({"weights": {CORPUS: math.inf}}, "the weight inf"),
        ({"sources": {CORPUS: Path("x")}}, "A source is called 'corpus', which is the training's own corpus"),
        ({"sources": {"code": Path("x")}}, "The source 'code' has no weight in any phase; give it one or leave it out"),
        ({"weight_changes": (MixturePhase(0.5, {"code": 1.0}),)}, "unknown source 'code'"),
    ],
)
def test_what_cannot_be_meant_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DataConfig(**changes)


def test_the_corpus_alone_in_windows_is_what_it_always_was() -> None:
    tokens = np.arange(500, dtype=np.uint16)
    source = training_batches(DataConfig(), {CORPUS: TokenStream([tokens])}, 4, 8, seed=3, steps=10)
    for step in range(30):
        assert torch.equal(source.batch(step).tokens_BT, WindowSource(tokens, 4, 8, 3).batch(step).tokens_BT)


@pytest.mark.parametrize("packing", ["windows", "documents"])
def test_a_mixture_reads_what_its_phases_say(packing: str) -> None:
    config = decode(DataConfig, encode(MIXED) | {"packing": packing})
    source = training_batches(config, STREAMS, 8, 20, seed=0, steps=40)
    origins = []
    for step in range(40):
        batch = source.batch(step)
        assert (batch.positions_BT is None) == (packing == "windows")
        origins.append(batch.tokens_BT.max(dim=1).values.div(1000, rounding_mode="floor").tolist())
    assert all(sorted(rows) == [1] * 4 + [2] * 4 for rows in origins[:30])
    assert all(rows == [3] * 8 for rows in origins[30:])
    seen = {each.source: each for each in source.seen(40)}
    assert {name: each.tokens for name, each in seen.items()} == {CORPUS: 2400, "code": 2400, "math": 1600}
    assert seen["math"].epochs == pytest.approx(1600 / (600 if packing == "documents" else 580))


def test_a_batch_that_grows_keeps_the_phases_at_their_shares() -> None:
    source = training_batches(MIXED, STREAMS, lambda step: step * (step + 1), 20, seed=0, steps=8)
    rows = [batch.tokens_BT for batch in map(source.batch, range(8))]
    assert [len(batch) for batch in rows] == [2, 4, 6, 8, 10, 12, 14, 16]
    origins = torch.cat(rows).max(dim=1).values.div(1000, rounding_mode="floor").tolist()
    assert all(origin < 3 for origin in origins[:54])
    assert origins[54:] == [3] * 18


def test_too_little_text_of_one_source_is_refused_before_the_first_step() -> None:
    with pytest.raises(InputError, match="has 30 tokens, fewer than two contexts of 20"):
        training_batches(MIXED, STREAMS | {"math": stream(0, 30)}, 8, 20, seed=0, steps=10)
