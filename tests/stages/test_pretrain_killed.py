"""SIGKILL at random moments of a pretraining and inside its saves, then the same command again: the same to the bit."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("killed_pretraining.py")


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "runs"), [("float32", 12), ("bfloat16", 12), ("float16", 4)])
def test_killed_anywhere_it_ends_as_if_nobody_had(dtype, runs, tmp_path):
    """Each of the runs is killed twice or three times. In fp16 the scale of the loss goes on too."""
    words = [sys.executable, str(SCRIPT), str(tmp_path), dtype, "1", str(runs)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
