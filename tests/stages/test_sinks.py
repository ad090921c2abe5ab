"""Mirrors of the metrics: each number of each step once, over stops, resumes and faults; checked against metrics.jsonl.

TensorBoard is real, read back by its own reader. W&B (offline) and trackio are real where they are installed; what they
are told is also checked with modules that record it, which are always there.
"""

import itertools
import json
import logging
import os
import struct
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from tensorboard.backend.event_processing import event_accumulator, plugin_event_accumulator
from tensorboard.summary.writer import event_file_writer
from tensorboard.util.tensor_util import make_ndarray
from tiny_quickstart import tiny_config, write_notes

from groundup.core.errors import MissingError
from groundup.core.runs import Run, read_metrics
from groundup.stages import compute, sinks
from groundup.stages.pretrain import run_pretrain
from groundup.stages.sinks import mirrored, require_packages, title
from groundup.tokenization.bpe import BytePairTokenizer
from groundup.tokenization.chat import SPECIAL_TOKENS
from groundup.training.loop import train


@dataclass(frozen=True)
class Config:
    """A config with one value."""

    size: int = 1


@pytest.fixture(autouse=True)
def seconds_between_files(monkeypatch):
    """Event files are read in the order of their names, which begin with the second they were opened in."""
    monkeypatch.setattr(event_file_writer, "time", SimpleNamespace(time=itertools.count(int(time.time())).__next__))


def logged(folder):
    """What metrics.jsonl holds: (name, step, value)."""
    lines = read_metrics(folder)
    return [(name, line["step"], value) for line in lines for name, value in line.items() if name != "step"]


def assert_tensorboard_shows(expected, folder):
    """By the reader that TensorBoard itself uses and by the one that scripts use; numbers are fp32 there."""
    expected = sorted((name, step, float(np.float32(value))) for name, step, value in expected)
    shows = plugin_event_accumulator.EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()
    found = [(tag, event.step, make_ndarray(event.tensor_proto).item())
        for tag in shows.Tags()["tensors"] for event in shows.Tensors(tag)]  # fmt: skip
    assert sorted(found) == expected
    reads = event_accumulator.EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    found = [(tag, event.step, event.value) for tag in reads.Tags()["scalars"] for event in reads.Scalars(tag)]
    assert sorted(found) == expected


class Service:
    """A module in the manner of wandb or trackio that keeps what it is told; `down` makes it raise."""

    def __init__(self, name):
        self.inits, self.points, self.lines, self.finished, self.down = [], [], [], 0, False
        self.module = ModuleType(name)
        self.module.__spec__ = ModuleSpec(name, None)
        self.module.init = self.init
        self.module.Settings = lambda **settings: settings

    def init(self, **options):
        self.unless_down()
        self.inits.append(options)
        return SimpleNamespace(log=self.log, finish=self.finish, define_metric=lambda *_, **__: None)

    def log(self, numbers, step, commit=None):
        self.unless_down()
        self.lines.append(step)
        step = numbers.get("step", step)
        self.points += [(name, step, value) for name, value in numbers.items() if name != "step"]

    def finish(self):
        self.unless_down()
        self.finished += 1

    def unless_down(self):
        if self.down:
            raise ConnectionError("no route to host")


@pytest.fixture(params=["wandb", "trackio"])
def service(request, monkeypatch):
    fake = Service(request.param)
    monkeypatch.setitem(sys.modules, request.param, fake.module)
    return request.param, fake


def log(run, steps, factor=1.0):
    for step in steps:
        run.log(step, {"loss": factor / step, "tokens_per_second": 1e5 + step / 3})
        if step % 2 == 0:
            run.log(step, {"validation_bits_per_byte": 1 / step})
            run.log_sample(step, "The", "end")


def test_tensorboard_has_what_metrics_jsonl_has_after_stops_and_rewinds(tmp_path):
    for start, end in ((0, 7), (4, 6), (4, 9)):  # the second process dies before it is where the first one was
        with Run(tmp_path, Config()) as run, mirrored(run, ("tensorboard",), Config()):
            run.rewind(start)
            log(run, range(start + 1, end), factor=end)
    with Run(tmp_path, Config()) as run, mirrored(run, ("tensorboard",), Config()):
        run.rewind(8)
        log(run, range(9, 12))
        run.rewind(6)  # a guard goes back inside one process
        log(run, range(7, 13), factor=0.5)
    assert_tensorboard_shows(logged(tmp_path), tmp_path / "tensorboard")
    assert {step for _, step, _ in logged(tmp_path)} == set(range(1, 13))


