"""Products on the roofline: sizes, roles, and FLOPs that are accounting's."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from profiled import training, training_of
from tiny_training import MODEL

from groundup.accounting.decoder import layers_cost
from groundup.accounting.flops import forward_flops, sequence_flops
from groundup.models.presets import llama
from groundup.training import roofline
from groundup.training.profiling import Training, time_steps
from groundup.training.roofline import (
    FORWARD,
    INPUT_GRADIENT,
    RECOMPUTED,
    WEIGHT_GRADIENT,
    Product,
    Roofs,
    higher,
    measured_roofs,
    product_sizes,
    products,
    weight_shapes,
)
from groundup.training.step_trace import Operation, operations, record

ROWS = 8
TOKENS = ROWS * MODEL.context_length


def measured(small: Training) -> list[Product]:
    time_steps(small, 1)
    return products(operations(record(small, 2, compiled=False)), 2, weight_shapes(small.model))


def of_role(found: list[Product], *roles: str) -> float:
    return sum(each.flops for each in found if each.role in roles)


def test_flops_of_a_real_step_are_those_of_accounting() -> None:
    found = measured(training())
    forward = forward_flops(MODEL).times(TOKENS)
    weights = [each for each in found if each.shape is not None]
    matrices = forward.projections + forward.feed_forward + forward.unembedding
    for role in (FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT):
        assert of_role(weights, role) == matrices
    attention = [each for each in found if each.weights == "attention"]
    assert of_role(attention, "forward") == forward.attention  # one block of queries: nothing is left out
    assert of_role(attention, "backward") == 2 * forward.attention
    assert of_role(found, FORWARD) == ROWS * sequence_flops(MODEL).total
    assert not [each for each in found if each.weights == "other"]
    assert all(each.seconds > 0 for each in found)


def test_products_bear_the_names_of_their_weights() -> None:
    found = measured(training())
    named = {(each.weights, each.shape) for each in found if each.shape is not None}
    assert named == {
        ("query, output", (32, 32)),
        ("key, value", (16, 32)),
        ("gate, up", (48, 32)),
        ("down", (32, 48)),
        ("unembedding", (23, 32)),
    }
    calls = {(each.weights, each.role): each.calls for each in found}
    assert calls["gate, up", WEIGHT_GRADIENT] == 2 * MODEL.depth
    assert calls["unembedding", INPUT_GRADIENT] == 1


def test_a_width_equal_to_the_number_of_tokens_confuses_nothing() -> None:
    model = llama(23, context_length=16, width=32, depth=1, num_heads=2, num_kv_heads=2, mlp_width=TOKENS)
    found = measured(training_of(model))
    flops = {(each.weights, each.role): each.flops for each in found if each.shape is not None}
    for names in ("gate, up", "down", "query, key, value, output", "unembedding"):
        assert flops[names, FORWARD] == flops[names, INPUT_GRADIENT] == flops[names, WEIGHT_GRADIENT]


def test_what_is_recomputed_is_no_gradient() -> None:
    found = measured(training(recompute=1))
    layers = 2 * layers_cost(MODEL).matrices * TOKENS
    last = 2 * MODEL.depth * 48 * 32 * TOKENS  # the last product of a layer is not needed again
    weights = [each for each in found if each.shape is not None]
    assert of_role(weights, RECOMPUTED) == layers - last
    for role in (INPUT_GRADIENT, WEIGHT_GRADIENT):
        assert of_role(weights, role) == of_role(weights, FORWARD)


@pytest.mark.parametrize(
    ("name", "shapes", "sizes"),
    [
        ("aten::mm", ((3, 4), (4, 5)), (1, 3, 4, 5)),
        ("aten::mm", ((3, 4), (4, 5), (3, 5)), (1, 3, 4, 5)),  # with the tensor to write to
        ("aten::addmm", ((5,), (3, 4), (4, 5)), (1, 3, 4, 5)),
        ("aten::bmm", ((2, 3, 4), (2, 4, 5)), (2, 3, 4, 5)),
        ("aten::baddbmm", ((2, 3, 5), (2, 3, 4), (2, 4, 5)), (2, 3, 4, 5)),
        ("aten::mv", ((3, 4), (4,)), (1, 3, 4, 1)),
        ("aten::mm", ((), ()), None),
        ("aten::mm", (), None),
    ],
)
def test_sizes_of_a_product(name: str, shapes: tuple, sizes: tuple | None) -> None:
    assert product_sizes(Operation(name, "forward", "", 0.0, 1.0, shapes=shapes)) == sizes


def test_a_product_by_hand() -> None:
    operation = Operation(
        "aten::mm", "forward", "", 0.0, 2e-3, False, ((100, 20), (20, 50)), (), ("c10::BFloat16",) * 2
    )
    (found,) = products([operation, operation], 1, {(50, 20): "up"})
    assert (found.weights, found.role, found.shape, found.calls) == ("up", FORWARD, (50, 20), 2)
    assert found.flops == 2 * 2 * 100 * 20 * 50
    assert found.bytes == 2 * 2 * (100 * 20 + 20 * 50 + 100 * 50)
    assert found.intensity == 200_000 / 16_000
    assert found.rate == 400_000 / 4e-3


def test_experts_share_one_name_whatever_their_slices() -> None:
    calls = [
        Operation("aten::mm", "forward", "", at, 1e-3, False, ((rows, 32), (32, 64)), (), ("float",) * 2)
        for at, rows in enumerate((5, 9, 2))
    ]
    (found,) = products(calls, 1, {(64, 32): "gate, up"})
    assert (found.calls, found.flops) == (3, 2 * 16 * 32 * 64)


@given(st.floats(1, 1e15), st.floats(1, 1e12), st.floats(1e-3, 1e6))
def test_the_roof_is_the_lower_of_two(peak: float, bandwidth: float, intensity: float) -> None:
    roofs = Roofs(peak, bandwidth / 2, bandwidth)
    assert roofs.bandwidth == bandwidth
    assert roofs.attainable(intensity) == (peak if intensity > peak / bandwidth else intensity * bandwidth)


def test_of_two_measurements_each_better_one_counts() -> None:
    assert higher(Roofs(3.0, 2.0, 9.0), Roofs(4.0, 1.0, 8.0)) == Roofs(4.0, 2.0, 9.0)


def test_roofs_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "ENTRIES", 2**12)
    monkeypatch.setattr(roofline, "measured_matmul_flops", lambda dtype: 5e9)
    found = measured_roofs(torch.float32)
    assert found.peak_flops == 5e9
    assert 1e6 < found.copy < 1e15
    assert 1e6 < found.triad < 1e15
