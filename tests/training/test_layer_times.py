"""Parts of the model: all of them, their FLOPs those of accounting, their seconds without gap or overlap."""

from dataclasses import replace

import pytest
import torch
from profiled import CPU, training, training_of
from tiny_training import MODEL, optimizer_config, source

from groundup.accounting.flops import training_forward_flops
from groundup.models.config import Layer, Norm
from groundup.models.hierarchical_config import HierarchicalConfig
from groundup.models.lstm_config import LstmConfig
from groundup.models.mixer_config import (
    Attention,
    DenseMLP,
    GatedMLP,
    LinearAttention,
    MixtureOfExperts,
    NoChannel,
    SharedAttention,
    StateSpace,
)
from groundup.training import layer_times
from groundup.training.layer_times import PartClock, in_words, part_flops, parts_of, time_parts
from groundup.training.objectives import next_token
from groundup.training.profiling import Training
from groundup.training.state import TrainState

TOKENS = 8 * MODEL.context_length
HYBRID = replace(
    MODEL,
    depth=4,
    layers=(
        Layer(Attention(num_heads=2, num_kv_heads=1), MixtureOfExperts(num_experts=4, experts_per_token=2)),
        Layer(SharedAttention(), DenseMLP()),
        Layer(LinearAttention(num_heads=2), GatedMLP()),
        Layer(StateSpace(head_width=16), NoChannel()),
    ),
)


@pytest.mark.parametrize(
    ("model", "modules"),
    [
        (MODEL, {"embedding": 1, "attention": 2, "gated MLP": 2, "norms": 5, "between layers": 0}),
        (replace(MODEL, norm=Norm("none")), {"embedding": 1, "attention": 2, "gated MLP": 2, "between layers": 0}),
        (
            replace(MODEL, prediction_heads=2),
            {"embedding": 1, "attention": 2, "gated MLP": 2, "norms": 5, "between layers": 0, "prediction heads": 2},
        ),
        (
            HYBRID,
            {
                "embedding": 1,
                "attention": 1,
                "mixture of experts": 1,
                "shared attention": 1,
                "dense MLP": 1,
                "linear attention": 1,
                "gated MLP": 1,
                "state space": 1,
                "norms": 8,
                "between layers": 0,
            },
        ),
    ],
)
def test_parts_and_flops_of_decoders(model, modules: dict[str, int]) -> None:
    parts = time_parts(training_of(model), 1, 2)
    assert {part.name: part.modules for part in parts} == {**modules, "unembedding and loss": 1}
    assert [part.name for part in parts] == [*modules, "unembedding and loss"]
    flops = [part.flops for part in parts if part.flops is not None]
    assert len(flops) == len(parts)
    gradients = 0 if model.prediction_heads else 2 * training_forward_flops(model).unembedding  # inside the loss
    assert sum(flops) == TOKENS * (training_forward_flops(model).total + gradients)
    assert all(part.seconds.mean > 0 for part in parts)


def test_an_accumulated_step_passes_a_part_of_its_rows() -> None:
    parts = time_parts(training(parts=4), 0, 1)
    flops = training_forward_flops(MODEL)
    assert sum(part.flops or 0 for part in parts) == TOKENS // 4 * (flops.total + 2 * flops.unembedding)


@pytest.mark.parametrize(
    ("model", "modules"),
    [
        (LstmConfig(vocab_size=23, context_length=16, width=16, depth=2), {"lstm layer": 2}),
        (
            HierarchicalConfig(context_length=16, width=16, depth=2, local_width=16, encoder_depth=1, decoder_depth=1),
            {"attention": 4, "gated MLP": 4, "norms": 10, "between layers": 0},
        ),
    ],
)
def test_models_of_other_kinds_have_parts_without_flops(model, modules: dict[str, int]) -> None:
    config = optimizer_config()
    state = TrainState(model, config, torch.float32, seed=0)
    parts = time_parts(Training(state, source(), next_token, config, 100), 0, 1)
    found = {part.name: part.modules for part in parts}
    assert {"embedding": 1, **modules, "unembedding and loss": 1}.items() <= found.items()
    assert all(part.flops is None for part in parts)
    assert part_flops(model) is None


def test_each_moment_counts_for_the_innermost_part(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    def passes(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(layer_times.time, "perf_counter", lambda: now[0])
    clock = PartClock(CPU)
    clock.begin("embedding")
    passes(1)
    clock.enter("attention")
    passes(2)
    clock.enter("norms")
    passes(4)
    clock.leave()
    passes(8)
    clock.leave()
    passes(16)
    clock.enter("unembedding and loss")
    passes(32)
    clock.leave()
    passes(64)
    clock.end()
    expected = {"embedding": 1, "attention": 10, "norms": 4, "between layers": 80, "unembedding and loss": 32}
    assert clock.seconds == expected
    assert sum(clock.seconds.values()) == now[0]


def test_watching_changes_neither_model_nor_weights() -> None:
    small = training()
    before = {name: weight.clone() for name, weight in small.state.weights().items()}
    time_parts(small, 1, 1)
    assert all(torch.equal(weight, before[name]) for name, weight in small.state.weights().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module, _ in parts_of(small.model))
    assert small.model.cross_entropy.__name__ == "linear_cross_entropy"
    assert small.state.step == 0


@pytest.mark.parametrize(
    ("kind", "words"), [(GatedMLP, "gated MLP"), (MixtureOfExperts, "mixture of experts"), (Attention, "attention")]
)
def test_names_in_words(kind: type, words: str) -> None:
    assert in_words(kind) == words
