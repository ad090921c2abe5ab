"""SIGKILL at random lines of the quickstart, then the same command again: the same weights and numbers in the end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("killed_quickstart.py")


def run_killed(folder, seed, kills):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), str(folder), str(seed), str(kills)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_killed_a_few_times(tmp_path):
    assert "3 kills, " in run_killed(tmp_path, 0, 3)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_killed_many_times(tmp_path, seed):
    run_killed(tmp_path, seed, 20)
