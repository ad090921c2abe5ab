"""The dashboard on recorded screens of a given size: what it says, that it fits, and what is printed above it."""

import io
import logging
import math
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.logging import RichHandler
from tiny_quickstart import tiny_config, write_notes

from groundup.core import logging as core_logging
from groundup.core import progress
from groundup.core.runs import Run
from groundup.stages import compute, dashboard, pretraining
from groundup.stages.dashboard import BLOCKS, WIDEST, Dashboard, fits, sparkline
from groundup.stages.pretrain import run_pretrain
from groundup.tokenization.bpe import BytePairTokenizer
from groundup.tokenization.chat import SPECIAL_TOKENS


@dataclass(frozen=True)
class Config:
    """A config with one value."""

    size: int = 1


class Clock:
    """A performance counter that the test moves."""

    now = 1000.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(dashboard, "time", clock)
    return clock


def screen(width=80, height=24, **options):
    """A terminal of that size that keeps what is written to it."""
    options = {"force_terminal": True, "color_system": None, "legacy_windows": False, "_environ": {}} | options
    return Console(file=io.TextIOWrapper(io.BytesIO(), "utf-8"), width=width, height=height, **options)


def written(terminal):
    terminal.file.flush()
    return terminal.file.buffer.getvalue().decode().replace("\N{NO-BREAK SPACE}", " ")


def drawn(board, width=80, height=24):
    terminal = screen(width, height)
    terminal.print(board)
    return written(terminal).splitlines()


def numbers(step):
    """A line of metrics.jsonl as pretraining writes it."""
    return {
        "loss": 2 + 6 / step,
        "learning_rate": 3e-4,
        "gradient_norm": 0.456,
        "tokens_per_second": 8312.4,
        "mfu": 0.473,
        "tokens": 4096,
        "skipped": int(step == 20),
        "memory_bytes": 1_234_567_890,
        "gradient_norm_matrices": 0.31,
        "gradient_norm_embedding": 0.0123,
        "update_ratio_matrices": 1.25e-3,
        "epochs_corpus": step / 100,
        "epochs_letters": 0.25,
        "seconds": step * 0.5,
    }


@pytest.fixture
def board(clock):
    """Half an hour into a training: 200 of 500 steps, 140 of them in this process, the first a minute late."""
    board = Dashboard(Path("runs/notes"), 500, 60, clock.now - 30)
    clock.now += 60
    board.advance()
    for _ in range(62, 201):
        clock.now += 0.5
        board.advance(1, "a note")
    for step in range(10, 201, 10):
        board.log(step, numbers(step))
    for step, bits in ((50, 2.5), (100, 1.75), (150, 1.5), (200, 1.402)):
        board.log(step, {"validation_bits_per_byte": bits})
        board.log(step, {"averaged_bits_per_byte": bits - 0.01})
    board.log(200, {"prompt": "", "text": "\n Fellow\tcitizens of the Senate,\n\nand of the House. " * 8})
    board.log(200, {"prompt": "The state", "text": " of the Union"})
    return board


def test_a_common_terminal_shows_everything(board, clock):
    clock.now += 2.0
    lines = drawn(board)
    assert len(lines) <= 23
    assert all(len(line) == 80 for line in lines)
    text = "\n".join(lines)
    for part in (
        "pretrain · runs/notes",
        "step 200/500 ━━━",
        "─  40 %",
        "elapsed 2 min 42 s · eta 2 min 28 s · 8,312 tokens/s · MFU 47 %",  # 300 steps of 0.5 s, 2 s of them gone
        "held-out bits/byte     1.402  █▃▂▁",
        "of averaged weights    1.392",
        "learning rate         0.0003  ▁▁▁▁",
        "gradient norm          0.456",
        "  by role          matrices 0.31 · embedding 0.012",
        "update ratio       matrices 0.0013",
        "memory             1.2 GB · 2.00 epochs of corpus · 0.25 epochs of letters …",
        "step 200  Fellow citizens of the Senate, and of the House. Fellow",
        "step 200  The state of the Union",
        "result             runs/notes/checkpoints",
    ):
        assert part in text, f"{part!r} is not in\n{text}"
    loss = next(line for line in lines if "│ loss " in line)
    assert loss.split()[2] == "2.030"
    assert loss.split()[3] == sparkline([numbers(step)["loss"] for step in range(10, 201, 10)], 46)
    assert "updates skipped 1" in "\n".join(drawn(board, width=110))
    samples = [line for line in lines if "citizens" in line or "Senate" in line]
    assert len(samples) == 2, "a long sample has two lines"
    assert samples[1].rstrip(" │").endswith("…")


def test_before_the_first_step_there_is_no_guess(clock):
    board = Dashboard(Path("runs/notes"), 500, 0, clock.now)
    lines = drawn(board)
    assert "step 0/500 ─" in lines[1]
    assert "elapsed 0.0 s · eta –" in lines[2]
    assert len(lines) == 7


