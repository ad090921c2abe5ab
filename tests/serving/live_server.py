"""The API on a real port, in a thread, for the tests that need true connections."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from scripted_engine import ScriptedEngine

from groundup.serving.app import AppOptions, create_app

MODEL = "scripted"


@contextmanager
def live(engine: ScriptedEngine, **options: object) -> Iterator[str]:
    """Serve while the block runs; yields the URL."""
    app = create_app({MODEL: engine}, AppOptions(**options))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=2))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            wait_until(lambda: server.started)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            app.state.workers[MODEL].stop()
            server.should_exit = True
            if getattr(engine, "gate", None) is not None:
                engine.gate.release(1000)
            thread.join()


def wait_until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Poll until the condition holds; fails after a while."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)
