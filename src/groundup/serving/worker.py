"""The line in front of an engine: one thread that lets requests join and leave between its steps.

    while anybody is there:  forget who was cancelled; let in who fits; score a prompt; one step of the engine

A job is what one client asks for: one part, or several (`n`, several prompts). Jobs take turns in getting a part into
the engine, one part a turn, so a job of a hundred parts does not hold up one that comes behind it. The engine computes
up to `max_running` parts; up to `max_waiting` jobs wait with no part in it, and the next one is refused.

A fault of a step does not say whose it was. So everything that ran is begun again, one part at a time: the random
numbers are those of the request and its positions, so the same tokens come, and those that a client has are left out.
Only what fails alone has failed.
"""

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from groundup.core.logging import get_logger
from groundup.inference.requests import Delta, Request, TokenLogprob
from groundup.serving.generator import TextGenerator
from groundup.serving.metrics import Measurements

logger = get_logger(__name__)

MAX_WAITING = 32

NOTHING = Delta("", (), "length")  # the end of a part that does not generate

Event = tuple[int, Delta] | Exception | None
"""What a job's client gets: a piece of a part, an error, or the end."""


class BusyError(RuntimeError):
    """The line is full; try again later."""


class StoppingError(BusyError):
    """The server takes no more requests."""


@dataclass(frozen=True)
class Part:
    """One choice of an answer. With `prompt_alternatives` n the prompt's own log-probabilities come too, with n of the
    likeliest others; where it does not generate, they are all that is asked for."""

    request: Request
    prompt_alternatives: int | None = None
    generates: bool = True


@dataclass(eq=False)
class _Run:
    """A part on its way. `given` is what its client has; of that, `again` comes a second time after a fault."""

    job: "Job"
    index: int
    given: list[Delta] = field(default_factory=list)
    again: deque[Delta] = field(default_factory=deque)
    alone: bool = False
    last_token: float | None = None  # when it came

    @property
    def part(self) -> Part:
        return self.job.parts[self.index]


