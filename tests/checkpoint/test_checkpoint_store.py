"""Checkpoints: what is saved is read, which ones stay, and faults while saving lose nothing."""

import json
import logging
import pickle
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from checkpoint_samples import CONFIG, optimizer_at, save, steps_in, weights_at

from groundup.checkpoint import store
from groundup.checkpoint.store import checkpoint_folders, latest_checkpoint, read_checkpoint, remove_superseded
from groundup.core.errors import InputError, MissingError, OutputError


def assert_is_step(checkpoint: store.Checkpoint | None, step: int) -> None:
    assert checkpoint is not None
    assert checkpoint.state["step"] == step
    weights = checkpoint.weights()
    assert set(weights) == set(weights_at(step))
    assert all(torch.equal(weights[name], value) for name, value in weights_at(step).items())


def test_everything_comes_back(tmp_path: Path) -> None:
    path = save(tmp_path / "checkpoints", 7)
    assert path == tmp_path / "checkpoints" / "step_00000007"
    checkpoint = read_checkpoint(path)
    assert_is_step(checkpoint, 7)
    assert checkpoint.config == CONFIG
    assert checkpoint.state == {"seconds": 1.75, "step": 7}
    optimizer = checkpoint.optimizer()
    assert set(optimizer) == set(optimizer_at(7))
    assert all(torch.equal(optimizer[name], value) for name, value in optimizer_at(7).items())
    assert [file.name for file in checkpoint.tokenizer.iterdir()] == ["tokenizer.json"]
    assert (checkpoint.tokenizer / "tokenizer.json").read_text() == "tokenizer.json of a tokenizer"


def test_the_fingerprint_is_that_of_the_weights(tmp_path: Path) -> None:
    one, same = save(tmp_path / "a", 3), save(tmp_path / "b", 3, with_optimizer=False)
    other = save(tmp_path / "c", 4)
    prints = [read_checkpoint(path).fingerprint for path in (one, same, other)]
    assert prints[0] == prints[1] != prints[2]


def test_one_made_only_for_use_cannot_be_resumed(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(save(tmp_path / "checkpoints", 1, with_optimizer=False))
    assert_is_step(checkpoint, 1)
    with pytest.raises(MissingError, match="was saved without optimizer state, so training cannot resume from it"):
        checkpoint.optimizer()


def test_nothing_is_pickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was pickled")

    for name in ("dump", "dumps", "load", "loads", "Pickler", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    for name in ("save", "load"):
        monkeypatch.setattr(torch, name, refuse)
    checkpoint = read_checkpoint(save(tmp_path / "checkpoints", 2))
    assert_is_step(checkpoint, 2)
    assert checkpoint.optimizer()
    for file in (path for path in checkpoint.path.rglob("*") if path.is_file()):
        if file.suffix == ".safetensors":  # eight bytes of length, then a JSON header
            data = file.read_bytes()
            assert json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])
        else:
            file.read_text(encoding="utf-8")


def test_others_may_read_what_the_umask_lets_them(tmp_path: Path) -> None:
    path = save(tmp_path / "checkpoints", 1)
    assert {file.stat().st_mode & 0o777 for file in path.rglob("*") if file.is_file()} == {
        (path / "config.json").stat().st_mode & 0o777
    }


@pytest.mark.parametrize(("keep", "left"), [(1, [9]), (2, [5, 9]), (3, [2, 5, 9]), (9, [1, 2, 5, 9])])
def test_the_newest_stay(keep: int, left: list[int], tmp_path: Path) -> None:
    for step in (1, 2, 5, 9):
        save(tmp_path / "checkpoints", step, keep)
    assert steps_in(tmp_path / "checkpoints") == [f"step_{step:08d}" for step in left]


def test_what_a_killed_removal_left_of_earlier_ones_goes(tmp_path: Path) -> None:
    root = tmp_path / "checkpoints"
    for step in (100, 200, 300, 400, 500):
        path = save(root, step, keep=5)
    (root / "step_00000100" / "COMPLETE").unlink()
    remove_superseded(path, keep=2, keep_every=200)
    assert steps_in(root) == ["step_00000200", "step_00000400", "step_00000500"]
    remove_superseded(root / "step_00000400", keep=1)
    assert steps_in(root) == ["step_00000400", "step_00000500"], "a later one may be mended by hand"