@given(width=st.integers(40, 200), height=st.integers(8, 60))
def test_it_fits_screens_of_any_size_and_keeps_what_matters_most(width, height):
    board = Dashboard(Path("runs/a-rather-long-name-of-a-run/pretrain"), 500, 0, 0.0)
    for step in range(1, 300):
        board.log(step, numbers(step) | {"validation_bits_per_byte": 1 / step, "averaged_bits_per_byte": 1 / step})
    board.log(9, {"prompt": "词元 🙂", "text": "词元 🙂 " * 60})
    board.log(9, {"prompt": "b", "text": "x" * 500})
    terminal = screen(width, height)
    terminal.print(board)
    lines = written(terminal).splitlines()
    assert len(lines) < height
    assert {terminal.measure(line).maximum for line in lines} == {min(width, WIDEST)}
    kept = ["step 0/500", "elapsed", "loss "][: height - 4]
    assert all(any(part in line for line in lines) for part in kept)
    if height >= 30:
        assert "update ratio" in "\n".join(lines)


def test_a_resumed_run_begins_with_the_steps_that_count(tmp_path, clock, monkeypatch):
    terminal = screen()
    monkeypatch.setattr(dashboard, "console", terminal)
    with Run(tmp_path, Config()) as run:
        for step in (10, 20, 30):
            run.log(step, {"loss": float(step)})
            run.log_sample(step, "The", f" end of {step}")
        run.rewind(20)
        with dashboard.dashboard(run, 100, 20, clock.now) as advance:
            advance(1)
            run.log(21, {"loss": 15.0})
        run.log(22, {"loss": 99.0})  # nobody looks any more
    last = written(terminal).rpartition("╭")[2]
    assert "step 21/100" in last
    assert "15.000  ▁█▅" in last, "10, 20, 15"
    assert "step 20  The end of 20" in last


def test_a_guard_that_goes_back_takes_the_curves_with_it(board):
    board.rewind(100, [{"step": 10, "loss": 5.0}, {"step": 100, "loss": 4.0, "skipped": 2}])
    text = "\n".join(drawn(board, width=110))
    assert "4.000  █▁ " in text
    assert "held-out" not in text
    assert "Fellow" not in text


def test_a_models_text_is_no_markup_and_moves_no_cursor(board):
    board.log(210, {"prompt": "[bold]", "text": "[/nonsense] \x1b[2J\x07 \ud800 [red]"})
    text = "\n".join(drawn(board))
    assert "step 210  [bold][/nonsense] ␛[2J␇ ? [red]" in text
    assert "The state" in text, "and the newest before it"
    assert "Fellow" not in text


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), max_size=40), st.integers(-3, 30))
def test_a_sparkline_spans_the_recent_values(values, cells):
    blocks = sparkline(values, cells)
    recent = values[-cells:] if cells > 0 else []
    finite = [value for value in recent if math.isfinite(value)]
    assert len(blocks) == len(recent)
    assert [block == "×" for block in blocks] == [not math.isfinite(value) for value in recent]
    for value, block in zip(recent, blocks, strict=True):
        if math.isfinite(value):
            assert block != BLOCKS[-1] or value > min(finite)
            assert block == BLOCKS[0] or value > min(finite)
            assert block == BLOCKS[-1] or value < max(finite) or min(finite) == max(finite)


def test_other_screens_get_the_bar():
    assert fits(screen())
    assert not fits(screen(force_terminal=False))
    assert not fits(screen(width=39))
    assert not fits(screen(height=7))
    assert not fits(screen(_environ={"TERM": "dumb"}))
    ascii_only = Console(file=io.TextIOWrapper(io.BytesIO(), "ascii"), force_terminal=True, width=80, height=24)
    assert not fits(ascii_only)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Trains the tiny model before a screen; returns what was written to it."""
    monkeypatch.setattr(compute, "measured_matmul_flops", lambda dtype: 1e9)
    notes = write_notes(tmp_path / "notes")
    special = {name: 256 + index for index, name in enumerate(SPECIAL_TOKENS)}
    tokenizer = BytePairTokenizer([], special_tokens=special).save(tmp_path / "tokenizer").parent

    def tiny(terminal, **changes):
        monkeypatch.setattr(pretraining, "fits", lambda: fits(terminal))
        for module in (dashboard, progress, core_logging):
            monkeypatch.setattr(module, "console", terminal)
        core_logging.log_to_console()
        config = replace(tiny_config(notes).pretrain, **changes)
        run_pretrain(config, notes, tokenizer, tmp_path / "run")
        assert any(isinstance(each, RichHandler) for each in logging.getLogger("groundup").handlers)
        return written(terminal)

    return tiny


def test_a_training_shows_the_panel_with_messages_above_it(tiny):
    text = tiny(screen(), guard=replace(tiny_config(Path()).pretrain.guard, factor=50.0))
    panel = text.rpartition("╭─")
    assert "step 13/13" in panel[2]
    assert "pretrain · " in panel[2]
    for step in (5, 10, 13):
        assert f"step {step}: " in panel[0], "a message scrolls away above the panel"
        assert f"step {step}: " not in panel[2]
    assert "loss " in panel[2]
    assert "step 13  " in panel[2]


@pytest.mark.parametrize(("terminal", "changes"), [(screen(), {"dashboard": False}), (screen(30, 24), {})])
def test_without_it_there_is_a_bar(tiny, terminal, changes):
    text = tiny(terminal, **changes)
    assert "╭─" not in text
    assert "pretrain" in text


def test_where_there_is_no_terminal_there_are_lines(tiny):
    text = tiny(screen(force_terminal=False))
    assert "╭─" not in text
    assert "held-out bits per byte" in text