class GenerationWorker:
    """Owns the engine; invariant: at most `max_running` parts are in it, and at most `max_waiting` jobs have none."""

    def __init__(
        self, generator: TextGenerator, max_waiting: int = MAX_WAITING, measurements: Measurements | None = None
    ) -> None:
        self.generator = generator
        self.max_waiting = max_waiting
        self.measurements = measurements or Measurements()
        self._line: deque[Job] = deque()  # jobs with parts that are not in the engine yet
        self._cancelled: list[Job] = []
        self._changed = threading.Condition()
        self._deadline: float | None = None  # of a server that is stopping
        self._thread: threading.Thread | None = None
        # What follows belongs to the thread:
        self._runs: dict[int, _Run] = {}  # by the engine's number
        self._to_score: deque[_Run] = deque()
        self._alone: deque[_Run] = deque()  # to be begun again, one at a time, after a fault
        self._outbox: list[tuple[Job, Event]] = []

    def submit(self, parts: Sequence[Part]) -> "Job":
        """Join the line; call it from a coroutine, then iterate the job. Raises `BusyError` when the line is full."""
        with self._changed:
            if self._deadline is not None:
                raise StoppingError("The server is stopping.")
            waiting = sum(not job.admitted for job in self._line)
            free = self.generator.limits.max_running - len(self._everything())  # it lets them in before its next step
            if waiting >= self.max_waiting + max(free, 0):
                raise BusyError(f"{waiting} requests are already waiting; try again in a moment.")
            job = Job(parts, self._leave)
            self._line.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="generation", daemon=True)
                self._thread.start()
            self._changed.notify()
            return job

    @property
    def load(self) -> dict[str, int]:
        """How many parts the engine has, and how many jobs wait without one."""
        with self._changed:
            return {"running": len(self._everything()), "waiting": sum(not job.admitted for job in self._line)}

    def stop(self, seconds: float = 0.0) -> None:
        """Take no more jobs, end those that wait, and cut those that run after so many seconds. Does not wait and takes
        no lock, so a signal handler may call it; a second call may bring the end nearer."""
        deadline = time.monotonic() + seconds
        self._deadline = deadline if self._deadline is None else min(self._deadline, deadline)
        for job in [*self._line, *(run.job for run in self._everything())] if seconds <= 0 else ():
            job.stop()  # here, so that no client waits for a long step

    def close(self, timeout_seconds: float = 2.0) -> bool:
        """`stop` now, and wait for the thread; whether it has ended."""
        self.stop()
        with self._changed:
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(timeout_seconds)
        return self._thread is None or not self._thread.is_alive()

    @property
    def stopping(self) -> bool:
        return self._deadline is not None

    # The thread

    def _work(self) -> None:
        while self._wait():
            try:
                self._turn()
            except Exception as error:
                logger.exception("the engine failed")
                self._begin_again(error)
            self._deliver()
        self._deliver()

    def _wait(self) -> bool:
        """Until there is something to do; False at the end of a server that is stopping."""
        with self._changed:
            if not (self._runs or self._to_score or self._alone):
                self._changed.wait_for(lambda: self._line or self._cancelled or self._deadline is not None)
            if self._deadline is not None:
                late = time.monotonic() >= self._deadline
                running = [run.job for run in self._everything()]
                for job in [*self._line, *running] if late else [job for job in self._line if not job.admitted]:
                    job.stop()
                    self._cancelled.append(job)
                self._line = deque(job for job in self._line if not job.cancelled)
            return bool(self._deadline is None or self._line or self._cancelled or self._everything())

    def _turn(self) -> None:
        with self._changed:
            cancelled, self._cancelled = self._cancelled, []
        if cancelled:
            self._forget(cancelled)
        self._admit()
        if self._to_score:
            self._score()
        if self._runs:
            for number, delta in self.generator.step():
                self._hand_over(number, delta)

    def _everything(self) -> list[_Run]:
        return [*self._runs.values(), *self._to_score, *self._alone]

    def _forget(self, jobs: Sequence["Job"]) -> None:
        gone = [run for run in self._everything() if run.job in jobs]
        for number in [number for number, run in self._runs.items() if run.job in jobs]:
            del self._runs[number]
            self.generator.cancel(number)
        self._to_score = deque(run for run in self._to_score if run.job not in jobs)
        self._alone = deque(run for run in self._alone if run.job not in jobs)
        for run in gone:
            self.measurements.finished("abort", time.monotonic() - run.job.arrived)

    def _admit(self) -> None:
        """Let parts into the engine, in turns."""
        if self._alone and not self._runs:
            self._begin(self._alone.popleft())
        if self._alone or any(run.alone for run in self._runs.values()):
            return
        while len(self._runs) + len(self._to_score) < self.generator.limits.max_running:
            run = self._next()
            if run is None:
                return
            if run.part.prompt_alternatives is not None:
                self._to_score.append(run)
            elif run.part.generates:
                self._begin(run)
            else:
                self._give(run, NOTHING)

    def _next(self) -> _Run | None:
        """The next part of the job whose turn it is."""
        with self._changed:
            if not self._line:
                return None
            job = self._line.popleft()
            run = _Run(job, job.admitted)
            job.admitted += 1
            if job.admitted < len(job.parts):
                self._line.append(job)
            return run

    def _begin(self, run: _Run) -> None:
        try:
            number = self.generator.add(run.part.request)
        except Exception as error:  # noqa: BLE001 - handed over: raised again in the coroutine that iterates the job
            self._fail(run, error)
            return
        self._runs[number] = run

    def _score(self) -> None:
        """The prompt of one part: so what decodes beside it waits for one forward pass at most."""
        run = self._to_score.popleft()
        part = run.part
        assert part.prompt_alternatives is not None
        try:
            found = self.generator.prompt_logprobs(part.request.prompt, part.prompt_alternatives)
        except Exception as error:
            logger.exception("scoring a prompt failed")
            self._fail(run, error)
            return
        run.job.prompt_logprobs[run.index] = tuple(found)
        if part.generates:
            self._begin(run)
        else:
            self.measurements.prompt(len(part.request.prompt))
            self._give(run, NOTHING)

    def _hand_over(self, number: int, delta: Delta) -> None:
        run = self._runs[number]
        if delta.finish_reason is not None:
            del self._runs[number]
        if not run.again:
            self._give(run, delta)
        elif (before := run.again.popleft()).ids != delta.ids or before.text != delta.text:
            self.generator.cancel(number)
            self._runs.pop(number, None)
            self._fail(run, RuntimeError("after a fault of the engine the answer would have gone on differently"))

    def _give(self, run: _Run, delta: Delta) -> None:
        """To the client, from now on."""
        job, now = run.job, time.monotonic()
        if delta.ids and run.last_token is None:
            self.measurements.prompt(len(run.part.request.prompt))
            self.measurements.first_token(now - job.arrived)
        elif delta.ids and run.last_token is not None:
            self.measurements.next_token(now - run.last_token)
        run.last_token = now
        run.given.append(delta)
        self._outbox.append((job, (run.index, delta)))
        if delta.finish_reason is not None:
            self.measurements.finished(delta.finish_reason, now - job.arrived)
            job.unfinished -= 1
            if job.unfinished == 0:
                self._outbox.append((job, None))

    def _fail(self, run: _Run, error: Exception) -> None:
        """End a whole job by an error."""
        self.measurements.finished("error", time.monotonic() - run.job.arrived)
        self._outbox.append((run.job, error))
        self._leave(run.job)

    def _begin_again(self, error: Exception) -> None:
        """After a fault; see the top of the file."""
        ran, self._runs = list(self._runs.items()), {}
        for number, run in ran:
            try:
                self.generator.cancel(number)
            except Exception:
                logger.exception("the engine could not forget a request")
            if len(ran) == 1:
                self._fail(run, error)
            else:
                run.again, run.alone = deque(run.given), True
                self._alone.append(run)

    def _deliver(self) -> None:
        """What the turn made, with one call for each event loop: waking a loop costs more than a piece of text."""
        events, self._outbox = self._outbox, []
        loops = {id(job.loop): job.loop for job, _ in events}
        for loop in loops.values():
            own = [(job, event) for job, event in events if job.loop is loop]
            try:
                loop.call_soon_threadsafe(_put_all, own)
            except RuntimeError:  # the loop is closed: the clients, and the server with them, are gone
                for job in {job for job, _ in own}:
                    self._leave(job)

    def _leave(self, job: "Job") -> None:
        with self._changed:
            if job in self._line:
                self._line.remove(job)
            self._cancelled.append(job)
            self._changed.notify()


