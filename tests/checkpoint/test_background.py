"""Writing beside the training: in order, one at a time, to the end, and no fault is lost."""

import threading
import time
from collections.abc import Callable

import pytest

from groundup.checkpoint.background import BackgroundWriter
from groundup.core.errors import OutputError


def test_writes_are_in_order_and_done_at_the_end() -> None:
    written: list[int] = []

    def slow(number: int) -> None:
        time.sleep(0.02)
        written.append(number)

    with BackgroundWriter() as writer:
        for number in range(4):
            writer.write(slow, number)
            assert number - len(written) <= 1  # none waits behind another
    assert written == [0, 1, 2, 3]


def test_training_goes_on_while_it_writes() -> None:
    may_end = threading.Event()
    with BackgroundWriter() as writer:
        writer.write(may_end.wait, 10)
        may_end.set()  # would never be reached if the write were waited for


def full() -> None:
    raise OutputError("the disk is full")


def write_all(*functions: Callable[[], object], then: BaseException | None = None) -> None:
    with BackgroundWriter() as writer:
        for function in functions:
            writer.write(function)
        if then is not None:
            raise then


def test_a_fault_surfaces_at_the_next_write_or_at_the_end() -> None:
    written: list[int] = []
    with pytest.raises(OutputError, match="the disk is full"):
        write_all(full, lambda: written.append(1))
    assert written == []
    with pytest.raises(OutputError, match="the disk is full"):
        write_all(full)


def test_another_fault_is_told_first_and_what_was_begun_is_written() -> None:
    written: list[int] = []

    def slow() -> None:
        time.sleep(0.05)
        written.append(1)

    with pytest.raises(KeyboardInterrupt):
        write_all(slow, then=KeyboardInterrupt())
    assert written == [1]
