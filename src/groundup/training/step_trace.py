"""The operations of a training step, from PyTorch's profiler: what ran, in which phase, for how long by itself.

`record` profiles steps of the real loop and returns the trace as Chrome's JSON (the "trace event format"), which
chrome://tracing and Perfetto draw; everything else reads that. An operation's own time is its duration without that of
the operations inside it. Zero-length marks in the trace say where phases begin, and ranges which part of the model an
operation belongs to; one in the backward pass belongs where the forward operation does whose gradient it computes, and
the profiler gives both the same sequence number.

What compiled code computes is visible kernel by kernel only if the kernels were compiled with names (`named_kernels`).
"""

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar

from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from groundup.models.block import Block
from groundup.models.language_model import LanguageModel
from groundup.models.normalization import Normalization
from groundup.training.profiling import END, Training, synchronize, watched

P = ParamSpec("P")
R = TypeVar("R")

MARK, REGION = "groundup phase: ", "groundup region: "
BETWEEN = "between operations"
GRADIENT_OF = "autograd::engine::evaluate_function"
SLACK = 0.01  # µs by which rounding may let the end of an operation stand behind that of the one around it

Trace = dict[str, Any]


class Operation(NamedTuple):
    """One call. `seconds` is its own time, `begin` counts from the start of the trace; `region` is the part of the
    model that it belongs to, "" where none is known; `shapes`, `strides` and `dtypes` are those of its inputs, empty
    or "" for what is no tensor. `recomputed`: part of a forward pass that the backward pass repeats, because its
    activations were not kept."""

    name: str
    phase: str
    region: str
    begin: float
    seconds: float
    recomputed: bool = False
    shapes: tuple[tuple[int, ...], ...] = ()
    strides: tuple[tuple[int, ...], ...] = ()
    dtypes: tuple[str, ...] = ()


# --- recording --------------------------------------------------------------------------------------------------------


def record(training: Training, steps: int, *, compiled: bool, memory: bool = False) -> Trace:
    """The trace of so many steps. With `memory`, which makes everything slower, also of each allocation."""
    device = training.device
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device.type == "cuda" else [])

    def mark(phase: str) -> None:
        synchronize(device)
        with record_function(MARK + phase):
            pass

    with regions(training.model, compiled=compiled):
        profiler = profile(activities=activities, record_shapes=True, profile_memory=memory)
        with profiler:
            for _ in islice(watched(training, mark), steps):
                pass
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        trace = json.loads(path.read_bytes())
    for key in ("host_name", "traceName"):  # whose machine it was is nobody's business
        trace.pop(key, None)
    trace["traceEvents"] += _phase_track(trace)
    return trace


@contextmanager
def regions(model: LanguageModel, *, compiled: bool) -> Iterator[None]:
    """Put ranges around the loss and around norms and sequence mixers; not inside parts that are compiled, where a hook
    would become part of what is compiled."""
    hidden = {inner for part in model.static_parts() for inner in part.modules()} if compiled else set()
    handles: list[Any] = []
    ranges: list[record_function] = []

    def surround(module: nn.Module, region: str) -> None:
        def enter(*_: object) -> None:
            ranges.append(record_function(REGION + region))
            ranges[-1].__enter__()

        def leave(*_: object) -> None:
            ranges.pop().__exit__(None, None, None)

        handles.append(module.register_forward_pre_hook(enter))
        handles.append(module.register_forward_hook(leave))

    for module in model.modules():
        if module not in hidden and isinstance(module, Normalization):
            surround(module, "normalisation")
        elif module not in hidden and isinstance(module, Block):
            surround(module.sequence, "attention")
    plain = model.cross_entropy, model.mean_cross_entropy
    model.cross_entropy, model.mean_cross_entropy = (_in_range(each, REGION + "loss") for each in plain)
    try:
        yield
    finally:
        model.cross_entropy, model.mean_cross_entropy = plain
        for handle in handles:
            handle.remove()


def _in_range(function: Callable[P, R], name: str) -> Callable[P, R]:
    def inside(*args: P.args, **kwargs: P.kwargs) -> R:
        with record_function(name):
            return function(*args, **kwargs)

    return inside


@contextmanager
def named_kernels() -> Iterator[None]:
    """What is compiled inside says by name what it computes; it is compiled anew for that, and as fast."""
    import torch._inductor.config as inductor

    with inductor.patch({"cpp.enable_kernel_profile": True, "cpp.descriptive_names": "original_aten"}):
        yield


# --- reading ----------------------------------------------------------------------------------------------------------


def operations(trace: Trace) -> list[Operation]:
    """All operations in the steps of a trace, by their beginning, and for each phase of a step what passes between
    them: the time of Python, which no operation accounts for. So the seconds of all sum to those of the steps."""
    spans = phase_spans(trace)
    calls = _calls(trace)
    regions = _regions(calls)
    found: list[Operation] = []
    spent = [0.0] * len(spans)
    at = 0
    for call, region in zip(calls, regions, strict=True):
        while at < len(spans) and call.start >= spans[at].end:
            at += 1
        if at == len(spans) or call.start < spans[at].start or call.is_range:
            continue
        spent[at] += call.own
        inputs = (call.shapes, call.strides, call.dtypes)
        place = (call.name, spans[at].phase, region)
        found.append(Operation(*place, call.start, call.own, call.recomputed, *inputs))
    for span, own in zip(spans, spent, strict=True):
        found.append(Operation(BETWEEN, span.phase, "", span.start, max(0.0, span.end - span.start - own)))
    return sorted(found, key=lambda each: each.begin)


class PhaseSpan(NamedTuple):
    """A phase of step number `step` of a trace, in seconds from the start of the trace."""

    step: int
    phase: str
    start: float
    end: float


