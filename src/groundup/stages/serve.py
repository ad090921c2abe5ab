"""Serve a model: take the port, load the engine, put the API and the chat page on it, and stop cleanly on a signal.

The port is bound first, so that a taken one is known before the model is loaded, and kept bound until the server
listens on it. SIGINT and SIGTERM cancel the running answer, let the connections end and return normally.
"""

import asyncio
import errno
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import uvicorn

from groundup.core.errors import ConfigError, OutputError
from groundup.serving.app import MAX_BODY_BYTES, create_app
from groundup.serving.generator import TextGenerator
from groundup.serving.worker import MAX_WAITING, GenerationWorker
from groundup.web.chat import mount_chat

SECONDS_TO_CLOSE = 3


@dataclass(frozen=True)
class ServeConfig:
    """Where to listen and how much to accept; port 0 takes any free one."""

    host: str = "127.0.0.1"
    port: int = 8000
    max_waiting: int = MAX_WAITING
    max_body_bytes: int = MAX_BODY_BYTES

    def __post_init__(self) -> None:
        if not self.host:
            raise ConfigError("host is empty; 127.0.0.1 listens on this machine only, 0.0.0.0 on every interface.")
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"port is {self.port}; it must be between 0 (any free port) and 65535.")
        if self.max_waiting < 1:
            raise ConfigError(f"max_waiting is {self.max_waiting}; at least 1 request must be able to wait.")
        if self.max_body_bytes < 1024:
            raise ConfigError(f"max_body_bytes is {self.max_body_bytes}; it must be at least 1024.")


Ready = Callable[[str, str, str], None]
"""Called once the server answers, with its URL, the path of the chat page and the model's name."""


def run_server(config: ServeConfig, path: Path, on_ready: Ready, name: str = "") -> None:
    """Serve a checkpoint, or a run's best one, until SIGINT or SIGTERM; the name defaults to the folder's."""
    with open_port(config.host, config.port) as listener:
        from groundup.inference.engine import load_engine  # brings torch: a taken port is told before that

        serve_engine(load_engine(path), name or model_name(path), listener, config, on_ready)


def serve_engine(
    engine: TextGenerator, name: str, listener: socket.socket, config: ServeConfig, on_ready: Ready
) -> None:
    """Serve an engine on a bound socket until SIGINT or SIGTERM."""
    app = create_app(engine, name, max_waiting=config.max_waiting, max_body_bytes=config.max_body_bytes)
    page = mount_chat(app, name)
    server_config = uvicorn.Config(
        app, log_config=None, access_log=False, timeout_graceful_shutdown=SECONDS_TO_CLOSE, lifespan="on"
    )
    url = _url(config.host, listener.getsockname()[1])
    server = _Server(server_config, app.state.worker, lambda: on_ready(url, page, name))
    handlers = {number: signal.signal(number, _ignore) for number in (signal.SIGINT, signal.SIGTERM)}
    try:  # uvicorn takes the signals while it runs, then puts ours back and raises them again: ours ignore that
        asyncio.run(server.serve(sockets=[listener]))
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def open_port(host: str, port: int) -> socket.socket:
    """A bound socket that does not listen yet; an address that cannot be had is an `OutputError`."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise OutputError(f"Cannot listen on {host!r}: there is no such address; 127.0.0.1 is this machine.") from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            reason = "another program is using it; choose another with --port, or --port 0 for any free one."
            raise OutputError(f"Port {port} on {host} is taken: {reason}") from error
        reason = (error.strerror or str(error)).lower()
        raise OutputError(f"Cannot listen on {host} port {port}: {reason}; choose another host or port.") from error
    return listener


def model_name(path: Path) -> str:
    """The name that clients see: the run's, and the step's where a checkpoint is given (`sft-step_00000400`)."""
    parts = [part for part in path.resolve().parts if part != "checkpoints"]
    return "-".join(parts[-2:]) if parts[-1].startswith("step_") else parts[-1]


class _Server(uvicorn.Server):
    """uvicorn that says when it answers, and cancels the generations as soon as it is told to stop."""

    def __init__(self, config: uvicorn.Config, worker: GenerationWorker, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._worker = worker
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._worker.refuse()
        super().handle_exit(sig, frame)


def _url(host: str, port: int) -> str:
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"


def _ignore(number: int, frame: FrameType | None) -> None:
    """The server has already stopped on this signal."""
