"""The operations of a trace: own times, phases, regions and groups, of traces by hand and of real ones."""

import math

import pytest
import torch
from profiled import call, mark, training

from groundup.training.compiling import compile_for_training
from groundup.training.operation_groups import GROUPS, group_of, group_seconds, is_product, product_seconds, rows
from groundup.training.profiling import PHASES, Training, time_steps
from groundup.training.step_trace import (
    BETWEEN,
    Operation,
    allocations,
    named_kernels,
    operations,
    phase_spans,
    record,
)

BACKWARD = "autograd::engine::evaluate_function: "


def by_name(trace: dict) -> dict[str, Operation]:
    found = operations(trace)
    assert len({each.name for each in found if each.name != BETWEEN}) == sum(each.name != BETWEEN for each in found)
    return {each.name: each for each in found if each.name != BETWEEN}


def test_own_time_is_without_what_is_inside() -> None:
    events = [
        mark("forward", 0),
        call("aten::matmul", 10, 50),
        call("aten::mm", 20, 30, Input_Dims=[[3, 4], [4, 5]], Input_type=["float", "float"]),
        call("aten::empty", 25, 5),
        call("aten::add", 60, 40, Input_Dims=[[3], [], [[1, 2], [3]]]),
        mark("end", 100),
    ]
    found = by_name({"traceEvents": events})
    seconds = {name: each.seconds for name, each in found.items()}
    expected = {"aten::matmul": 20e-6, "aten::mm": 25e-6, "aten::empty": 5e-6, "aten::add": 40e-6}
    assert seconds == pytest.approx(expected)
    assert found["aten::mm"].shapes == ((3, 4), (4, 5))
    assert found["aten::mm"].dtypes == ("float", "float")
    assert found["aten::add"].shapes == ((3,), (), ())
    (rest,) = [each for each in operations({"traceEvents": events}) if each.name == BETWEEN]
    assert (rest.phase, rest.seconds) == ("forward", pytest.approx(10e-6))


def test_a_range_over_a_border_is_no_operation() -> None:
    events = [
        mark("clipping", 0),
        call("groundup range of an optimizer", 10, 80),
        mark("optimizer", 20),
        call("aten::add_", 30, 10),
        mark("end", 100),
    ]
    found = operations({"traceEvents": events})
    seconds = {(each.name, each.phase): each.seconds for each in found}
    expected = {(BETWEEN, "clipping"): 20e-6, ("aten::add_", "optimizer"): 10e-6, (BETWEEN, "optimizer"): 70e-6}
    assert seconds == pytest.approx(expected)


def test_phases_and_steps_are_those_between_marks() -> None:
    events = [
        *(mark(phase, 100 * place) for place, phase in enumerate(("data", "forward", "end", "data", "optimizer"))),
        mark("end", 500),
        call("aten::relu", 150, 10),
        call("aten::lost", 250, 10),  # between two steps
        call("aten::mul", 450, 10),
    ]
    spans = phase_spans({"traceEvents": events})
    assert [(span.step, span.phase) for span in spans] == [
        (0, "data"),
        (0, "forward"),
        (1, "data"),
        (1, "optimizer"),
    ]
    found = by_name({"traceEvents": events})
    assert {name: each.phase for name, each in found.items()} == {"aten::relu": "forward", "aten::mul": "optimizer"}


