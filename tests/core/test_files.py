"""Files and folders: whole or not there, whatever kills the process or fills the disk."""

import errno
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup.core import files
from groundup.core.errors import InputError, MissingError, OutputError

SCENARIOS = ["write_a_file", "make_a_folder", "replace_a_folder", "replace_a_folder_by_two_renames"]
OLD = {"keep": "me"}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_kill_before_any_line_leaves_the_old_or_the_new(scenario: str, tmp_path: Path) -> None:
    if scenario == "replace_a_folder":
        (tmp_path / "a").mkdir()
        (tmp_path / "b").mkdir()
        can_exchange = files._exchange(tmp_path / "a", tmp_path / "b")
        (tmp_path / "a").rmdir()
        (tmp_path / "b").rmdir()
        if not can_exchange:
            pytest.skip("this system cannot swap two names in one step; the two renames are tested on their own")
    script = Path(__file__).with_name("kill_scenarios.py")
    subprocess.run([sys.executable, str(script), scenario, str(tmp_path)], check=True, timeout=60)


def test_json_round_trip_and_parents(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "value.json"
    value = {"text": "naïve – 漢字", "name": "odd-\udcff", "list": [1, 2.5, None, True]}
    files.write_json(path, value)
    assert files.read_json(path) == value
    assert json.loads(path.read_text(encoding="utf-8"))["text"] == "naïve – 漢字", "readable, not escaped"
    assert "naïve" in path.read_text(encoding="utf-8")


@given(st.binary())
def test_sha256_is_the_standard_one(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("sha") / "data"
    path.write_bytes(data)
    assert files.sha256_file(path) == hashlib.sha256(data).hexdigest()


def test_require_file_names_each_fault(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"no file .*absent; check the path"):
        files.require_file(tmp_path / "absent")
    with pytest.raises(MissingError, match="does not exist either"):
        files.require_file(tmp_path / "no" / "absent")
    with pytest.raises(InputError, match="is a folder; a file is needed here"):
        files.require_file(tmp_path)
    path = tmp_path / "there"
    path.touch()
    assert files.require_file(path) == path


def test_a_fault_inside_the_block_keeps_the_old_folder(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    with files.new_directory(path) as folder:
        (folder / "a").write_text("old")
    with pytest.raises(UnicodeEncodeError), files.new_directory(path) as folder:
        (folder / "a").write_text("\ud800")
    assert (path / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["folder"]


def test_a_file_that_the_block_cannot_read_is_not_told_as_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, files.new_directory(tmp_path / "folder"):
        (tmp_path / "input").read_text()
    assert not isinstance(caught.value, OutputError)
    assert os.listdir(tmp_path) == []


def test_links_are_removed_and_their_targets_kept(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "precious").touch()
    (tmp_path / ".tmp-link").symlink_to(target)
    files.clear_temporaries(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["target"]
    assert (target / "precious").exists()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_full_disk_keeps_the_old_content(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.write_json(tmp_path / "old.json", OLD)
    with files.new_directory(tmp_path / "folder") as folder:
        files.write_json(folder / "old.json", OLD)

    def full(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"^Cannot write .*old\.json: .*\. Choose another place, or free space"):
        files.write_json(tmp_path / "old.json", {})
    with pytest.raises(OutputError, match=r"^Cannot write .*folder: "), files.new_directory(tmp_path / "folder") as new:
        (new / "x").touch()
    assert files.read_json(tmp_path / "old.json") == files.read_json(tmp_path / "folder" / "old.json") == OLD
    assert sorted(os.listdir(tmp_path)) == ["folder", "old.json"], "nothing half-written is left"


def test_a_disk_that_is_really_full(small_disk: Path) -> None:
    files.write_json(small_disk / "old.json", OLD)
    with pytest.raises(OutputError, match="no space left on device"):
        files.write_bytes(small_disk / "old.json", b"x" * 10**6)
    with pytest.raises(OutputError, match="no space left on device"), files.new_directory(small_disk / "folder") as new:
        (new / "big").write_bytes(b"x" * 10**6)
    assert os.listdir(small_disk) == ["old.json"]
    assert files.read_json(small_disk / "old.json") == OLD
    fill(small_disk)
    with pytest.raises(OutputError, match="no space left on device"):
        files.require_writable(small_disk)


def test_a_read_only_disk(small_disk: Path) -> None:
    files.write_json(small_disk / "old.json", OLD)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for attempt in (files.require_writable, files.make_directory):
        with pytest.raises(OutputError, match="read-only file system"):
            attempt(small_disk / "new")
    with pytest.raises(OutputError, match="read-only file system"):
        files.write_json(small_disk / "old.json", {})
    assert files.read_json(small_disk / "old.json") == OLD


def test_a_file_in_the_way_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "way").touch()
    for path in (tmp_path / "way", tmp_path / "way" / "inner"):
        with pytest.raises(OutputError, match=r"^Cannot write .*way"):
            files.require_writable(path)


def fill(disk: Path) -> None:
    """Write until nothing fits any more; what did fit stays."""
    with pytest.raises(OSError, match="No space left on device"):
        (disk / "filler").write_bytes(b"x" * 10**6)
