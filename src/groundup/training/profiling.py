"""The time of a training step, phase by phase: the loop of `loop.py` itself, watched from outside.

    data        a batch is put together; a training reads ahead in a thread, here it is seen
    forward     model and loss
    backward    the gradients
    clipping    their norm, and the scaling by it
    optimizer   the update of the weights

A phase lasts until the next one begins, so the phases of a step sum to the step. Where work is queued, as on a GPU, the
clock waits at each border for what is queued; that keeps phases from overlapping and makes such a step a little slower.
The loop is not changed for this: the borders are seen by a source and an objective around the real ones, a hook on the
loss, the callback with which the autograd engine ends, and a hook of the optimizer.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd import Variable

from groundup.batches.batch import Batch, BatchSource
from groundup.models.language_model import LanguageModel
from groundup.optim.config import OptimizerConfig
from groundup.training.loop import Tick, train
from groundup.training.objectives import Objective
from groundup.training.state import TrainState

PHASES = ("data", "forward", "backward", "clipping", "optimizer")
END = "end"  # of a step

Mark = Callable[[str], None]


class Training(NamedTuple):
    """What `train` is called with."""

    state: TrainState
    source: BatchSource
    objective: Objective
    optimizer: OptimizerConfig
    steps: int
    """The horizon of the learning rates, not reached."""
    parts: int = 1
    """In which each batch passes the model."""

    @property
    def model(self) -> LanguageModel:
        return self.state.model

    @property
    def device(self) -> torch.device:
        return self.state.model.embedding.device


class Span(NamedTuple):
    """A phase of one step, in seconds of `time.perf_counter`."""

    phase: str
    start: float
    end: float


class Spread(NamedTuple):
    """Of repeated measurements; the deviation is the sample's, 0 of one value."""

    mean: float
    median: float
    deviation: float


def spread(values: Sequence[float]) -> Spread:
    """Mean, median and standard deviation."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return Spread(statistics.fmean(values), statistics.median(values), deviation)


def time_steps(training: Training, count: int, advance: Callable[[], None] = lambda: None) -> list[list[Span]]:
    """The phases of so many steps, in order; `advance` is called after each. The first ones are slow: memory is
    allocated, caches are filled and code is compiled in them."""
    clock = Clock(training.device)
    for _ in islice(watched(training, clock), count):
        advance()
    return clock.steps


def watched(training: Training, mark: Mark) -> Iterator[Tick]:
    """`train`, which calls `mark(phase)` where a phase begins and `mark(END)` where a step ends."""

    def objective(model: LanguageModel, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        mark("forward")
        loss, metrics = training.objective(model, batch)
        loss.register_hook(backward_begins)
        return loss, metrics

    def backward_begins(gradient: Tensor) -> None:
        mark("backward")
        engine = Variable._execution_engine  # the one place from which the end of a backward pass can be seen
        engine.queue_callback(lambda: mark("clipping"))

    state, source = training.state, _MarkedSource(training.source, mark)
    handle = state.optimizers[0].register_step_pre_hook(lambda *_: mark("optimizer"))
    try:
        for tick in train(state, source, objective, training.optimizer, training.steps, training.parts):
            mark(END)
            yield tick
    finally:
        handle.remove()


class _MarkedSource:
    """A source whose batches begin the phase "data"."""

    def __init__(self, source: BatchSource, mark: Mark) -> None:
        self.source, self.mark = source, mark

    def batch(self, step: int, shard: int = 0, shards: int = 1) -> Batch:
        self.mark("data")
        return self.source.batch(step, shard, shards)


class Clock:
    """A `Mark` that keeps the spans of each step. Each span begins where the one before it in its step ended."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.steps: list[list[Span]] = []
        self._open: tuple[str, float] | None = None

    def __call__(self, phase: str) -> None:
        synchronize(self.device)
        now = time.perf_counter()
        if self._open is None:
            self.steps.append([])
        else:
            self.steps[-1].append(Span(*self._open, now))
        self._open = None if phase == END else (phase, now)


def synchronize(device: torch.device) -> None:
    """Wait for what is queued on a device; a CPU queues nothing."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def phase_seconds(step: Sequence[Span]) -> dict[str, float]:
    """Seconds of each phase of a step; a phase may come several times, as in an accumulated step."""
    totals: dict[str, float] = dict.fromkeys(PHASES, 0.0)
    for span in step:
        totals[span.phase] += span.end - span.start
    return totals


def step_seconds(step: Sequence[Span]) -> float:
    """From its first phase to the end of its last."""
    return step[-1].end - step[0].start
