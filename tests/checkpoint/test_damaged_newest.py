"""A pretraining whose newest checkpoint was damaged goes on from the one before, says so, and ends with the same."""

import logging
import os
import random
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from groundup.checkpoint.store import checkpoint_folders, damage
from groundup.stages import compute
from groundup.stages.pretrain import run_pretrain

sys.path.insert(0, str(Path(__file__).parents[1] / "stages"))
from killed_quickstart import artifacts
from tiny_pretraining import tiny_pretraining, write_inputs

PAGE = 4096
DAMAGES_A_KIND = 20
FILES = 6


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compute, "measured_matmul_flops", lambda dtype: 1e10)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # only a power cut would need it


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("damaged")
    write_inputs(folder)
    return folder


def train(place: Path, out: Path) -> dict[str, object]:
    """Begin or resume a training of 12 steps with checkpoints 3, 6, 9 and 12, of which the last three stay."""
    config = replace(tiny_pretraining(place), steps=12, keep_checkpoints=3)
    run_pretrain(config, place / "notes", place / "tokenizer", out)
    return artifacts(out)


def flip_bits(newest: Path, _: Path, generator: random.Random) -> None:
    path = any_file(newest, generator)
    data = bytearray(path.read_bytes())
    for place in generator.sample(range(len(data)), generator.randint(1, 8)):
        data[place] ^= 1 << generator.randrange(8)
    path.write_bytes(data)


def truncate(newest: Path, _: Path, generator: random.Random) -> None:
    path = any_file(newest, generator)
    os.truncate(path, generator.randrange(path.stat().st_size - 1))  # COMPLETE says all without its last newline


def zero_a_page(newest: Path, _: Path, generator: random.Random) -> None:
    """A page that the disk lost; of a file smaller than a page, all of it."""
    path = any_file(newest, generator)
    data = path.read_bytes()
    start = generator.choice([at for at in range(0, len(data), PAGE) if any(data[at : at + PAGE])])
    path.write_bytes(data[:start] + bytes(len(data[start : start + PAGE])) + data[start + PAGE :])


def remove_a_file(newest: Path, _: Path, generator: random.Random) -> None:
    any_file(newest, generator).unlink()


def swap_a_file(newest: Path, older: Path, generator: random.Random) -> None:
    """With the older checkpoint, which is damaged too."""
    pairs = [(file, older / file.relative_to(newest)) for file in files_of(newest)]
    one, other = generator.choice([pair for pair in pairs if pair[0].read_bytes() != pair[1].read_bytes()])
    mine = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(mine)


def empty_the_manifest(newest: Path, _: Path, generator: random.Random) -> None:
    (newest / "COMPLETE").write_text(generator.choice(["", "{}", "\n", "null"]))


def test_what_a_kill_left_behind_the_last_save_goes(place: Path, tmp_path: Path) -> None:
    """The last save of all is done, and of the checkpoint that it supersedes half the files are removed."""
    run = tmp_path / "run"
    expected = train(place, run)
    (run / "result.json").unlink()
    shutil.copytree(run / "checkpoints" / "step_00000006", run / "checkpoints" / "step_00000003")
    (run / "checkpoints" / "step_00000003" / "COMPLETE").unlink()
    assert train(place, run) == expected


def files_of(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def any_file(folder: Path, generator: random.Random) -> Path:
    return generator.choice(files_of(folder))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("harm", "left"),
    [(flip_bits, 9), (truncate, 9), (zero_a_page, 9), (remove_a_file, 9), (swap_a_file, 6), (empty_the_manifest, 9)],
)
def test_the_one_before_is_used_and_the_end_is_the_same(
    harm: Callable[[Path, Path, random.Random], None],
    left: int,
    place: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    whole = tmp_path / "whole"
    expected = train(place, whole)
    (whole / "result.json").unlink()  # as if it had been killed behind its last save
    assert [folder.name[-2:] for folder in checkpoint_folders(whole / "checkpoints")] == ["06", "09", "12"]
    run = tmp_path / "run"
    for number in range(DAMAGES_A_KIND):
        shutil.copytree(whole, run)
        _, older, newest = checkpoint_folders(run / "checkpoints")
        assert len(files_of(newest)) == FILES
        harm(newest, older, random.Random(f"{harm.__name__} {number}"))
        damaged = [folder for folder in (newest, older) if damage(folder)]
        assert len(damaged) == (12 - left) // 3
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="groundup"):
            assert train(place, run) == expected
        told = [each.message for each in caplog.records if each.message.startswith(("skipping", "resuming"))]
        warned = [f"skipping checkpoint {folder}: it" for folder in damaged]
        assert [line[: len(start)] for line, start in zip(told, warned, strict=False)] == warned
        assert told[len(warned) :] == [f"resuming at step {left}"]
        assert all(start in (run / "log.txt").read_text() for start in warned)
        shutil.rmtree(run)
