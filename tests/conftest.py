"""What holds for every test: one thread per process, no internet, and a command line that leaves nothing behind."""

import logging
import os
import socket
from collections.abc import Iterator

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch or numba start: tiny tensors lose time on threads
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # peers must not look anything up

import pytest
from hypothesis import settings

# No deadline: a busy machine is no fault. The same examples in every CI run: a red run can be repeated.
settings.register_profile("groundup", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("groundup")

HERE = ("localhost", "::1", "0.0.0.0", "::")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests of devices that are not there; torch is asked only where such a test was collected."""
    needs = {"gpu": 1, "multi_gpu": 2}
    marked = [(item, needs[name]) for item in items for name in needs if item.get_closest_marker(name)]
    if not marked:
        return
    import torch

    there = torch.cuda.device_count()
    for item, count in marked:
        if there < count:
            item.add_marker(pytest.mark.skip(reason=f"needs {count} CUDA device(s), {there} here"))


@pytest.fixture(autouse=True)
def offline(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection to another machine fails at once, unless the test is marked `network`."""
    if request.node.get_closest_marker("network"):
        return
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else None
        if host is not None and host not in HERE and not str(host).startswith("127."):
            raise ConnectionRefusedError(f"tests stay on this machine (address {address}); mark the test `network`")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def quiet_logger() -> Iterator[None]:
    """Undo what `log_to_console` and open runs change on the logger, so that the order of tests does not matter."""
    logger = logging.getLogger("groundup")
    logger.level, logger.propagate, logger.handlers = logging.NOTSET, True, []  # a wider fixture may have run a verb
    yield
    logger.level, logger.propagate, logger.handlers = logging.NOTSET, True, []