class Job:
    """The parts of one client. Iterate it, once, for `(index of the part, delta)`; `cancel` may come any time.

    `prompt_logprobs` has those of a part, by its index, when its first delta comes.
    """

    def __init__(self, parts: Sequence[Part], leave: Callable[["Job"], None]) -> None:
        assert parts, "a job has at least one part"
        self.parts = tuple(parts)
        self.prompt_logprobs: dict[int, tuple[TokenLogprob, ...]] = {}
        self.arrived = time.monotonic()
        self.admitted = 0  # so many of its parts have left the line; the worker's, under its lock
        self.unfinished = len(self.parts)  # the worker's thread's
        self.loop = asyncio.get_running_loop()
        self._leave = leave
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._cancelled = threading.Event()

    async def __aiter__(self) -> AsyncIterator[tuple[int, Delta]]:
        """Ends after the last delta, or where the job was cancelled; raises what the engine raised."""
        while (event := await self._events.get()) is not None:
            if isinstance(event, Exception):
                raise event
            yield event

    def cancel(self) -> None:
        """Leave the line, or the engine before its next step. Harmless on a job that has ended."""
        if self.unfinished and not self.cancelled:
            self._leave(self)
            self.stop()

    def stop(self) -> None:
        """End the iteration."""
        self._cancelled.set()
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self.loop.call_soon_threadsafe(self.put, None)

    def put(self, event: Event) -> None:
        """To be called in the job's loop."""
        self._events.put_nowait(event)

    @property
    def cancelled(self) -> bool:
        return self._cancelled.is_set()


def _put_all(events: Sequence[tuple[Job, Event]]) -> None:
    for job, event in events:
        job.put(event)
