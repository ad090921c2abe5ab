"""The memory of a training step: of the process, as the system sees it, and of its tensors, as PyTorch allocates them.

The process's resident memory is sampled by a thread while the step runs; on a GPU it is the memory that is allocated
there. It includes Python, the libraries, compiled code, and what the allocator keeps to itself. Tensors are counted by
PyTorch's profiler, which sees every allocation: those are the bytes that accounting predicts.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import NamedTuple

import torch

from groundup.training.inspection import resident_bytes
from groundup.training.profiling import Clock, Span, Training, watched
from groundup.training.state import TrainState
from groundup.training.step_trace import PhaseSpan, Trace, allocations, phase_spans

SAMPLES = 400  # in a step
SHORTEST_PERIOD = 0.0005  # seconds; a sample takes some 20 µs


class Timeline(NamedTuple):
    """Bytes over a step, in seconds from its start, with the phases, also from there."""

    times: list[float]
    values: list[int]
    phases: list[Span]

    @property
    def peak(self) -> int:
        return max(self.values)

    def most_in(self, *phases: str) -> int:
        """The largest value from the beginning of the first of these phases to the end of the last."""
        spans = [span for span in self.phases if span.phase in phases]
        start, end = min(span.start for span in spans), max(span.end for span in spans)
        return max(value for at, value in zip(self.times, self.values, strict=True) if start <= at <= end)


class StateBytes(NamedTuple):
    """What a training keeps from step to step."""

    weights: int
    masters: int
    moments: int

    @property
    def total(self) -> int:
        return sum(self)


def used_bytes(device: torch.device) -> int:
    """Memory of the process on a CPU, of its tensors on a GPU."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else resident_bytes()


def sample_step(training: Training, expected_seconds: float) -> Timeline:
    """`used_bytes` during one step, sampled about `SAMPLES` times and at each border of phases."""
    device = training.device
    clock = Clock(device)
    period = max(SHORTEST_PERIOD, expected_seconds / SAMPLES)
    with sampling(lambda: used_bytes(device), period) as (samples, sample):

        def mark(phase: str) -> None:
            clock(phase)
            sample()

        for _ in islice(watched(training, mark), 1):
            pass
    step = clock.steps[0]
    begin, end = step[0].start, step[-1].end
    kept = sorted((min(at, end) - begin, value) for at, value in samples if at >= begin)
    phases = [Span(span.phase, span.start - begin, span.end - begin) for span in step]
    return Timeline([at for at, _ in kept], [value for _, value in kept], phases)


@contextmanager
def sampling(measure: Callable[[], int], period: float) -> Iterator[tuple[list[tuple[float, int]], Callable[[], None]]]:
    """Measure every `period` seconds in a thread while the block runs; yields the samples, with their times of
    `time.perf_counter`, and a function that takes one at once."""
    samples: list[tuple[float, int]] = []
    done = threading.Event()

    def sample() -> None:
        samples.append((time.perf_counter(), measure()))

    def run() -> None:
        while not done.wait(period):
            sample()

    thread = threading.Thread(target=run, name="memory", daemon=True)
    sample()
    thread.start()
    try:
        yield samples, sample
    finally:
        done.set()
        thread.join()
        sample()


def tensor_timeline(trace: Trace, state: TrainState, device: str = "cpu") -> Timeline:
    """Bytes of tensors during the first step of a trace with allocations: what the state keeps, and what the step adds
    and frees. What was there before it, other than the state, is not known."""
    spans = [span for span in phase_spans(trace) if span.step == 0]
    begin, end = spans[0].start, spans[-1].end
    level = state_bytes(state).total
    times, values = [0.0], [level]
    for at, change in allocations(trace, device):
        if begin <= at <= end:
            level += change
            times.append(at - begin)
            values.append(level)
    return Timeline([*times, end - begin], [*values, level], _from_start(spans))


def _from_start(spans: Sequence[PhaseSpan]) -> list[Span]:
    begin = spans[0].start
    return [Span(span.phase, span.start - begin, span.end - begin) for span in spans]


def state_bytes(state: TrainState) -> StateBytes:
    """Bytes of weights, of their fp32 masters, and of what else the optimizers remember."""
    weights = sum(each.nbytes for each in (*state.model.parameters(), *state.model.buffers()))
    masters = moments = 0
    for optimizer in state.optimizers:
        for slot in optimizer.state.values():
            for key, value in slot.items():
                if isinstance(value, torch.Tensor):
                    masters += value.nbytes if key == "master" else 0
                    moments += value.nbytes if key != "master" else 0
    return StateBytes(weights, masters, moments)


def gradient_bytes(training: Training) -> int:
    """Bytes of all gradients of a step, when its backward pass has ended."""
    found: list[int] = []

    def mark(phase: str) -> None:
        if phase == "clipping":
            found.append(sum(each.grad.nbytes for each in training.model.parameters() if each.grad is not None))

    for _ in islice(watched(training, mark), 1):
        pass
    return found[-1]
