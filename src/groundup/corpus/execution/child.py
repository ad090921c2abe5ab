"""A process that answers calls, one at a time, and can be killed while it does.

    child = Child()
    child.submit("package.module:function", argument, ...)
    child.result(seconds)          the value; or a ChildFault that says how the process failed

Local workers are such processes, and so is what extracts text from pages, so that a page that hangs or crashes a
parser takes neither the work unit nor the run with it. Started as `python -m groundup.corpus.execution.child`, not by
`multiprocessing`, which would run the caller's main program once more in it (Ray's, a notebook's, a script without a
guard). It dies with the process that made it: on Linux by the kernel's parent-death signal, elsewhere when it next
listens. Its memory is limited by RLIMIT_DATA (private memory, not what is mapped from files).
"""

import ctypes
import importlib
import os
import resource
import signal
import socket
import subprocess
import sys
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from groundup.core.errors import GroundupError

PR_SET_PDEATHSIG = 1  # linux/prctl.h
# One process is one core's work; libraries that start threads of their own would only make them compete.
THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}


class ChildFault(Exception):
    """Why a call has no result: `reason` is one word (`time_limit`, `memory_limit`, `crash_SIGSEGV`, `error_KeyError`),
    `detail` the traceback where there is one."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


class Child:
    """State: the process and the connection to it; one call is open at a time."""

    def __init__(self, memory_bytes: int = 0) -> None:
        """`memory_bytes` limits what the process may allocate beyond its start; 0 does not."""
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", __name__, str(theirs.fileno()), str(os.getpid()), str(memory_bytes)]
            environment = {**THREADS, **os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
            self._process = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=2, env=environment
            )
        self.connection = Connection(ours.detach())

    @property
    def pid(self) -> int:
        return self._process.pid

    def submit(self, function: str, *arguments: Any) -> None:  # noqa: ANN401 - whatever the function takes
        """Ask for `module:function(*arguments)`, which runs there."""
        with suppress(OSError):  # it has died: `result` says how
            self.connection.send((function, arguments))

    def result(self, seconds: float | None = None) -> Any:  # noqa: ANN401 - whatever the function returns
        """Wait for the answer. After a `ChildFault` other than an error the process is gone."""
        try:
            if not self.connection.poll(seconds):
                self.kill()
                raise ChildFault("time_limit", f"no answer within {seconds:g} s")
            kind, value = self.connection.recv()
        except (EOFError, OSError):
            raise ChildFault(self._how_it_ended()) from None
        if kind == "refused":  # the user's own fault, such as an impossible config
            raise value
        if kind == "fault":
            raise ChildFault(*value)
        return value

    def kill(self) -> None:
        """End the process now."""
        self.connection.close()
        self._process.kill()
        self._process.wait()

    def _how_it_ended(self) -> str:
        self.connection.close()
        code = self._process.wait()
        return f"crash_{signal.Signals(-code).name}" if code < 0 else f"exit_{code}"


def answer_calls(connection: Connection) -> None:
    """The loop of the process: until the other end is closed."""
    while True:
        try:
            function, arguments = connection.recv()
        except (EOFError, OSError):
            return
        try:
            answer = ("result", named(function)(*arguments))
        except GroundupError as error:
            answer = ("refused", error)
        except MemoryError:
            answer = ("fault", ("memory_limit", traceback.format_exc()))
        except Exception as error:  # noqa: BLE001 - it is told to the one who asked
            answer = ("fault", (f"error_{type(error).__name__}", traceback.format_exc()))
        try:
            connection.send(answer)
        except OSError:
            return


def named(function: str) -> Any:  # noqa: ANN401 - a function
    """The function that `package.module:function` names."""
    module, _, name = function.partition(":")
    return getattr(importlib.import_module(module), name)


def die_with(parent: int) -> None:
    """Ask the kernel (Linux) to kill this process when the thread that started it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before the kernel was asked
            os._exit(1)


def limit_memory(size: int) -> None:
    """Allow `size` bytes on top of what is in use now."""
    if size and sys.platform == "linux":
        page = os.sysconf("SC_PAGE_SIZE")
        with open("/proc/self/statm") as file:
            used = int(file.read().split()[5]) * page
        resource.setrlimit(resource.RLIMIT_DATA, (used + size, used + size))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C goes to every process of the terminal; the parent decides
    die_with(int(sys.argv[2]))
    limit_memory(int(sys.argv[3]))
    answer_calls(Connection(int(sys.argv[1])))
