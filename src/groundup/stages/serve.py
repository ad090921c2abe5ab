"""Serve models: take the port, load the engines, put the API and the chat page on it, and stop cleanly on a signal.

The port is bound first, so that a taken one is known before a model is loaded, and kept bound until the server listens
on it. On SIGINT or SIGTERM the server takes no more requests and lets those that run finish for `finish_seconds`; what
then still runs is cut. A second signal cuts at once. Either way the program returns normally.
"""

import asyncio
import errno
import signal
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import uvicorn

from groundup.core.errors import ConfigError, OutputError
from groundup.inference.scheduler import Limits
from groundup.serving.app import AppOptions, create_app
from groundup.serving.generator import TextGenerator
from groundup.serving.worker import GenerationWorker
from groundup.web.chat import mount_chat

SECONDS_TO_CLOSE = 3  # for connections, behind those for the answers
TOKENS_PER_STEP = 256  # a prompt of 1,500 tokens stops others for 0.6 s at most (124M, one core); 512: 1.1, 2048: 3.2


@dataclass(frozen=True)
class ServeConfig:
    """Where to listen, how much to accept and how to compute; port 0 takes any free one, `threads` 0 all cores."""

    host: str = "127.0.0.1"
    port: int = 8000
    finish_seconds: float = 5.0
    compile: bool = False
    limits: Limits = field(default_factory=lambda: Limits(tokens_per_step=TOKENS_PER_STEP))
    app: AppOptions = field(default_factory=AppOptions)
    threads: int = 0

    def __post_init__(self) -> None:
        if not self.host:
            raise ConfigError("host is empty; 127.0.0.1 listens on this machine only, 0.0.0.0 on every interface.")
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"port is {self.port}; it must be between 0 (any free port) and 65535.")
        if not 0 <= self.finish_seconds <= 3600:
            raise ConfigError(f"finish_seconds is {self.finish_seconds}; it must be between 0 and 3600.")
        if self.threads < 0:
            raise ConfigError(f"threads is {self.threads}; it must be at least 1, or 0 for all cores.")
        if self.app.max_waiting < 1:
            raise ConfigError(f"max_waiting is {self.app.max_waiting}; at least 1 request must be able to wait.")
        if self.app.max_body_bytes < 1024:
            raise ConfigError(f"max_body_bytes is {self.app.max_body_bytes}; it must be at least 1024.")
        if any(not key or not key.isascii() or key != key.strip() for key in self.app.api_keys):
            raise ConfigError("An API key is empty, or has spaces around it or letters outside ASCII; give another.")
        for origin in self.app.cors_origins:
            if origin != "*" and "://" not in origin:
                raise ConfigError(f"The origin {origin!r} is none; write it like https://example.org, or * for all.")


Ready = Callable[[str, str, Sequence[str]], None]
"""Called once the server answers, with its URL, the path of the chat page ("" without one) and the models' names."""


def run_server(config: ServeConfig, paths: Sequence[Path], on_ready: Ready, names: Sequence[str] = ()) -> None:
    """Serve checkpoints, or runs' best ones, until SIGINT or SIGTERM; the names default to the folders'."""
    names = model_names(paths, names)
    with open_port(config.host, config.port) as listener:
        import torch  # not sooner: a taken port is told before that

        from groundup.inference.engine import load_engine

        if config.threads:
            torch.set_num_threads(config.threads)
        engines = {name: load_engine(path, limits=config.limits) for name, path in zip(names, paths, strict=True)}
        if config.compile:
            for engine in engines.values():
                engine.compile()
        serve_engines(engines, listener, config, on_ready)


def serve_engines(
    engines: Mapping[str, TextGenerator], listener: socket.socket, config: ServeConfig, on_ready: Ready
) -> None:
    """Serve engines by name on a bound socket until SIGINT or SIGTERM. The chat page, of the first one, asks for no
    key; so where keys are needed there is none."""
    app = create_app(engines, config.app)
    page = "" if config.app.api_keys else mount_chat(app, next(iter(engines)))
    server_config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=round(config.finish_seconds) + SECONDS_TO_CLOSE,
        lifespan="on",
    )
    url = _url(config.host, listener.getsockname()[1])
    workers = app.state.workers.values()
    server = _Server(server_config, workers, config.finish_seconds, lambda: on_ready(url, page, list(engines)))
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


def model_names(paths: Sequence[Path], names: Sequence[str] = ()) -> list[str]:
    """The names that clients see: those given, or the folders'; each stands for one model."""
    if names and len(names) != len(paths):
        raise ConfigError(f"There are {len(paths)} models and {len(names)} names; give a name for each, or none.")
    found = list(names) or [model_name(path) for path in paths]
    twice = next((name for name in found if found.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"Two models are called {twice!r}; tell them apart with --name NAME NAME.")
    if not found:
        raise ConfigError("There is no model to serve; name a run or a checkpoint.")
    return found


def model_name(path: Path) -> str:
    """The folder's name, with the stage's where a checkpoint is given (`sft-step_00000400`)."""
    parts = [part for part in path.resolve().parts if part != "checkpoints"]
    return "-".join(parts[-2:]) if parts[-1].startswith("step_") else parts[-1]


class _Server(uvicorn.Server):
    """uvicorn that says when it answers, and tells the workers to stop as soon as it is told itself."""

    def __init__(
        self,
        config: uvicorn.Config,
        workers: Iterable[GenerationWorker],
        finish_seconds: float,
        on_started: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._workers, self._finish_seconds = list(workers), finish_seconds
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        for worker in self._workers:
            worker.stop(0 if self.should_exit else self._finish_seconds)
        if not self.should_exit:  # uvicorn would leave connections open on a second one
            super().handle_exit(sig, frame)


def _url(host: str, port: int) -> str:
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"


def _ignore(number: int, frame: FrameType | None) -> None:
    """The server has already stopped on this signal."""
