"""Progress: a bar on a terminal, now and then a line elsewhere, both with an ETA that a resumed start leaves right."""

import io
import logging

import pytest
from rich.console import Console

from groundup.core import progress as progress_module
from groundup.core.progress import progress


class Clock:
    """A monotonic clock that the test moves."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress_module, "time", clock)
    monkeypatch.setattr(progress_module, "console", Console(file=io.StringIO(), force_terminal=False))
    return clock


def test_lines_come_now_and_then_with_an_eta_from_the_work_of_this_process(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "groundup")
    with progress("pretrain", 100, done=40) as advance:
        for _ in range(30):
            clock.now += 1
            advance(1, note="loss 2.5")
    assert caplog.messages == [
        "pretrain 55/100, eta 45 s  loss 2.5",
        "pretrain 70/100, eta 30 s  loss 2.5",
        "pretrain 70/100 in 30 s",
    ]


def test_a_note_stays_until_the_next_one(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "groundup")
    with progress("pretrain", 4) as advance:
        for note in ("loss 2.5", None, "loss 2.4"):
            clock.now += 20
            advance(1, note)
    assert [message.partition("  ")[2] for message in caplog.messages[:3]] == ["loss 2.5", "loss 2.5", "loss 2.4"]


def test_short_work_says_nothing_and_work_of_unknown_length_has_no_eta(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "groundup")
    with progress("short", 10) as advance:
        clock.now += 1
        advance(10)
    assert caplog.messages == []
    with progress("open", None) as advance:
        clock.now += 20
        advance(0)
        clock.now += 20
        advance(5)
    assert caplog.messages == ["open 0", "open 5", "open 5 in 40 s"]


def test_a_terminal_gets_a_bar_with_count_and_note(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(progress_module, "console", Console(file=screen, force_terminal=True, width=120))
    with progress("dedup", 8, done=3) as advance, progress("inner", None) as inner:
        inner()
        advance(2)
        advance(3, note="12 MB")
    last = screen.getvalue().rsplit("dedup", 1)[1]
    assert "8/8" in last
    assert "12 MB" in last


def test_a_fault_inside_the_block_comes_through(clock: Clock) -> None:
    with pytest.raises(ZeroDivisionError), progress("work", 3):
        _ = 1 / 0
