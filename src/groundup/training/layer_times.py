"""The forward pass of a model part by part: its seconds, by hooks, beside its FLOPs, by accounting.

    embedding               everything before the first layer
    attention, gated MLP…   the mixers of all layers, by kind, each without its norm
    norms                   those between layers, and the last
    between layers          residual sums, and what else no part does
    prediction heads        those for further tokens
    unembedding and loss

A part begins where the one before it ends, so the parts sum to the pass. The model runs uncompiled here, because
compiled code has no borders between parts, and each hook waits for what is queued on a device.
"""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, ParamSpec, TypeVar

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from groundup.accounting.flops import (
    Flops,
    forward_flops,
    layer_flops,
    training_forward_flops,
)
from groundup.models import mixer_config
from groundup.models.block import Block
from groundup.models.config import DecoderConfig
from groundup.models.language_model import LanguageModel
from groundup.models.lstm import LstmLayer
from groundup.models.model_config import ModelConfig
from groundup.models.multi_token import PredictionHead
from groundup.models.normalization import Normalization
from groundup.training.gradients import split
from groundup.training.profiling import Spread, Training, spread, synchronize

P = ParamSpec("P")
R = TypeVar("R")

EMBEDDING, BETWEEN, NORMS = "embedding", "between layers", "norms"
HEADS, LOSS = "prediction heads", "unembedding and loss"


class Part(NamedTuple):
    """A part of the model: how many modules it has, their seconds in a forward pass together, and their FLOPs in it;
    None where accounting does not tell them apart."""

    name: str
    modules: int
    seconds: Spread
    flops: int | None


def time_parts(training: Training, warmup: int, repeats: int, advance: Callable[[], None] = lambda: None) -> list[Part]:
    """The parts of the model, in the order in which a pass meets them: of `repeats` passes, after `warmup` that do not
    count. Batches are those of steps 0, 1, ..., of an accumulated one its first part; weights are not changed."""
    model = training.model
    model.train()
    passes, tokens = [], 0
    for step in range(warmup + repeats):
        batch = split(training.source.batch(step), training.parts)[0]
        tokens, clock = batch.tokens_BT.numel(), PartClock(training.device)
        with parts_watched(model, clock), training.state.precision.computing(training.device):
            clock.begin(EMBEDDING)
            training.objective(model, batch)
            clock.end()
        passes.append(clock.seconds)
        advance()
    counts = Counter([EMBEDDING, LOSS, *(name for _, name in parts_of(model))])
    flops = part_flops(model.config)
    return [
        Part(
            name,
            counts[name],
            spread([each.get(name, 0.0) for each in passes[warmup:]]),
            flops.get(name, 0) * tokens if flops is not None else None,
        )
        for name in sorted(passes[-1], key=_place)
    ]


def parts_of(model: LanguageModel) -> list[tuple[nn.Module, str]]:
    """The modules that are parts, with the names of their parts; none of them lies in another."""
    inside = {inner for head in model.modules() if isinstance(head, PredictionHead) for inner in head.modules()}
    found: list[tuple[nn.Module, str]] = []
    for module in model.modules():
        if isinstance(module, PredictionHead):
            found.append((module, HEADS))
        elif module in inside:
            continue
        elif isinstance(module, Normalization) and module.config.kind != "none":
            found.append((module, NORMS))
        elif isinstance(module, LstmLayer):
            found.append((module, in_words(LstmLayer)))
        elif isinstance(module, Block):
            mixers = (module.sequence, module.channel)
            found += [(mixer, in_words(type(mixer))) for mixer in mixers if mixer is not None]
    return found


def _place(name: str) -> int:
    """Where a part stands in the table: mixers, in the order of their layers, behind the embedding."""
    order = (EMBEDDING, "", NORMS, BETWEEN, HEADS, LOSS)
    return order.index(name if name in order else "")


class PartClock:
    """Own seconds of nested parts. Invariant: between `begin` and `end` each moment counts for exactly one part, the
    innermost that is open."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = {}
        self._open: list[str] = []
        self._since = 0.0

    def begin(self, name: str) -> None:
        """Start the clock; what belongs to no part counts for `name`."""
        self._open, self._since = [name], self._now()

    def enter(self, name: str) -> None:
        """A part begins. Before the first one the model embeds; after it, it is between layers."""
        self._count()
        if self._open == [EMBEDDING]:
            self._open = [BETWEEN]
        self._open.append(name)

    def leave(self) -> None:
        self._count()
        self._open.pop()

    def end(self) -> None:
        self._count()
        self._open = []

    def _count(self) -> None:
        now = self._now()
        name = self._open[-1]
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
        self._since = now

    def _now(self) -> float:
        synchronize(self.device)
        return time.perf_counter()


@contextmanager
def parts_watched(model: LanguageModel, clock: PartClock) -> Iterator[None]:
    """Let the model tell the clock where its parts begin and end."""
    handles: list[RemovableHandle] = []
    for module, name in parts_of(model):
        handles.append(module.register_forward_pre_hook(lambda *_, name=name: clock.enter(name)))
        handles.append(module.register_forward_hook(lambda *_: clock.leave()))
    plain = model.cross_entropy, model.mean_cross_entropy
    model.cross_entropy, model.mean_cross_entropy = (_clocked(each, clock) for each in plain)
    try:
        yield
    finally:
        model.cross_entropy, model.mean_cross_entropy = plain
        for handle in handles:
            handle.remove()


def _clocked(function: Callable[P, R], clock: PartClock) -> Callable[P, R]:
    def timed(*args: P.args, **kwargs: P.kwargs) -> R:
        clock.enter(LOSS)
        try:
            return function(*args, **kwargs)
        finally:
            clock.leave()

    return timed


def part_flops(config: ModelConfig) -> dict[str, int] | None:
    """FLOPs of each part in the forward pass of one token, in training; they sum to accounting's, but that the loss of
    a decoder without prediction heads computes its gradients in the forward pass too, two more products. None of a
    model that is no decoder, whose FLOPs accounting does not divide."""
    if not isinstance(config, DecoderConfig):
        return None
    found = {LOSS: forward_flops(config).unembedding * (1 if config.prediction_heads else 3)}
    for place, layer in enumerate(config.all_layers):
        flops = layer_flops(config, place, config.context_length)
        sequence, channel = in_words(type(layer.sequence)), in_words(type(layer.channel))
        found[sequence] = found.get(sequence, 0) + _mixing(flops)
        if not isinstance(layer.channel, mixer_config.NoChannel):
            found[channel] = found.get(channel, 0) + flops.feed_forward
    if config.prediction_heads:
        unembeddings = config.prediction_heads * found[LOSS]
        found[HEADS] = training_forward_flops(config).prediction - unembeddings
        found[LOSS] += unembeddings
    return found


def _mixing(flops: Flops) -> int:
    """What the sequence mixer of a layer takes."""
    return flops.projections + flops.attention + flops.states


def in_words(kind: type) -> str:
    """The name of a class as words: `GatedMLP` -> gated MLP."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind.__name__).split()
    return " ".join(word if word.isupper() else word.lower() for word in words)
