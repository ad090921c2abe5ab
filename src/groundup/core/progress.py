"""One progress bar with an ETA on stderr; where stderr is not a terminal, a line through the log now and then."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from groundup.core.logging import console, get_logger

SECONDS_BETWEEN_LINES = 15.0
logger = get_logger(__name__)

Advance = Callable[..., None]


@contextmanager
def progress(description: str, total: int | None, *, done: int = 0) -> Iterator[Advance]:
    """Show a bar while the block runs; yields `advance(count=1, note=None)`: a note is shown until the next one.

    `done` is where a resumed piece of work starts; it counts as finished but not towards the speed.
    """
    yield from _bar(description, total, done) if console.is_terminal else _lines(description, total, done)


def _bar(description: str, total: int | None, done: int) -> Iterator[Advance]:
    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("eta"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(description, total=total, completed=done, note="")

        def advance(count: float = 1, note: str | None = None) -> None:
            fields: dict[str, Any] = {} if note is None else {"note": note}
            bar.update(task, advance=count, **fields)

        yield advance


def _lines(description: str, total: int | None, done: int) -> Iterator[Advance]:
    start = last = time.monotonic()
    position, shown = done, ""
    of = f"/{total}" if total else ""

    def advance(count: float = 1, note: str | None = None) -> None:
        nonlocal last, position, shown
        position += count
        shown = shown if note is None else note
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            eta = ""
            if total and position > done:
                eta = f", eta {(now - start) / (position - done) * max(total - position, 0):.0f} s"
            logger.info("%s %d%s%s%s", description, position, of, eta, f"  {shown}" if shown else "")

    yield advance
    if last > start:  # it took long enough for lines, so it deserves a last one
        logger.info("%s %d%s in %.0f s", description, position, of, time.monotonic() - start)
