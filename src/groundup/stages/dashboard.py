"""A pretraining on a terminal: one panel, drawn anew twice a second; messages are printed above it.

    ╭─ pretrain · runs/notes ────────────────────────────────────────────────────╮
    │ step 230/500 ━━━━━━━━━━━━━━━━━━━━━━━━━────────────────────────────── 46 %  │
    │ elapsed 2 min 31 s · eta 2 min 57 s · 8,312 tokens/s · MFU 47 %            │
    │ loss                   3.214  █▇▆▅▅▄▄▃▃▃▂▂▂▂▁▁▁▁                           │
    ...

It follows what the run logs and computes nothing itself; a resumed run begins with the curves of the steps that count.
Where there is little room, the rows that matter least are left out.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from groundup.core.logging import console
from groundup.core.progress import Advance
from groundup.core.runs import Run, read_metrics, read_samples
from groundup.web.report_text import SPACE, duration_text, size_text, visible

REFRESHES_PER_SECOND = 2
SMALLEST = 40, 8  # columns, lines
WIDEST = 110
LABEL, VALUE = 19, 9  # columns
BLOCKS = "▁▂▃▄▅▆▇█"
KEPT = WIDEST  # values of a curve: no more are drawn
SAMPLES, SAMPLE_LINES = 2, 2

Row = tuple[int, Text]  # those with the largest number go first where there is little room


def fits(screen: Console = console) -> bool:
    """Whether the screen is a terminal that can show the panel."""
    columns, lines = SMALLEST
    unicode = screen.encoding.lower().startswith("utf")
    wide = screen.width >= columns and screen.height >= lines
    return screen.is_terminal and not screen.is_dumb_terminal and unicode and wide


@contextmanager
def dashboard(run: Run, steps: int, done: int, began: float) -> Iterator[Advance]:
    """Show the panel while the block runs; yields `advance`, as `progress` does. `began` is the time on the performance
    counter at which the first step of all began, as if all was one process."""
    board = Dashboard(run.directory, steps, done, began)
    board.rewind(done, read_metrics(run.directory))
    for sample in read_samples(run.directory):
        board.log(sample["step"], sample)
    live = Live(board, console=console, refresh_per_second=REFRESHES_PER_SECOND, vertical_overflow="crop")
    with run.followed_by(board), live:
        yield board.advance


class Dashboard:
    """What the panel shows: the last values of each number, the last sample of each prompt, and the times of steps. It
    is drawn by another thread than that which logs, hence the lock."""

    def __init__(self, run: Path, steps: int, done: int, began: float) -> None:
        self.run, self.steps, self.step, self.began = run, steps, done, began
        self.curves: dict[str, deque[float]] = {}
        self.samples: dict[str, tuple[int, str]] = {}
        self.skipped = 0
        self.first = self.last = (done, time.perf_counter())  # steps that this process finished, and when
        self.ticked = False
        self.lock = threading.Lock()

    def log(self, step: int, values: dict[str, Any]) -> None:
        with self.lock:
            if "text" in values:
                self.samples.pop(values["prompt"], None)  # so that the newest are the last
                self.samples[values["prompt"]] = (step, values["text"])
            self.skipped += values.get("skipped", 0)
            for name, value in values.items():
                if isinstance(value, int | float):
                    self.curves.setdefault(name, deque(maxlen=KEPT)).append(value)

    def rewind(self, step: int, metrics: list[dict[str, Any]]) -> None:
        with self.lock:
            self.curves.clear()
            self.samples.clear()
            self.skipped = 0
        for line in metrics:
            self.log(line["step"], line)

    def advance(self, count: float = 1, note: str | None = None) -> None:
        """So many more steps are done; the note is in the numbers already."""
        with self.lock:
            self.step += int(count)
            self.last = (self.step, time.perf_counter())
            if not self.ticked:  # the first step is not like others: it waits for a compiler
                self.first, self.ticked = self.last, True

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = min(options.max_width, WIDEST)
        with self.lock:
            rows = self.rows(console, width - 4)  # but for the frame and a blank on both sides
        while len(rows) > max(1, options.max_height - 3):  # but for the frame and the line of the cursor
            rows.pop(max(range(len(rows)), key=lambda at: (rows[at][0], at)))
        title = Text(f" pretrain · {self.run} ")
        title.truncate(width - 6, overflow="ellipsis")
        content = Text("\n").join(text for _, text in rows)
        yield Panel(content, title=title, title_align="left", width=width, border_style="dim")

    def rows(self, screen: Console, width: int) -> list[Row]:
        """The lines of the panel, none wider than `width` columns."""
        rows = [
            (0, self._bar(width)),
            (0, _facts("", [*self._times(), *self._speed()])),
            (6, Text("")),
            (1, self._curve("loss", "loss", width)),
            (1, self._curve("held-out bits/byte", "validation_bits_per_byte", width)),
            (4, self._curve("of averaged weights", "averaged_bits_per_byte", width)),
            (4, self._curve("learning rate", "learning_rate", width)),
            (3, self._curve("gradient norm", "gradient_norm", width)),
            (4, self._by_role("  by role", "gradient_norm_")),
            (5, self._by_role("update ratio", "update_ratio_")),
            (3, self._resources()),
            (6, Text("")),
            *[(2, line) for prompt in list(self.samples)[-SAMPLES:] for line in self._sample(prompt, screen, width)],
            (2, _facts("result", [str(self.run / "checkpoints")])),
        ]
        shown = [(rank, text) for rank, text in rows if text is not None]
        for _, text in shown:
            text.truncate(width, overflow="ellipsis")
            text.no_wrap = True
        return shown

    def _bar(self, width: int) -> Text:
        count, share = f"step {self.step:,}/{self.steps:,} ", self.step / self.steps
        room = max(0, width - len(count) - 6)
        filled = round(room * share)
        bar = ("━" * filled, "green"), ("─" * (room - filled), "dim")
        return Text.assemble((count, "bold"), *bar, f" {share:4.0%}".replace("%", f"{SPACE}%"))

    def _times(self) -> list[str]:
        now = time.perf_counter()
        (first, since), (last, at) = self.first, self.last
        eta = "eta –"
        if last > first:
            left = (at - since) / (last - first) * (self.steps - last) - (now - at)
            eta = f"eta {duration_text(max(0.0, left))}"
        return [f"elapsed {duration_text(now - self.began)}", eta]

    def _speed(self) -> list[str]:
        rate, mfu = self._last("tokens_per_second"), self._last("mfu")
        return [] if rate is None or mfu is None else [f"{rate:,.0f} tokens/s", f"MFU {100 * mfu:.0f}{SPACE}%"]

    def _curve(self, label: str, name: str, width: int) -> Text | None:
        values = self.curves.get(name)
        if not values:
            return None
        shown = f"{values[-1]:.3f}" if abs(values[-1]) >= 0.1 else f"{values[-1]:.3g}"
        blocks = sparkline(values, width - LABEL - VALUE - 2)
        return Text.assemble((f"{label:<{LABEL}}", "dim"), (f"{shown:>{VALUE}}", "bold"), "  ", (blocks, "cyan"))

    def _by_role(self, label: str, prefix: str) -> Text | None:
        names = [name for name in self.curves if name.startswith(prefix)]
        found = [f"{name.removeprefix(prefix)} {self.curves[name][-1]:.2g}" for name in names]
        return _facts(label, found) if found else None

    def _resources(self) -> Text | None:
        memory = self._last("memory_bytes")
        if memory is None:
            return None
        epochs = [name for name in self.curves if name.startswith("epochs_")]
        found = [f"{self.curves[name][-1]:.2f} epochs of {name.removeprefix('epochs_')}" for name in epochs]
        skipped = [f"updates skipped {self.skipped}"] if self.skipped else []
        return _facts("memory", [size_text(memory), *found, *skipped])

    def _sample(self, prompt: str, screen: Console, width: int) -> list[Text]:
        """The last sample of a prompt, on two lines at most."""
        step, text = self.samples[prompt]
        begun, text = _one_line(prompt), _one_line(text)
        words = Text.assemble((f"step {step:,}  ", "dim"), (begun, "bold"), text if begun else text.lstrip())
        lines = list(words.wrap(screen, width, overflow="fold"))
        if len(lines) > SAMPLE_LINES:
            lines[SAMPLE_LINES - 1].truncate(width - 1)
            lines[SAMPLE_LINES - 1].append("…")
        return lines[:SAMPLE_LINES]

    def _last(self, name: str) -> float | None:
        return self.curves[name][-1] if name in self.curves else None


def sparkline(values: Sequence[float] | deque[float], cells: int) -> str:
    """The last values as blocks, a cell each, from the least of them to the greatest; × is no number."""
    recent = list(values)[-cells:] if cells > 0 else []
    finite = [value for value in recent if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)

    def block(value: float) -> str:
        if not math.isfinite(value):
            return "×"
        return BLOCKS[round((value - low) / (high - low) * (len(BLOCKS) - 1))] if high > low else BLOCKS[0]

    return "".join(map(block, recent))


def _facts(label: str, found: list[str]) -> Text:
    head = f"{label:<{LABEL}}" if label else ""
    return Text.assemble((head, "dim"), " · ".join(found))


def _one_line(text: str) -> str:
    """Text of a model: each run of white space as one blank, control characters as pictures."""
    blank_before, blank_behind = text[:1].isspace(), text[-1:].isspace()
    return " " * blank_before + " ".join(visible(text).split()) + " " * (blank_behind and not text.isspace())
