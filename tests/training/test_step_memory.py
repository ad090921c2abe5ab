"""Memory of a step: samples in order, tensors to the byte, the state as accounting predicts it."""

import sys
import time

import pytest
import torch
from profiled import CPU, call, mark, training
from tiny_training import MODEL, optimizer_config

from groundup.accounting.memory import logit_bytes, master_bytes, moment_bytes, weight_bytes
from groundup.optim.optimizer_config import AdamW, Muon
from groundup.training.profiling import PHASES, Span, time_steps
from groundup.training.step_memory import (
    StateBytes,
    Timeline,
    gradient_bytes,
    sample_step,
    sampling,
    state_bytes,
    tensor_timeline,
    used_bytes,
)
from groundup.training.step_trace import record


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("matrices", [AdamW(), Muon()], ids=lambda kind: kind.kind)
def test_the_state_has_the_bytes_of_accounting(dtype: torch.dtype, matrices: AdamW | Muon) -> None:
    small = training(optimizer_config(matrices=matrices), dtype)
    time_steps(small, 1)
    name = str(dtype).removeprefix("torch.")
    weights = weight_bytes(MODEL, name)
    assert state_bytes(small.state) == StateBytes(
        weights, master_bytes(MODEL, name), moment_bytes(MODEL, matrices.kind)
    )
    assert gradient_bytes(small) == weights


def test_a_step_gives_back_all_that_it_takes() -> None:
    small = training()
    time_steps(small, 2)
    timeline = tensor_timeline(record(small, 1, compiled=False, memory=True), small.state)
    kept = state_bytes(small.state).total
    assert timeline.values[0] == kept
    assert abs(timeline.values[-1] - kept) < 10_000  # the next step's batch, losses, and the like
    assert timeline.times == sorted(timeline.times)
    assert [span.phase for span in timeline.phases] == list(PHASES)
    assert timeline.phases[0].start == 0
    assert timeline.phases[-1].end == timeline.times[-1]


def test_tensors_of_a_step_are_those_that_autograd_keeps() -> None:
    """When the backward pass begins: what autograd saved and is no weight, found by its own hooks."""
    small = training()
    time_steps(small, 1)
    timeline = tensor_timeline(record(small, 1, compiled=False, memory=True), small.state)
    backward = next(span for span in timeline.phases if span.phase == "backward")
    until = zip(timeline.times, timeline.values, strict=True)
    found = [value for at, value in until if at <= backward.start][-1] - state_bytes(small.state).total
    saved: dict[int, int] = {}
    weights = {parameter.untyped_storage().data_ptr() for parameter in small.model.parameters()}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss, _ = small.objective(small.model, small.source.batch(1))
    assert found == pytest.approx(sum(saved.values()), rel=0.05)
    assert found > logit_bytes(MODEL, 8 * MODEL.context_length, "bfloat16") / 2
    loss.backward()


def test_a_timeline_by_hand() -> None:
    memory = [
        {"ph": "i", "name": "[memory]", "ts": 1000 + at, "args": {"Bytes": change, "Device Type": device}}
        for at, change, device in ((5, 100, 0), (20, 50, 0), (25, 7, 1), (40, -100, 0), (70, 1000, 0))
    ]
    events = [mark("forward", 0), call("aten::mm", 1, 2), mark("backward", 30), mark("end", 60), *memory]
    small = training()
    kept = state_bytes(small.state).total
    timeline = tensor_timeline({"traceEvents": events}, small.state)
    assert timeline.values == [kept, kept + 100, kept + 150, kept + 50, kept + 50]
    assert timeline.times == pytest.approx([0, 5e-6, 20e-6, 40e-6, 60e-6])
    assert timeline.peak == kept + 150
    assert timeline.most_in("forward") == kept + 150
    assert timeline.most_in("backward") == kept + 50


def test_a_step_is_sampled_from_its_start_to_its_end() -> None:
    small = training()
    time_steps(small, 1)
    timeline = sample_step(small, expected_seconds=0.01)
    assert [span.phase for span in timeline.phases] == list(PHASES)
    assert len(timeline.times) >= len(PHASES) + 1
    assert timeline.times == sorted(timeline.times)
    assert timeline.times[0] >= 0
    assert timeline.times[-1] == timeline.phases[-1].end
    assert all(value > 1e6 for value in timeline.values)
    assert timeline.peak == max(timeline.values)


def test_samples_come_from_a_thread_that_ends() -> None:
    values = iter(range(1_000_000))
    with sampling(lambda: next(values), 0.001) as (samples, sample):
        time.sleep(0.05)
        sample()
        assert len(samples) > 3
    count = len(samples)
    time.sleep(0.01)
    assert len(samples) == count
    assert [at for at, _ in samples] == sorted(at for at, _ in samples)


@pytest.mark.skipif(sys.platform != "linux", reason="the most that was held so far does not grow with each tensor")
def test_memory_of_the_process_grows_by_what_is_filled() -> None:
    before = used_bytes(CPU)
    filled = torch.ones(16 * 2**20)
    assert used_bytes(CPU) - before == pytest.approx(filled.nbytes, rel=0.1)


def test_the_most_in_phases_is_from_the_first_to_the_last_of_them() -> None:
    phases = [
        Span("data", 0.0, 1.0),
        Span("forward", 1.0, 2.0),
        Span("backward", 2.0, 4.0),
        Span("optimizer", 4.0, 6.0),
    ]
    timeline = Timeline([0.0, 0.5, 1.5, 3.0, 5.0], [5, 90, 7, 8, 60], phases)
    assert timeline.peak == 90
    assert timeline.most_in("forward") == 7
    assert timeline.most_in("forward", "backward") == 8
    assert timeline.most_in("optimizer") == 60
