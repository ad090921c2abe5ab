"""Saving beside the training: one thread that writes what was copied, so that only the copy is waited for."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self


class BackgroundWriter:
    """One write at a time, in order; a fault in one surfaces at the next or at the end. Use as a context manager, which
    ends only when everything is written."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._last: Future[Any] | None = None

    def write(self, function: Callable[..., Any], *arguments: Any) -> None:  # noqa: ANN401
        """Call the function in the thread, when the write before it is done: at most two copies are in memory."""
        self.wait()
        self._last = self._pool.submit(function, *arguments)

    def wait(self) -> None:
        """Until the last write is done; raises what it raised."""
        last, self._last = self._last, None
        if last is not None:
            last.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True)
        if kind is None:
            self.wait()
