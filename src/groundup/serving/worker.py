"""The line in front of the model: one generation at a time, first come first served, with a bounded queue.

A model on one machine is fastest when it is not interrupted, so one thread owns the engine and takes jobs in the order
of their arrival; the event loop stays free to accept, stream and notice disconnects. A job that is cancelled while it
waits leaves the line at once; one that is running stops before its next token.
"""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence

from groundup.core.logging import get_logger
from groundup.inference.requests import Delta, Request
from groundup.serving.generator import TextGenerator

logger = get_logger(__name__)

MAX_WAITING = 32


class BusyError(RuntimeError):
    """The line is full, or the server is stopping; try again later."""


class GenerationWorker:
    """Owns the engine and the line; invariant: at most one job runs, and at most `max_waiting` wait behind it."""

    def __init__(self, generator: TextGenerator, max_waiting: int = MAX_WAITING) -> None:
        self.generator = generator
        self.max_waiting = max_waiting
        self._waiting: deque[Job] = deque()
        self._running: Job | None = None
        self._changed = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    def submit(self, requests: Sequence[Request]) -> "Job":
        """Join the line; call it from a coroutine, then iterate the job. Raises `BusyError` when the line is full."""
        with self._changed:
            if self._closed:
                raise BusyError("The server is stopping.")
            if len(self._waiting) >= self.max_waiting:
                raise BusyError(f"{len(self._waiting)} requests are already waiting; try again in a moment.")
            job = Job(requests, self._leave)
            self._waiting.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="generation", daemon=True)
                self._thread.start()
            self._changed.notify()
            return job

    @property
    def load(self) -> dict[str, int]:
        """How many jobs run (0 or 1) and how many wait."""
        with self._changed:
            return {"running": int(self._running is not None), "waiting": len(self._waiting)}

    def refuse(self) -> None:
        """Take no more jobs and cancel those there are; does not wait, so a signal handler may call it."""
        self._closed = True  # not under the lock: the signal may have come while this very thread held it
        for job in [*self._waiting, *([self._running] if self._running else [])]:
            job.stop()

    def close(self, timeout_seconds: float = 5.0) -> None:
        """`refuse`, then wait for the thread to end."""
        self.refuse()
        with self._changed:
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(timeout_seconds)

    def _work(self) -> None:
        while (job := self._next()) is not None:
            job.run(self.generator)
            with self._changed:
                self._running = None

    def _next(self) -> "Job | None":
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            self._running = self._waiting.popleft() if self._waiting else None
            return self._running

    def _leave(self, job: "Job") -> None:
        with self._changed:
            if job in self._waiting:
                self._waiting.remove(job)


class Job:
    """The requests of one client. Iterate it, once, for `(index of the request, delta)`; `cancel` may come any time."""

    def __init__(self, requests: Sequence[Request], leave: Callable[["Job"], None]) -> None:
        self.requests = tuple(requests)
        self._leave = leave
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[tuple[int, Delta] | Exception | None] = asyncio.Queue()
        self._cancelled = threading.Event()

    async def __aiter__(self) -> AsyncIterator[tuple[int, Delta]]:
        """Ends after the last delta, or where the job was cancelled; raises what the engine raised."""
        while (event := await self._events.get()) is not None:
            if isinstance(event, Exception):
                raise event
            yield event

    def cancel(self) -> None:
        """Leave the line, or stop before the next token. Harmless on a job that has ended."""
        self._leave(self)
        self.stop()

    def stop(self) -> None:
        """`cancel` without leaving the line: takes no lock."""
        self._cancelled.set()
        self._put(None)

    @property
    def cancelled(self) -> bool:
        return self._cancelled.is_set()

    def run(self, generator: TextGenerator) -> None:
        """Generate; called by the worker's thread."""
        try:
            for index, request in enumerate(self.requests):
                deltas = generator.stream(request)
                try:
                    while not self._cancelled.is_set() and (delta := next(deltas, None)) is not None:
                        self._put((index, delta))
                finally:
                    close = getattr(deltas, "close", None)
                    if close is not None:
                        close()
        except Exception as error:  # noqa: BLE001 - handed over: raised again in the coroutine that iterates the job
            self._put(error)
        self._put(None)

    def _put(self, event: tuple[int, Delta] | Exception | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)
        except RuntimeError:  # the loop is closed: the client, and the server with it, are gone
            self._cancelled.set()