def test_a_gradient_belongs_where_its_forward_operation_does() -> None:
    events = [
        mark("forward", 0),
        call("aten::tanh", 1, 1, sequence=7),
        call("groundup region: loss", 10, 30),
        call("aten::view", 12, 2, sequence=7),  # needs no gradient: it only sees the next number
        call("aten::exp", 20, 5, sequence=7),
        mark("backward", 50),
        call(BACKWARD + "ExpBackward0", 60, 20, sequence=7),
        call("ExpBackward0", 61, 15, sequence=7),
        call("aten::sin", 62, 3),
        call(BACKWARD + "OtherBackward0", 85, 10, sequence=6),
        call("aten::cos", 86, 3),
        mark("end", 100),
    ]
    regions = {name: each.region for name, each in by_name({"traceEvents": events}).items()}
    assert regions == {
        "aten::tanh": "",
        "aten::view": "loss",
        "aten::exp": "loss",
        BACKWARD + "ExpBackward0": "loss",
        "ExpBackward0": "loss",
        "aten::sin": "loss",
        BACKWARD + "OtherBackward0": "",
        "aten::cos": "",
    }


def test_a_forward_pass_inside_a_backward_pass_is_recomputed() -> None:
    events = [
        mark("backward", 0),
        call(BACKWARD + "MulBackward0", 10, 80, sequence=3),
        call("MulBackward0", 11, 78, sequence=3),
        call("aten::silu", 12, 10, sequence=9),
        call("aten::sigmoid", 13, 5),
        call("aten::mul", 50, 10),
        mark("end", 100),
    ]
    found = {name for name, each in by_name({"traceEvents": events}).items() if each.recomputed}
    assert found == {"aten::silu", "aten::sigmoid"}


