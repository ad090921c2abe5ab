"""A real disk of 64 KiB, for the tests of full and read-only places."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A mounted tmpfs; skips where this process may not mount (a full disk is also simulated, without root)."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("mounting a small tmpfs needs root on Linux; run the tests as root to include this one")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)