def test_tensorboard_that_is_turned_on_late_shows_the_whole_history(tmp_path):
    for names in ((), ("tensorboard",), (), ("tensorboard",)):
        with Run(tmp_path, Config()) as run, mirrored(run, names, Config()):
            done = len({line["step"] for line in read_metrics(tmp_path)})
            run.rewind(done)
            log(run, range(done + 1, done + 4))
    assert_tensorboard_shows(logged(tmp_path), tmp_path / "tensorboard")


def test_services_that_take_nothing_back_are_told_each_number_once(tmp_path, service):
    name, fake = service
    for start, end in ((0, 7), (4, 6), (4, 9)):
        with Run(tmp_path, Config()) as run, mirrored(run, (name,), Config()):
            run.rewind(start)
            log(run, range(start + 1, end))
    assert sorted(fake.points) == sorted(logged(tmp_path))
    assert fake.finished == 3
    if name == "wandb":
        assert fake.lines == sorted(set(fake.lines)), "its own step only rises"
    identities = {(options.get("id"), options["name"], options["resume"]) for options in fake.inits}
    assert len(identities) == 1, "a resumed run is the same run there"
    assert fake.inits[0]["config"] == {"size": 1}
    with Run(tmp_path, Config(2)) as run, mirrored(run, (name,), Config(2)):  # the folder is cleared: another run
        run.rewind(0)
    assert (fake.inits[-1].get("id"), fake.inits[-1]["name"], "allow") not in identities


def test_a_run_is_called_by_the_end_of_its_path():
    names = {"runs/notes": "runs-notes", "/a/quickstart/pretrain": "quickstart-pretrain", "notes": "notes", "/x": "x"}
    assert {place: title(Path(place)) for place in names} == names


def test_a_kill_between_two_numbers_of_a_step_loses_neither(tmp_path, service):
    name, fake = service
    with Run(tmp_path, Config()) as run, mirrored(run, (name,), Config()):
        run.rewind(0)
        run.log(1, {"loss": 2.0})
    with Run(tmp_path, Config()) as run, mirrored(run, (name,), Config()):
        run.rewind(0)
        run.log(1, {"loss": 2.0})
        run.log(1, {"validation_bits_per_byte": 1.0})
    assert fake.points == [("loss", 1, 2.0), ("validation_bits_per_byte", 1, 1.0)]


@pytest.mark.parametrize("when", ["open", "log", "close"])
def test_a_service_that_fails_is_told_once_and_gets_the_rest_at_the_next_start(when, tmp_path, service, caplog):
    name, fake = service
    fake.down = when == "open"
    with Run(tmp_path, Config()) as run, mirrored(run, (name,), Config()):
        run.rewind(0)
        log(run, range(1, 3))
        fake.down = when != "close"
        log(run, range(3, 6))
        run.rewind(4)
        log(run, range(5, 7))
        fake.down = True
    messages = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(messages) == 1
    assert messages[0].startswith(f"{name} ")
    assert "ConnectionError: no route to host). Training goes on without it" in messages[0]
    fake.down = False
    with Run(tmp_path, Config()) as run, mirrored(run, (name,), Config()):
        run.rewind(6)
    assert sorted(fake.points) == sorted(logged(tmp_path))