def test_those_of_every_so_many_steps_stay_too(tmp_path: Path) -> None:
    for step in (50, 100, 150, 200, 250, 300, 350):
        save(tmp_path / "checkpoints", step, keep=1, keep_every=100)
    assert [int(name.removeprefix("step_")) for name in steps_in(tmp_path / "checkpoints")] == [100, 200, 300, 350]


@pytest.mark.parametrize("keep", [1, 2])
def test_a_later_one_that_could_not_be_resumed_from_makes_room(keep: int, tmp_path: Path) -> None:
    root = tmp_path / "checkpoints"
    for step in (100, 200, 300):
        save(root, step, keep=3)
    (root / "step_00000300" / "COMPLETE").unlink()
    assert_is_step(latest_checkpoint(root), 200)
    save(root, 250, keep)
    assert_is_step(latest_checkpoint(root), 250)
    assert len(steps_in(root)) == keep


def test_steps_are_ordered_as_numbers(tmp_path: Path) -> None:
    root = tmp_path / "checkpoints"
    for step in (99_999_999, 100_000_000):
        save(root, step)
    (root / "step_notes").mkdir()
    assert [path.name for path in checkpoint_folders(root)] == ["step_99999999", "step_100000000"]
    assert_is_step(latest_checkpoint(root), 100_000_000)


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    save(tmp_path / "checkpoints", 4)
    (tmp_path / "checkpoints" / "step_00000004" / "state.json").write_text("{}")
    save(tmp_path / "checkpoints", 4)
    assert_is_step(latest_checkpoint(tmp_path / "checkpoints"), 4)


def test_no_folder_and_nothing_whole_are_none(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path / "absent") is None
    (tmp_path / "step_00000001").mkdir()
    (tmp_path / "step_00000002").write_text("a file")
    (tmp_path / ".tmp-0123456789ab-step_00000003").mkdir()
    assert latest_checkpoint(tmp_path) is None


def test_an_incomplete_one_is_skipped_with_a_reason_and_refused_by_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "checkpoints"
    first, second = save(root, 1), save(root, 2)
    (second / "COMPLETE").unlink()
    with caplog.at_level(logging.WARNING, logger="groundup"):
        assert_is_step(latest_checkpoint(root), 1)
    assert [record.message for record in caplog.records] == [
        f"skipping checkpoint {second}: it is not a whole checkpoint (no COMPLETE file)"
    ]
    with pytest.raises(InputError, match=r"cannot be used: it is not a whole checkpoint .*\. Use another checkpoint"):
        read_checkpoint(second)
    with pytest.raises(InputError, match="cannot be used: there is no such folder"):
        read_checkpoint(first.with_name("step_00000009"))


@pytest.mark.parametrize("function", ["save_file", "write_json", "sha256_file"])
def test_a_fault_while_saving_leaves_the_last_one(
    function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "checkpoints"
    save(root, 1)
    original, calls = getattr(store, function), 0

    def fails_the_second_time(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(store, function, fails_the_second_time)
        with pytest.raises(KeyboardInterrupt):
            save(root, 2, keep=1)
    assert steps_in(root) == ["step_00000001"]
    assert_is_step(latest_checkpoint(root), 1)


def test_a_full_disk_is_one_sentence_and_leaves_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "checkpoints"
    save(root, 1)

    def full(*_: object) -> None:
        raise store.SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(store, "save_file", full)
    with pytest.raises(OutputError, match=r"^Cannot write .*checkpoints/step_00000002: .*no space left on device"):
        save(root, 2)
    assert_is_step(latest_checkpoint(root), 1)
    assert steps_in(root) == ["step_00000001"]


def test_what_a_killed_save_left_is_ignored_then_cleared(tmp_path: Path) -> None:
    root = tmp_path / "checkpoints"
    left = save(root, 5).rename(root / ".tmp-0123456789ab-step_00000005")
    save(root, 3)
    assert_is_step(latest_checkpoint(root), 3)
    assert not left.exists()


@pytest.mark.slow
def test_a_kill_at_any_line_of_saving_leaves_the_old_or_the_new_one(tmp_path: Path) -> None:
    script = Path(__file__).with_name("kill_while_saving.py")
    subprocess.run([sys.executable, str(script), str(tmp_path)], check=True, timeout=100)