def phase_spans(trace: Trace) -> list[PhaseSpan]:
    """The phases between the marks of a trace, in order."""
    events = [event for event in trace["traceEvents"] if str(event.get("name")).startswith(MARK)]
    first = _origin(trace)
    marks = sorted((event["ts"], event["name"].removeprefix(MARK)) for event in events)
    spans: list[PhaseSpan] = []
    step = 0
    for (start, phase), (end, _) in pairwise(marks):
        if phase == END:
            step += 1
        else:
            spans.append(PhaseSpan(step, phase, (start - first) / 1e6, (end - first) / 1e6))
    return spans


def allocations(trace: Trace, device: str = "cpu") -> list[tuple[float, int]]:
    """When tensors were allocated (bytes above 0) and freed (below) on a device, in seconds from the trace's start."""
    kind = 0 if device == "cpu" else 1
    first = _origin(trace)
    return sorted(
        ((event["ts"] - first) / 1e6, int(event["args"]["Bytes"]))
        for event in trace["traceEvents"]
        if event.get("name") == "[memory]" and event["args"]["Device Type"] == kind
    )


class _Call(NamedTuple):
    """An event of the trace with its place: `parent` is the number of the call around it, or -1."""

    name: str
    is_range: bool
    start: float
    own: float
    parent: int
    sequence: int
    recomputed: bool
    shapes: tuple[tuple[int, ...], ...]
    strides: tuple[tuple[int, ...], ...]
    dtypes: tuple[str, ...]


def _calls(trace: Trace) -> list[_Call]:
    """Operations and ranges, in the order of their beginnings; one around another stands in front of it."""
    events = [event for event in trace["traceEvents"] if event.get("cat") in ("cpu_op", "user_annotation")]
    events = [event for event in events if event["ph"] == "X" and event["pid"] != PHASE_TRACK]
    events.sort(key=lambda event: (event["ts"], -event["dur"]))
    first = _origin(trace)
    own = [event["dur"] for event in events]
    parents: list[int] = []
    recomputed: list[bool] = []
    around: dict[Any, list[int]] = {}  # for each thread the calls that are open, the innermost last
    for number, event in enumerate(events):
        stack = around.setdefault(event["tid"], [])
        while stack and not _encloses(events[stack[-1]], event):
            stack.pop()
        parents.append(stack[-1] if stack else -1)
        if stack:
            own[stack[-1]] -= event["dur"]
        recomputed.append(bool(stack) and (recomputed[stack[-1]] or _repeats(event, [events[each] for each in stack])))
        stack.append(number)
    return [
        _Call(
            event["name"],
            event["cat"] == "user_annotation",
            (event["ts"] - first) / 1e6,
            max(0.0, own[number]) / 1e6,
            parents[number],
            event["args"].get("Sequence number", -1),
            recomputed[number],
            _shapes(event["args"].get("Input Dims", ())),
            _shapes(event["args"].get("Input Strides", ())),
            tuple(event["args"].get("Input type", ())),
        )
        for number, event in enumerate(events)
    ]


def _encloses(outer: Mapping[str, Any], inner: Mapping[str, Any]) -> bool:
    """Whether a call that began no later has not ended before another one's end, nor at its beginning."""
    return _end(outer) >= _end(inner) - SLACK and _end(outer) > inner["ts"]


def _repeats(event: Mapping[str, Any], around: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a call begins a forward pass inside a backward pass: it records gradients, which no gradient does."""
    inside = any(outer["name"].startswith(GRADIENT_OF) for outer in around)
    return inside and event["args"].get("Sequence number", -1) >= 0 and "Backward" not in event["name"]


def _shapes(values: Iterable[Any]) -> tuple[tuple[int, ...], ...]:
    """Lists of lengths as they are; what is no tensor, or a list of them, is empty."""
    return tuple(tuple(each) if all(isinstance(length, int) for length in each) else () for each in values)


def _regions(calls: list[_Call]) -> list[str]:
    """The region of each call: of the range around it, else of the forward operation whose gradient it computes."""
    regions: list[str] = []
    region_of_sequence: dict[int, str] = {}
    for call in calls:
        region = regions[call.parent] if call.parent >= 0 else ""
        if call.name.startswith(REGION):
            region = call.name.removeprefix(REGION)
        elif call.name.startswith(GRADIENT_OF):
            region = region_of_sequence.get(call.sequence, region)
        elif call.sequence >= 0 and not (call.parent >= 0 and calls[call.parent].name.startswith(GRADIENT_OF)):
            region_of_sequence[call.sequence] = region  # the last one counts: others only had the next number in view
        regions.append(region)
    return regions


PHASE_TRACK = "training step"


def _phase_track(trace: Trace) -> list[dict[str, Any]]:
    """Events that draw the phases as a row of their own, above the threads."""
    first = _origin(trace)
    named = {"ph": "M", "pid": PHASE_TRACK, "tid": "phases"}
    head = [
        {**named, "name": "process_name", "args": {"name": PHASE_TRACK}},
        {**named, "name": "process_sort_index", "args": {"sort_index": -1}},
    ]
    return head + [
        {
            "ph": "X",
            "cat": "user_annotation",
            "name": span.phase,
            "pid": PHASE_TRACK,
            "tid": "phases",
            "ts": first + 1e6 * span.start,
            "dur": 1e6 * (span.end - span.start),
            "args": {"step": span.step},
        }
        for span in phase_spans(trace)
    ]


def _origin(trace: Trace) -> float:
    """The time that `begin` and `start` count from, in the trace's microseconds."""
    return min(event["ts"] for event in trace["traceEvents"] if event.get("ph") == "X" and "pid" in event)


def _end(event: Mapping[str, Any]) -> float:
    return event["ts"] + event["dur"]
