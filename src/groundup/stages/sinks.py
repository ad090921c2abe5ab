"""The metrics of a run in other places too: TensorBoard, Weights & Biases, trackio. None of them unless asked for.

`metrics.jsonl` stays the truth. A mirror follows it, and its own list of what was shown, `mirrors/NAME.jsonl`, lets it
show each number of each step once, over any number of stops and resumes:

    rewind      a resumed run goes over the steps behind its last checkpoint again. TensorBoard takes back what it has
                of them (a SessionLog.START event, `purge_step`), and is shown them again. Weights & Biases and trackio
                cannot take back; they keep what they have, which is what a resumed run computes again, but for times.
                Only where a guard went back (`GuardConfig`) do they keep steps of the path that was left.
    catch up    what was logged while a mirror was off, or could not be reached, is shown at the next start.

No sink may end or delay a training: what one raises is told once, and the run goes on without it.
"""

import json
import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from groundup.core.config import encode
from groundup.core.errors import MissingError
from groundup.core.files import make_directory, write_text
from groundup.core.logging import get_logger
from groundup.core.runs import Run, read_lines

logger = get_logger(__name__)
PROJECT = "groundup"


class Sink(Protocol):
    """One place that shows numbers. It may raise anything."""

    def write(self, step: int, numbers: dict[str, float]) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """Event files in the run's `tensorboard/`, fp32 as is usual there, at once on disk."""

    def __init__(self, folder: Path, after: int) -> None:
        """What earlier files in the folder have behind the step `after` does not count any more."""
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder), purge_step=after + 1)

    def write(self, step: int, numbers: dict[str, float]) -> None:
        for name, value in numbers.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()


class WeightsAndBiases:
    """A run of W&B, resumed by its id. Our step is a number like others, over which curves are drawn. W&B's own step
    may only rise, which two lines of one step do not: it counts the lines, over all starts."""

    def __init__(self, run: Path, identity: str, config: dict[str, Any], lines: int) -> None:
        wandb = import_module("wandb")
        project = os.environ.get("WANDB_PROJECT", PROJECT)
        settings = wandb.Settings(console="off")  # it would take over stdout, where the dashboard is
        options = {"id": identity, "resume": "allow", "dir": str(run), "settings": settings}
        self.run = wandb.init(project=project, name=title(run), config=config, **options)
        self.run.define_metric("step", hidden=True)
        self.run.define_metric("*", step_metric="step")
        self.lines = lines

    def write(self, step: int, numbers: dict[str, float]) -> None:
        self.run.log({"step": step, **numbers}, step=self.lines, commit=True)
        self.lines += 1

    def close(self) -> None:
        self.run.finish()


class Trackio:
    """A run of trackio, resumed by its name: in its local database, or where TRACKIO_SPACE_ID says."""

    def __init__(self, run: Path, identity: str, config: dict[str, Any]) -> None:
        trackio = import_module("trackio")
        name = f"{title(run)}-{identity}"  # which no run that was started afresh shares
        self.run = trackio.init(project=PROJECT, name=name, config=config, resume="allow", embed=False)

    def write(self, step: int, numbers: dict[str, float]) -> None:
        self.run.log(numbers, step=step)

    def close(self) -> None:
        self.run.finish()


def title(run: Path) -> str:
    """What a run is called elsewhere: runs/notes -> runs-notes, runs/quickstart/pretrain -> quickstart-pretrain."""
    return "-".join(part for part in run.parts[-2:] if part != run.anchor)


def require_packages(names: Sequence[str]) -> None:
    """Refuse what is not installed, before the first step."""
    for name in names:
        if find_spec(name) is None:
            raise MissingError(
                f"log_to names {name}, and its package is not installed; get it with `pip install {name}` (or groundup "
                f"with the extra [{name}]), or leave it out."
            )


@contextmanager
def mirrored(run: Run, names: Sequence[str], config: Any) -> Iterator[None]:  # noqa: ANN401 - a dataclass
    """Inside the block, each line of the run's metrics is shown in these places too."""
    with ExitStack() as stack:
        for name in names:
            mirror = Mirror(name, run.directory, encode(config))
            stack.callback(mirror.close)
            stack.enter_context(run.followed_by(mirror))
        yield


class Mirror:
    """Shows metrics in one sink, each number of each step once, and keeps its faults from the training. State: the
    sink, None before the first rewind and after a fault, and up to which step each number was shown."""

    def __init__(self, name: str, run: Path, config: dict[str, Any]) -> None:
        self.name, self.run, self.config = name, run, config
        self.shown_lines = run / "mirrors" / f"{name}.jsonl"
        self.shown: dict[str, int] = {}
        self.sink: Sink | None = None
        self.broken = False

    def rewind(self, step: int, metrics: list[dict[str, Any]]) -> None:
        """Begin, or go back to a step: take back what can be, and show what is new in these lines."""
        if self.broken:
            return
        with self._harmless("cannot be opened"):
            lines = read_lines(self.shown_lines) or [{"step": 0, "id": uuid.uuid4().hex[:12]}]
            if self.name == "tensorboard":
                self.close()
                lines = [line for line in lines if line["step"] <= step]
            make_directory(self.shown_lines.parent)
            write_text(self.shown_lines, "".join(json.dumps(line) + "\n" for line in lines))
            self.shown = {name: line["step"] for line in lines for name in line.get("names", ())}
            self.sink = self.sink or self._open(step, lines[0]["id"], len(lines))
        for line in metrics:
            self.log(line["step"], line)

    def log(self, step: int, values: dict[str, Any]) -> None:
        """Show the numbers of a line but for those that were shown; a sample's text is no number."""
        numbers: dict[str, float] = {
            name: value
            for name, value in values.items()
            if isinstance(value, int | float) and name != "step" and step > self.shown.get(name, 0)
        }
        if self.sink is None or not numbers:
            return
        with self._harmless("does not take metrics any more"):
            self.sink.write(step, numbers)
            with open(self.shown_lines, "a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, "names": list(numbers)}) + "\n")
            self.shown |= dict.fromkeys(numbers, step)

    def close(self) -> None:
        sink, self.sink = self.sink, None
        if sink is not None:
            with self._harmless("did not close as it should"):
                sink.close()

    def _open(self, step: int, identity: str, lines: int) -> Sink:
        match self.name:
            case "tensorboard":
                return TensorBoard(self.run / "tensorboard", step)
            case "wandb":
                return WeightsAndBiases(self.run, identity, self.config, lines)
            case "trackio":
                return Trackio(self.run, identity, self.config)
        raise AssertionError(self.name)

    @contextmanager
    def _harmless(self, what: str) -> Iterator[None]:
        """Tell of a fault inside the block, once, and go on without the sink."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever a network and three libraries may raise
            text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            remedy = "metrics.jsonl has everything, and the next start shows what is missing there"
            logger.warning("%s %s (%s). Training goes on without it; %s.", self.name, what, text, remedy)
            sink, self.sink, self.broken = self.sink, None, True
            if sink is not None:
                with suppress(Exception):
                    sink.close()
