"""Damage anywhere in a checkpoint is always noticed, and the one before it is used."""

import errno
import logging
import random
from pathlib import Path

import pytest
from checkpoint_samples import save

from groundup.checkpoint import store
from groundup.checkpoint.store import damage, latest_checkpoint
from groundup.core.files import sha256_file

DAMAGES_A_KIND = 60


@pytest.fixture
def root(tmp_path: Path) -> Path:
    logging.getLogger("groundup").setLevel(logging.ERROR)  # a warning for each damage is right, and much
    for step in (1, 2):
        save(tmp_path / "checkpoints", step)
    return tmp_path / "checkpoints"


def flip_a_bit(data: bytes, random_: random.Random) -> bytes:
    altered = bytearray(data)
    altered[random_.randrange(len(data))] ^= 1 << random_.randrange(8)
    return bytes(altered)


def truncate(data: bytes, random_: random.Random) -> bytes:
    return data[: random_.randrange(len(data) - 1)]  # at least two bytes: COMPLETE says all without its last newline


def zero_a_stretch(data: bytes, random_: random.Random) -> bytes:
    """What a lost page of a disk looks like; the last byte of the stretch was not zero."""
    end = random_.choice([index for index, value in enumerate(data) if value]) + 1
    start = random_.randrange(end)
    return data[:start] + bytes(end - start) + data[end:]


@pytest.mark.parametrize("harm", [flip_a_bit, truncate, zero_a_stretch])
def test_every_damage_is_noticed_and_the_previous_one_used(harm, root: Path) -> None:
    newest = root / "step_00000002"
    files = [path for path in sorted(newest.rglob("*")) if path.is_file()]
    assert len(files) == 6
    random_ = random.Random(harm.__name__)
    for index in range(DAMAGES_A_KIND):
        path = files[index % len(files)]
        whole = path.read_bytes()
        path.write_bytes(harm(whole, random_))
        assert damage(newest) is not None
        latest = latest_checkpoint(root)
        assert latest is not None
        assert latest.state["step"] == 1
        path.write_bytes(whole)
        assert damage(newest) is None


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"config.json": 3}', "[" * 100_000])
def test_a_mark_that_vouches_for_nothing_is_damage(text: str, root: Path) -> None:
    (root / "step_00000002" / "COMPLETE").write_text(text)
    assert damage(root / "step_00000002") == "its COMPLETE file is damaged"


@pytest.mark.parametrize("name", ["model/weights.safetensors", "tokenizer/tokenizer.json", "state.json"])
def test_a_missing_file_is_named(name: str, root: Path) -> None:
    (root / "step_00000002" / name).unlink()
    assert damage(root / "step_00000002") == f"its file {name} is missing"


@pytest.mark.parametrize("reads", [1, 3, 5])
def test_a_disk_that_cannot_read_a_file_is_damage(reads: int, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel reports a bad block as an input/output error when a file is read."""
    read: list[Path] = []

    def fails_at_last(path: Path) -> str:
        read.append(path)
        if len(read) == reads:
            raise OSError(errno.EIO, "Input/output error", str(path))
        return sha256_file(path)

    monkeypatch.setattr(store, "sha256_file", fails_at_last)
    latest = latest_checkpoint(root)
    assert read[reads - 1].is_relative_to(root / "step_00000002")
    assert latest is not None
    assert latest.state["step"] == 1


def test_a_folder_in_the_place_of_the_mark_is_damage(root: Path) -> None:
    (root / "step_00000002" / "COMPLETE").unlink()
    (root / "step_00000002" / "COMPLETE").mkdir()
    assert damage(root / "step_00000002") == "it cannot be read (is a directory)"


def test_what_one_may_not_read_is_no_damage(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or training would go on from an older one, and its next save remove this one."""

    def refuse(path: Path) -> str:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(store, "sha256_file", refuse)
    with pytest.raises(PermissionError):
        latest_checkpoint(root)


def test_all_damaged_is_none(root: Path) -> None:
    for path in root.iterdir():
        (path / "state.json").write_text("{}")
    assert latest_checkpoint(root) is None
