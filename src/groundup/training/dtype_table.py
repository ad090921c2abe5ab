"""Which tensor of a training has which number format, read off the training itself.

Of each parameter: its weight, the gradient that the optimizer was given, the master and the moments. Of the
computation: the outputs of layers and of what is in them, operands of matrix products, softmax and loss, seen in one
pass of one row of zeros through a copy of the model. The copy is not compiled, because compiled code cannot be watched,
and nothing of the pass is left in the training.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from groundup.batches.batch import Batch
from groundup.models.block import Block
from groundup.models.building import build_model
from groundup.models.language_model import LanguageModel
from groundup.models.lstm import LstmLayer
from groundup.optim.build import role
from groundup.training.gradients import backward
from groundup.training.loop import Tick
from groundup.training.objectives import Objective
from groundup.training.state import TrainState

aten = torch.ops.aten
PRODUCTS = {aten.mm, aten.bmm, aten.addmm, aten.baddbmm}
SOFTMAXES = {aten._softmax, aten._log_softmax, aten.logsumexp}
CONVERSION = aten._to_copy
LAYERS = (Block, LstmLayer)
OUTPUTS, INSIDE, SOFTMAX, LOSS = "outputs of layers", "outputs inside layers", "softmax", "loss"
OPERANDS = {phase: f"operands of matrix products, {phase}" for phase in ("forward", "backward")}
ROUNDED = {phase: f"rounded operands, {phase}" for phase in ("forward", "backward")}

Counts = dict[str, dict[str, int]]  # how many tensors of each dtype, by what they are


class Row(NamedTuple):
    """Parameters of one role, with names of one pattern and with equal formats; `numbers` are in them together. The
    master is None where the weight is its own."""

    role: str
    names: str
    tensors: int
    numbers: int
    weight: str
    gradient: str | None
    master: str | None
    moments: dict[str, str]


def tabulated(
    ticks: Iterable[Tick], state: TrainState, objective: Objective, tell: Callable[[dict[str, Any]], None]
) -> Iterator[Tick]:
    """The same ticks; after the first one that changed the weights, `tell` is given the table."""
    computation, gradients = computation_dtypes(state, objective), dict[Tensor, torch.dtype]()

    def note(optimizer: torch.optim.Optimizer, *_: object) -> None:
        members = [each for group in optimizer.param_groups for each in group["params"]]
        gradients.update((each, each.grad.dtype) for each in members if each.grad is not None)

    handles = [optimizer.register_step_pre_hook(note) for optimizer in state.optimizers]
    ticks = iter(ticks)
    for tick in ticks:
        updated = bool(gradients)
        if updated:
            for handle in handles:
                handle.remove()
            rows = [row._asdict() for row in parameter_dtypes(state, gradients)]
            tell({"precision": state.precision.name, "parameters": rows, "computation": computation})
        yield tick
        if updated:
            break
    yield from ticks


def parameter_dtypes(state: TrainState, gradients: dict[Tensor, torch.dtype]) -> list[Row]:
    """The rows, in the order of the model; layers are not told apart where their formats are the same."""
    slots = {member: slot for optimizer in state.optimizers for member, slot in optimizer.state.items()}
    found: dict[tuple[Any, ...], list[Tensor]] = defaultdict(list)
    for name, parameter in state.model.named_parameters():
        kept = {key: _name(each) for key, each in slots.get(parameter, {}).items() if isinstance(each, Tensor)}
        master, gradient = kept.pop("master", None), gradients.get(parameter)
        names, formats = re.sub(r"\.\d+\.", ".*.", name), (_name(parameter), _name(gradient), master)
        found[(role(name, parameter), names, *formats, *kept.items())].append(parameter)
    return [
        Row(kind, names, len(members), sum(each.numel() for each in members), weight, gradient, master, dict(moments))
        for (kind, names, weight, gradient, master, *moments), members in found.items()
    ]


def computation_dtypes(state: TrainState, objective: Objective) -> Counts:
    """Counts of a forward and a backward pass."""
    model = build_model(state.model.config).to(state.precision.weights)
    model.load_state_dict(state.model.state_dict())
    model.train()
    watch = Watch()

    def watched(model: LanguageModel, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        loss, metrics = objective(model, batch)
        watch.count(LOSS, [loss])
        watch.phase = "backward"
        return loss, metrics

    for module in model.modules():
        if module is not model:
            module.register_forward_hook(watch.leaves)
    tokens_BT = torch.zeros(1, model.config.context_length, dtype=torch.long)
    with torch.random.fork_rng(devices=[]), watch:
        backward(model, Batch(tokens_BT, tokens_BT, torch.ones(tokens_BT.shape)), watched, 1, state.precision)
    rows = (OUTPUTS, INSIDE, *OPERANDS.values(), *ROUNDED.values(), SOFTMAX, LOSS)
    return {what: dict(watch.counts[what]) for what in rows if what in watch.counts}


class Watch(TorchDispatchMode):
    """Counts formats of what every operation is given while it is active."""

    def __init__(self) -> None:
        super().__init__()
        self.phase = "forward"
        self.counts: dict[str, Counter[str]] = {}

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        result = func(*args, **(kwargs or {}))
        operation = func.overloadpacket
        if operation in PRODUCTS:
            self.count(OPERANDS[self.phase], args[-2:])
        elif operation in SOFTMAXES:
            self.count(SOFTMAX, args[:1])
        elif operation == CONVERSION and "float8" in str(result.dtype):
            self.count(ROUNDED[self.phase], [result])
        return result

    def leaves(self, module: nn.Module, inputs: Any, output: Any) -> None:  # noqa: ANN401
        """A module has computed its output."""
        if isinstance(output, Tensor):
            self.count(OUTPUTS if isinstance(module, LAYERS) else INSIDE, [output])

    def count(self, what: str, tensors: Iterable[Tensor]) -> None:
        self.counts.setdefault(what, Counter()).update(_name(each) for each in tensors)


def _name(of: Tensor | torch.dtype | None) -> Any:  # noqa: ANN401 - a str, or None of None
    dtype = of.dtype if isinstance(of, Tensor) else of
    return None if dtype is None else str(dtype).removeprefix("torch.")