@pytest.mark.parametrize(
    ("name", "phase", "region", "group"),
    [
        ("aten::mm", "forward", "", "matmul"),
        ("aten::addmm", "backward", "loss", "matmul"),
        ("aten::mm", "optimizer", "", "optimizer"),
        ("aten::bmm", "backward", "attention", "attention"),
        ("aten::_softmax", "forward", "", "attention"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", "forward", "", "attention"),
        ("graph_0_cpp_fused__softmax_masked_fill_mul_3", "forward", "", "attention"),
        ("aten::mul", "forward", "attention", "attention"),
        ("aten::mul", "forward", "normalisation", "normalisation"),
        ("graph_0_cpp_fused_add_mean_mul_pow_rsqrt_2", "forward", "", "normalisation"),
        ("aten::logsumexp", "backward", "loss", "loss"),
        ("graph_2_cpp_fused__to_copy_gather_logsumexp_0", "forward", "loss", "loss"),
        ("aten::sigmoid_backward", "backward", "", "elementwise"),
        ("aten::masked_fill_", "forward", "", "elementwise"),
        ("aten::add_", "backward", "", "elementwise"),
        ("aten::sum", "backward", "", "elementwise"),
        ("graph_1_cpp_fused_mul_sigmoid_0", "forward", "", "elementwise"),
        ("aten::copy_", "forward", "", "copies"),
        ("aten::cat", "forward", "", "copies"),
        ("aten::linalg_vector_norm", "clipping", "", "optimizer"),
        ("aten::view", "forward", "attention", "other"),
        ("CompiledFunction", "forward", "loss", "other"),
        (BETWEEN, "backward", "", "other"),
    ],
)
def test_groups(name: str, phase: str, region: str, group: str) -> None:
    assert group in GROUPS
    assert group_of(Operation(name, phase, region, 0.0, 1.0)) == group


def test_rows_are_sums_over_calls_and_means_over_steps() -> None:
    found = [
        Operation("aten::mm", "forward", "", 0.0, 3.0),
        Operation("aten::mm", "backward", "", 1.0, 5.0),
        Operation("aten::mm", "optimizer", "", 2.0, 1.0),
        Operation("aten::mul", "forward", "", 3.0, 1.5),
    ]
    table = rows(found, steps=2)
    assert [(row.name, row.group, row.calls, row.seconds, row.product) for row in table] == [
        ("aten::mm", "matmul", 1.0, 4.0, True),
        ("aten::mul", "elementwise", 0.5, 0.75, False),
        ("aten::mm", "optimizer", 0.5, 0.5, True),
    ]
    assert group_seconds(table) == {**dict.fromkeys(GROUPS, 0.0), "matmul": 4.0, "elementwise": 0.75, "optimizer": 0.5}
    assert product_seconds(table) == 4.5


@pytest.fixture(scope="module")
def traced() -> tuple[Training, dict]:
    small = training()
    time_steps(small, 2)
    return small, record(small, 2, compiled=False)


def test_the_operations_of_a_real_step_sum_to_the_step(traced: tuple[Training, dict]) -> None:
    _, trace = traced
    whole = sum(span.end - span.start for span in phase_spans(trace))
    found = operations(trace)
    assert math.fsum(each.seconds for each in found) == pytest.approx(whole, rel=0.01)
    table = rows(found, 2)
    assert sum(group_seconds(table).values()) == pytest.approx(whole / 2, rel=0.01)
    assert {each.phase for each in found} == set(PHASES)
    for phase in PHASES:
        lasted = sum(span.end - span.start for span in phase_spans(trace) if span.phase == phase)
        assert math.fsum(each.seconds for each in found if each.phase == phase) == pytest.approx(
            lasted, rel=0.03, abs=1e-4
        )


def test_parts_of_the_model_are_known_in_both_directions(traced: tuple[Training, dict]) -> None:
    _, trace = traced
    found = operations(trace)
    for region in ("loss", "normalisation", "attention"):
        assert {each.phase for each in found if each.region == region} == {"forward", "backward"}
    softmax = [each for each in found if each.name == "aten::_softmax"]
    assert len(softmax) == 2 * 2  # layers, steps
    assert {each.region for each in softmax} == {"attention"}
    assert {each.region for each in found if each.name == "aten::exp"} == {"loss"}
    assert not any(each.recomputed for each in found)


def test_a_trace_says_nothing_of_the_machine_and_shows_the_phases(traced: tuple[Training, dict]) -> None:
    _, trace = traced
    assert not {"host_name", "traceName"} & set(trace)
    drawn = [event["name"] for event in trace["traceEvents"] if event.get("tid") == "phases" and event["ph"] == "X"]
    assert drawn == list(PHASES) * 2


def test_recording_leaves_the_model_as_it_was(traced: tuple[Training, dict]) -> None:
    small, _ = traced
    hooks = [hook for module in small.model.modules() for hook in (module._forward_hooks, module._forward_pre_hooks)]
    assert not any(hooks)
    assert small.model.cross_entropy.__name__ == "linear_cross_entropy"


def test_what_is_recomputed_is_seen_as_such() -> None:
    small = training(recompute=1)
    time_steps(small, 1)
    found = operations(record(small, 1, compiled=False))
    again = [each for each in found if each.recomputed]
    assert {each.phase for each in again} == {"backward"}
    assert sum(each.name == "aten::_softmax" for each in again) == 2
    assert not any(each.name == "aten::logsumexp" for each in again)


def test_allocations_are_counted_only_when_asked_for() -> None:
    small = training()
    time_steps(small, 1)
    assert allocations(record(small, 1, compiled=False)) == []
    changes = allocations(record(small, 1, compiled=False, memory=True))
    assert sum(change > 0 for _, change in changes) > 100
    assert changes == sorted(changes)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # PyTorch's compiler warns about its own ways
def test_compiled_kernels_say_what_they_compute() -> None:
    small = training(dtype=torch.bfloat16)
    with named_kernels():
        if not compile_for_training(small.model):
            pytest.skip("there is no C++ compiler; scripts/install-system-packages.sh installs one")
        time_steps(small, 2)
    trace = record(small, 1, compiled=True)
    table = rows(operations(trace), 1)
    kernels = [row for row in table if "cpp_fused" in row.name]
    assert {"attention", "normalisation", "loss", "elementwise"} <= {row.group for row in kernels}
    whole = sum(span.end - span.start for span in phase_spans(trace))
    assert sum(row.seconds for row in table) == pytest.approx(whole, rel=0.01)
    assert any(is_product(row.name) for row in table)