def test_a_missing_package_is_refused_before_anything_is_written(tmp_path, monkeypatch, tiny):
    monkeypatch.setattr(sinks, "find_spec", lambda name: None)
    config, notes, tokenizer = tiny
    refusal = r"log_to names wandb, and its package is not installed; get it with `pip install wandb`"
    with pytest.raises(MissingError, match=refusal):
        run_pretrain(replace(config, log_to=("wandb",)), notes, tokenizer, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    monkeypatch.undo()
    require_packages(("tensorboard",))


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A config, texts and a tokenizer of a training of a second."""
    monkeypatch.setattr(compute, "measured_matmul_flops", lambda dtype: 1e9)
    notes = write_notes(tmp_path / "notes")
    special = {name: 256 + index for index, name in enumerate(SPECIAL_TOKENS)}
    tokenizer = BytePairTokenizer([], special_tokens=special).save(tmp_path / "tokenizer").parent
    return tiny_config(notes).pretrain, notes, tokenizer


def test_a_stopped_and_resumed_training_has_the_same_curves_everywhere(tmp_path, monkeypatch, tiny, service):
    name, fake = service
    config, notes, tokenizer = tiny

    def stopped(*arguments):
        for tick in train(*arguments):
            yield tick
            if tick.step == 11:  # behind the lines of steps 9 and 10, which come again after the checkpoint of step 8
                raise KeyboardInterrupt

    config = replace(config, log_to=("tensorboard", name))
    monkeypatch.setattr("groundup.stages.pretraining.train", stopped)
    with pytest.raises(KeyboardInterrupt):
        run_pretrain(config, notes, tokenizer, tmp_path / "run")
    before = {(name, step): value for name, step, value in logged(tmp_path / "run")}
    monkeypatch.setattr("groundup.stages.pretraining.train", train)
    run_pretrain(config, notes, tokenizer, tmp_path / "run")
    now = logged(tmp_path / "run")
    assert_tensorboard_shows(now, tmp_path / "run" / "tensorboard")
    assert sorted(fake.points) == sorted((name, step, before.get((name, step), value)) for name, step, value in now)
    again = [(key, value) for *key, value in now if tuple(key) in before and key[1] > 8]
    timeless = [(key, value) for key, value in again if key[0] in ("loss", "validation_bits_per_byte")]
    assert timeless
    assert all(before[tuple(key)] == value for key, value in timeless), "what is not shown again is what was shown"
    assert "mirrors" in os.listdir(tmp_path / "run")


TWICE = """
import sys
from dataclasses import dataclass
from pathlib import Path
from groundup.core.runs import Run
from groundup.stages.sinks import mirrored

@dataclass(frozen=True)
class Config:
    size: int = 1

name, place, start, end = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
with Run(place, Config()) as run, mirrored(run, (name,), Config()):
    run.rewind(start)
    for step in range(start + 1, end):
        run.log(step, {"loss": 1 / step, "memory_bytes": 10**10 + step})
        if step % 2 == 0:
            run.log(step, {"validation_bits_per_byte": 2 / step})
"""


def in_two_processes(name, place, **environment):
    """Run a real service over a stop and a resume; each process is one as a user starts it."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB", "TRACKIO", "PYTEST"))}
    for start, end in ((0, 7), (4, 9)):
        command = [sys.executable, "-c", TWICE, name, str(place), str(start), str(end)]
        done = subprocess.run(command, env=kept | environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert "Training goes on without it" not in done.stdout + done.stderr


def leveldb_records(data):
    """What W&B's file holds: behind 7 bytes, pieces in blocks of 32 KiB, each with checksum, length and place."""
    at, whole = 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:  # no room for a head: zeros up to the next block
            at += 32768 - at % 32768
            continue
        _, length, place = struct.unpack("<IHB", data[at : at + 7])
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if place in (1, 4):  # whole, or the last piece
            yield whole
            whole = b""


@pytest.mark.slow
def test_wandb_itself_offline(tmp_path):
    pytest.importorskip("wandb", reason="W&B is an extra: pip install wandb")
    in_two_processes("wandb", tmp_path / "run", WANDB_MODE="offline", WANDB_SILENT="true")
    from wandb.proto.wandb_internal_pb2 import Record

    points, identities, own_steps = [], set(), []
    for path in sorted((tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb")):
        for data in leveldb_records(path.read_bytes()):
            record = Record.FromString(data)
            if record.HasField("run"):
                identities.add(record.run.run_id)
            row = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
            if row:
                own_steps.append(row["_step"])
                kept = {key: value for key, value in row.items() if key != "step" and not key.startswith("_")}
                points += [(key, row["step"], value) for key, value in kept.items()]
    assert sorted(points) == sorted(logged(tmp_path / "run"))
    assert len(identities) == 1
    assert own_steps == sorted(set(own_steps))


@pytest.mark.slow
def test_trackio_itself(tmp_path):
    pytest.importorskip("trackio", reason="trackio is an extra: pip install trackio")
    database = tmp_path / "trackio"
    in_two_processes("trackio", tmp_path / "run", TRACKIO_DIR=str(database))
    program = (
        "import json; from trackio.sqlite_storage import SQLiteStorage as S; names = S.get_runs('groundup'); "
        "print(json.dumps([S.get_logs('groundup', name) for name in names]))"
    )
    environment = os.environ | {"TRACKIO_DIR": str(database)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    (rows,) = json.loads(done.stdout.splitlines()[-1])
    points = [
        (key, row["step"], value) for row in rows for key, value in row.items() if key not in ("step", "timestamp")
    ]
    assert sorted(points) == sorted(logged(tmp_path / "run"))
