"""One progress bar with an ETA on stderr; where stderr is not a terminal, a line through the log now and then."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from groundup.core.logging import console, get_logger

SECONDS_BETWEEN_LINES = 15.0
logger = get_logger(__name__)

Advance = Callable[..., None]


@contextmanager
def progress(description: str, total: int | None, *, done: int = 0) -> Iterator[Advance]:
    """Show a bar while the block runs; yields `advance(count=1, note="")`, where the note is shown behind the bar.

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

        def advance(count: int = 1, note: str | None = None) -> None:
            bar.update(task, advance=count, **({} if note is None else {"note": note}))

        yield advance


def _lines(description: str, total: int | None, done: int) -> Iterator[Advance]:
    start = last = time.monotonic()
    position = done

    def advance(count: int = 1, note: str | None = None) -> None:
        nonlocal last, position
        position += count
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            of, eta = "", ""
            if total:
                remaining = (now - start) / max(position - done, 1) * (total - position)
                of, eta = f"/{total}", f", eta {remaining:.0f} s"
            logger.info("%s %d%s%s%s", description, position, of, eta, f"  {note}" if note else "")

    yield advance
